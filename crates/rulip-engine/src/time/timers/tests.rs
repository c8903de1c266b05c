//! Tests of the timers, by hand; `model` compares them with a sorted list.

mod model;

use super::*;
use crate::time::near::COMPACTION_FLOOR;

const MS: u64 = 1_000_000;
const SEC: u64 = 1000 * MS;
const YEAR: u64 = 31_556_952 * SEC;

fn pop_all(timers: &mut Timers<u32>, now: u64) -> Vec<u32> {
    std::iter::from_fn(|| timers.pop_due(Deadline(now))).collect()
}

#[test]
fn equal_deadlines_leave_in_the_order_they_came_wherever_they_waited() {
    for when in [7, 5 * MS, 100 * SEC, 5 * YEAR] {
        let mut timers = Timers::new();
        let mut expected = vec![];
        for item in 0..50 {
            timers.insert(Deadline(when), item);
            expected.push(item);
            // They move down in the wheel between the insertions.
            assert_eq!(timers.pop_due(Deadline(when - when / (u64::from(item) + 2) - 1)), None);
        }
        timers.insert(Deadline(when - 1), 99);
        expected.insert(0, 99);
        assert_eq!(pop_all(&mut timers, when), expected);
        assert_eq!(timers.next_deadline(), None);
    }
}

#[test]
fn the_order_within_a_tick_is_exact() {
    let mut timers = Timers::new();
    let base = 77 << 20;
    timers.insert(Deadline(base + 3), 3);
    timers.insert(Deadline(base + 1), 1);
    timers.insert(Deadline(base + 2), 2);
    assert_eq!(timers.next_deadline(), Some(Deadline(base + 1)));
    assert_eq!(pop_all(&mut timers, base), []);
    assert_eq!(timers.next_deadline(), Some(Deadline(base + 1)));
    timers.insert(Deadline(base), 0);
    assert_eq!(pop_all(&mut timers, base + 2), [0, 1, 2]);
    assert_eq!(pop_all(&mut timers, base + 3), [3]);
}

#[test]
fn a_clock_that_goes_back_loses_nothing_and_hurries_nothing() {
    let mut timers = Timers::new();
    timers.insert(Deadline(10 * MS), 1);
    timers.insert(Deadline(10 * MS + 1), 2);
    timers.insert(Deadline(20 * MS), 4);
    assert_eq!(timers.pop_due(Deadline(10 * MS)), Some(1));
    assert_eq!(pop_all(&mut timers, 5 * MS), []);
    let key = timers.insert(Deadline(6 * MS), 0);
    timers.insert(Deadline(11 * MS), 3);
    assert_eq!((timers.next_deadline(), timers.cancel(key)), (Some(Deadline(6 * MS)), Some(0)));
    assert_eq!(pop_all(&mut timers, 10 * MS), []);
    assert_eq!(pop_all(&mut timers, 30 * MS), [2, 3, 4]);
}

#[test]
fn never_does_not_come() {
    let mut timers = Timers::new();
    let key = timers.insert(Deadline::NEVER, 9);
    assert_eq!((timers.len(), timers.next_deadline()), (1, Some(Deadline::NEVER)));
    timers.insert(Deadline(u64::MAX - 1), 8);
    timers.insert(Deadline(0), 1);
    assert_eq!(timers.next_deadline(), Some(Deadline(0)));
    assert_eq!(pop_all(&mut timers, 0), [1]);
    assert_eq!(timers.next_deadline(), Some(Deadline(u64::MAX - 1)));
    assert_eq!(pop_all(&mut timers, u64::MAX), [8]);
    assert_eq!((timers.len(), timers.next_deadline()), (1, Some(Deadline::NEVER)));
    assert_eq!(timers.cancel(key), Some(9));
    assert!(timers.is_empty());
}

#[test]
fn years_may_pass_at_once() {
    let mut timers = Timers::new();
    let whens = [1, 70 * MS, 5 * SEC, 3600 * SEC, YEAR, 3 * YEAR, 200 * YEAR];
    for (item, when) in (0..).zip(whens) {
        timers.insert(Deadline(when), item);
    }
    assert_eq!(pop_all(&mut timers, 2 * YEAR), [0, 1, 2, 3, 4]);
    assert_eq!(timers.next_deadline(), Some(Deadline(3 * YEAR)));
    timers.insert(Deadline(2 * YEAR + SEC), 7);
    assert_eq!(timers.next_deadline(), Some(Deadline(2 * YEAR + SEC)));
    assert_eq!(pop_all(&mut timers, 500 * YEAR), [7, 5, 6]);
}

#[test]
fn a_stale_key_names_nothing() {
    let mut timers = Timers::new();
    for when in [1, SEC] {
        let cancelled = timers.insert(Deadline(when), 'a');
        assert_eq!((timers.cancel(cancelled), timers.cancel(cancelled)), (Some('a'), None));
        let other = timers.insert(Deadline(when), 'b');
        assert_ne!(other, cancelled);
        assert_eq!((timers.cancel(cancelled), timers.len()), (None, 1));
        assert_eq!(timers.pop_due(Deadline(SEC)), Some('b'));
        assert_eq!(timers.cancel(other), None);
        let drained = timers.insert(Deadline(when), 'c');
        assert_eq!(timers.drain(), ['c']);
        timers.insert(Deadline(when), 'd');
        assert_eq!(timers.cancel(drained), None);
        assert_eq!(timers.pop_due(Deadline(SEC)), Some('d'));
    }
}

#[test]
fn a_key_is_a_number_and_back() {
    let mut timers = Timers::new();
    for item in 0..3 {
        let key = timers.insert(Deadline(5), item);
        assert_ne!(key.to_bits(), 0);
        assert_eq!(TimerKey::from_bits(key.to_bits()), Some(key));
    }
    assert_eq!((TimerKey::from_bits(0), TimerKey::from_bits(7)), (None, None));
    let foreign = TimerKey::from_bits(u64::MAX).unwrap();
    assert_eq!((timers.cancel(foreign), timers.len()), (None, 3));
}

#[test]
fn draining_takes_everything_earliest_first_and_repeats() {
    let mut timers = Timers::new();
    let key = timers.insert(Deadline(3), 9);
    let whens = [Deadline::NEVER, Deadline(5), Deadline(YEAR), Deadline(5), Deadline(SEC)];
    for (item, when) in (0..).zip(whens) {
        timers.insert(when, item);
    }
    timers.cancel(key);
    let mut seen: Vec<_> = timers.iter().copied().collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(timers.drain(), [1, 3, 4, 2, 0]);
    assert_eq!((timers.drain(), timers.len(), timers.next_deadline()), (vec![], 0, None));
    timers.insert(Deadline(SEC), 6);
    assert_eq!(timers.next_deadline(), Some(Deadline(SEC)));
    assert_eq!((timers.pop_due(Deadline(SEC - 1)), timers.pop_due(Deadline(SEC))), (None, Some(6)));
}

#[test]
fn stale_keys_that_are_near_are_swept_out() {
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..300).map(|n| timers.insert(Deadline(n), n)).collect();
    for key in &keys[1..151] {
        assert!(timers.cancel(*key).is_some());
    }
    assert_eq!(timers.near.len_and_stale(), (300, 150));
    assert!(timers.cancel(keys[151]).is_some());
    assert_eq!(timers.near.len_and_stale(), (149, 0));
    for key in &keys[152..] {
        assert!(timers.cancel(*key).is_some());
    }
    assert!(timers.near.len_and_stale().1 <= COMPACTION_FLOOR);
    assert_eq!(timers.pop_due(Deadline(400)), Some(0));
    assert_eq!(timers.near.len_and_stale(), (0, 0), "nothing but stale keys is nothing");
}

#[test]
fn a_lone_far_timer_leaves_the_wheel_where_it_is() {
    let mut timers = Timers::new();
    assert_eq!(timers.pop_due(Deadline(10 * SEC)), None);
    timers.insert(Deadline(3600 * SEC), 1);
    for n in 0..1000 {
        assert_eq!(timers.next_deadline(), Some(Deadline(3600 * SEC)));
        let key = timers.insert(Deadline(20 * SEC + n), 2);
        assert_eq!(timers.next_deadline(), Some(Deadline(20 * SEC + n)));
        assert_eq!(timers.near.len_and_stale(), (0, 0), "what is ahead is in the wheel");
        assert_eq!(timers.cancel(key), Some(2));
    }
}

/// Runs a clock that jumps to each next deadline; returns how often it woke up for nothing.
fn vain_wakeups(timers: &mut Timers<u32>) -> usize {
    let (mut last, mut vain) = (None, 0);
    while let Some(now) = timers.next_deadline() {
        assert!(last < Some(now), "the same moment was waited for twice");
        last = Some(now);
        vain += usize::from(pop_all(timers, now.0).is_empty());
    }
    vain
}

#[test]
fn a_cancelled_minimum_misleads_once_at_most() {
    let mut timers = Timers::new();
    let base = 1000 * SEC;
    let keys: Vec<_> = (0..1000).map(|n| timers.insert(Deadline(base + n * MS), 0)).collect();
    let other = timers.insert(Deadline(base + 999 * MS), 1);
    timers.cancel(keys[0]);
    assert_eq!(timers.next_deadline(), Some(Deadline(base)), "too many to look through");
    assert_eq!(vain_wakeups(&mut timers), 1);
    assert_eq!(timers.cancel(other), None);

    // Few enough are looked through: no wake-up is in vain.
    let keys: Vec<_> = (0..65).map(|n| timers.insert(Deadline(2 * base + n * MS), 0)).collect();
    timers.cancel(keys[0]);
    assert_eq!(timers.next_deadline(), Some(Deadline(2 * base + MS)));
    assert_eq!(vain_wakeups(&mut timers), 0);
}

#[test]
fn one_place_is_used_again_and_again() {
    let mut timers = Timers::new();
    let mut keys = std::collections::VecDeque::new();
    for n in 0..100 {
        keys.push_back(timers.insert(Deadline(1000 * SEC + n), 0));
    }
    for n in 0..100_000 {
        keys.push_back(timers.insert(Deadline(1000 * SEC + n * MS / 10), 0));
        assert!(keys.pop_front().and_then(|key| timers.cancel(key)).is_some());
    }
    assert!(keys.iter().all(|key| key.index <= 100), "the slab has not grown");
    assert_eq!(timers.len(), 100);
}
