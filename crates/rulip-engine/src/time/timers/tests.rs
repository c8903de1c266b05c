//! Tests of the timer heap against a sorted list.

use super::*;
use proptest::prelude::*;

#[test]
fn equal_deadlines_leave_in_the_order_they_came() {
    let mut timers = Timers::new();
    for item in 0..50 {
        timers.insert(Deadline(7), item);
    }
    timers.insert(Deadline(3), 99);
    assert_eq!(timers.pop(), Some(99));
    for item in 0..50 {
        assert_eq!(timers.pop_due(Deadline(7)), Some(item));
    }
    assert_eq!(timers.pop_due(Deadline::NEVER), None);
}

#[test]
fn compaction_is_asked_for_above_a_hundred_and_a_half() {
    let mut timers = Timers::new();
    for item in 0..100u32 {
        timers.insert(Deadline(u64::from(item)), item);
    }
    for _ in 0..100 {
        assert!(!timers.note_cancelled(), "a hundred entries are not more than a hundred");
    }
    timers.note_popped_cancelled();
    timers.insert(Deadline(100), 100);
    assert!(timers.note_cancelled());

    let mut removed = vec![];
    timers.compact(|item| item % 2 == 0, &mut removed);
    removed.sort_unstable();
    assert_eq!(removed, (0..=100).step_by(2).collect::<Vec<_>>());
    assert_eq!(timers.drain(), (1..100).step_by(2).collect::<Vec<_>>());
    assert!(timers.is_empty());
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u64),
    Cancel(usize),
    PopDue(u64),
    Pop,
    Compact,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..40u64).prop_map(Op::Insert),
        4 => any::<usize>().prop_map(Op::Cancel),
        4 => (0..40u64).prop_map(Op::PopDue),
        2 => Just(Op::Pop),
        1 => Just(Op::Compact),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    /// The model: a list kept sorted by (when, number of insertion), and a set of cancelled ones.
    #[test]
    fn agrees_with_a_sorted_list(ops in proptest::collection::vec(op(), 0..300)) {
        let mut timers = Timers::new();
        let mut model: Vec<(u64, usize)> = vec![];
        let mut cancelled = std::collections::HashSet::new();
        let mut count = 0;
        for op in ops {
            match op {
                Op::Insert(when) => {
                    timers.insert(Deadline(when), count);
                    model.push((when, count));
                    model.sort_unstable();
                    count += 1;
                }
                Op::Cancel(pick) if !model.is_empty() => {
                    let item = model[pick % model.len()].1;
                    if cancelled.insert(item) {
                        let live = model.iter().filter(|(_, i)| cancelled.contains(i)).count();
                        let due = model.len() > 100 && live > model.len() / 2;
                        prop_assert_eq!(timers.note_cancelled(), due);
                    }
                }
                Op::Cancel(_) => {}
                Op::PopDue(now) => {
                    let due = model.first().is_some_and(|(when, _)| *when <= now);
                    let expected = due.then(|| model.remove(0).1);
                    let popped = timers.pop_due(Deadline(now));
                    prop_assert_eq!(popped, expected);
                    if popped.is_some_and(|item| cancelled.contains(&item)) {
                        timers.note_popped_cancelled();
                    }
                }
                Op::Pop => {
                    let expected = (!model.is_empty()).then(|| model.remove(0).1);
                    let popped = timers.pop();
                    prop_assert_eq!(popped, expected);
                    if popped.is_some_and(|item| cancelled.contains(&item)) {
                        timers.note_popped_cancelled();
                    }
                }
                Op::Compact => {
                    let mut removed = vec![];
                    timers.compact(|item| cancelled.contains(item), &mut removed);
                    removed.sort_unstable();
                    let mut expected: Vec<_> =
                        model.iter().map(|(_, i)| *i).filter(|i| cancelled.contains(i)).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(removed, expected);
                    model.retain(|(_, item)| !cancelled.contains(item));
                }
                Op::Drain => {
                    let expected: Vec<_> = std::mem::take(&mut model).into_iter().map(|e| e.1).collect();
                    prop_assert_eq!(timers.drain(), expected);
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.next_deadline(), model.first().map(|(when, _)| Deadline(*when)));
            prop_assert_eq!(timers.peek().copied(), model.first().map(|(_, item)| *item));
        }
    }
}
