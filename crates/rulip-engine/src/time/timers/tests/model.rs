//! The timers against a naive model: a list sorted by (when, number of insertion).

use super::*;
use crate::time::wheel::RESCAN_LIMIT;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Insert(When),
    /// Many entries, a step apart.
    InsertMany(When, u64),
    Cancel(usize),
    /// The earliest, which is what makes a cached minimum stale.
    CancelFirst,
    CancelAgain(usize),
    /// Takes everything due after this step, which may go back.
    Advance(i64),
    PopOne(u64),
    /// Until what `next_deadline` says.
    Sleep,
    Drain,
}

#[derive(Debug, Clone)]
enum When {
    /// From the model's present.
    After(i64),
    /// When one of those that wait is due.
    Same(usize),
    At(u64),
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..40u64,
        4 => 0..5 * MS,
        3 => 0..200 * MS,
        3 => 0..1000 * SEC,
        1 => 0..2 * YEAR,
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        8 => span().prop_map(|ns| When::After(ns as i64)),
        1 => (0..5 * MS).prop_map(|ns| When::After(-(ns as i64))),
        4 => any::<usize>().prop_map(When::Same),
        1 => any::<u64>().prop_map(When::At),
        1 => prop_oneof![Just(0), Just(u64::MAX), Just(u64::MAX - 1), Just(u64::MAX >> 20 << 20)]
            .prop_map(When::At),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        160 => when().prop_map(Op::Insert),
        10 => (when(), span()).prop_map(|(when, span)| Op::InsertMany(when, span / 50)),
        80 => any::<usize>().prop_map(Op::Cancel),
        60 => Just(Op::CancelFirst),
        20 => any::<usize>().prop_map(Op::CancelAgain),
        60 => span().prop_map(|ns| Op::Advance(ns as i64)),
        10 => (0..5 * MS).prop_map(|ns| Op::Advance(-(ns as i64))),
        30 => span().prop_map(Op::PopOne),
        60 => Just(Op::Sleep),
        1 => Just(Op::Drain),
    ]
}

#[derive(Debug)]
struct Waiting {
    when: u64,
    item: u32,
    key: TimerKey,
}

#[derive(Default)]
struct Model {
    now: u64,
    /// Sorted by deadline, equal ones by item, for items are numbered as they come.
    waiting: Vec<Waiting>,
    gone: Vec<TimerKey>,
    count: u32,
}

impl Model {
    fn resolve(&self, when: &When) -> u64 {
        match *when {
            When::After(ns) => self.now.saturating_add_signed(ns),
            When::Same(pick) if !self.waiting.is_empty() => {
                self.waiting[pick % self.waiting.len()].when
            }
            When::Same(_) => self.now,
            When::At(when) => when,
        }
    }

    fn insert(&mut self, timers: &mut Timers<u32>, when: u64) {
        let item = self.count;
        let key = timers.insert(Deadline(when), item);
        let at = self.waiting.partition_point(|waiting| waiting.when <= when);
        self.waiting.insert(at, Waiting { when, item, key });
        self.count += 1;
    }

    fn cancel(&mut self, timers: &mut Timers<u32>, at: usize) {
        let waiting = self.waiting.remove(at);
        assert_eq!(timers.cancel(waiting.key), Some(waiting.item));
        self.gone.push(waiting.key);
    }

    /// Pops one from both; true if there was one.
    fn pop(&mut self, timers: &mut Timers<u32>) -> bool {
        let due = |first: &&Waiting| first.when <= self.now && first.when != u64::MAX;
        let expected = self.waiting.first().filter(due).map(|first| first.item);
        assert_eq!(timers.pop_due(Deadline(self.now)), expected);
        if expected.is_some() {
            self.gone.push(self.waiting.remove(0).key);
        }
        expected.is_some()
    }

    fn items(&self) -> Vec<u32> {
        self.waiting.iter().map(|waiting| waiting.item).collect()
    }

    /// What is said of the next deadline holds: exact if few are due about then, and never later.
    fn check(&self, timers: &mut Timers<u32>) {
        assert_eq!(timers.len(), self.waiting.len());
        assert_eq!(timers.is_empty(), self.waiting.is_empty());
        let first = self.waiting.first().map(|first| Deadline(first.when));
        let said = timers.next_deadline();
        assert_eq!(said, timers.next_deadline(), "asking again changes nothing");
        if said != first {
            assert!(said.is_some() && said < first, "{said:?} is after {first:?}");
            assert!(timers.near.len_and_stale().0 == 0, "what is near is known exactly");
            assert!(timers.wheel.first_len() > RESCAN_LIMIT, "few entries are looked through");
        }
    }

    /// Waits until the next deadline. Either something is due, or the next one told is later.
    fn sleep(&mut self, timers: &mut Timers<u32>) {
        let Some(until) = timers.next_deadline().filter(|when| *when != Deadline::NEVER) else {
            return;
        };
        self.now = self.now.max(until.0);
        let mut popped = false;
        while self.pop(timers) {
            popped = true;
        }
        let next = timers.next_deadline();
        assert!(popped || next > Some(until), "{until:?} was waited for in vain, then {next:?}");
    }

    fn apply(&mut self, timers: &mut Timers<u32>, op: &Op) {
        match op {
            Op::Insert(when) => self.insert(timers, self.resolve(when)),
            Op::InsertMany(when, step) => {
                let first = self.resolve(when);
                // Every other one from the far end, so that they do not come in order.
                for n in 0..100 {
                    let steps = if n % 2 == 0 { n } else { 200 - n };
                    self.insert(timers, first.saturating_add(step * steps));
                }
            }
            Op::Cancel(pick) if !self.waiting.is_empty() => {
                self.cancel(timers, pick % self.waiting.len());
            }
            Op::CancelFirst if !self.waiting.is_empty() => self.cancel(timers, 0),
            Op::CancelAgain(pick) if !self.gone.is_empty() => {
                assert_eq!(timers.cancel(self.gone[pick % self.gone.len()]), None);
            }
            Op::Cancel(_) | Op::CancelFirst | Op::CancelAgain(_) => {}
            Op::Advance(ns) => {
                self.now = self.now.saturating_add_signed(*ns);
                while self.pop(timers) {}
            }
            Op::PopOne(ns) => {
                self.now = self.now.saturating_add(*ns);
                self.pop(timers);
            }
            Op::Sleep => self.sleep(timers),
            Op::Drain => {
                assert_eq!(timers.drain(), self.items());
                self.gone.extend(self.waiting.drain(..).map(|waiting| waiting.key));
            }
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_list(
        start in prop_oneof![Just(0), 0..YEAR, any::<u64>()],
        ops in proptest::collection::vec(op(), 0..300),
    ) {
        let mut timers = Timers::new();
        let mut model = Model { now: start, ..Model::default() };
        for op in &ops {
            model.apply(&mut timers, op);
            model.check(&mut timers);
        }
        let mut seen: Vec<_> = timers.iter().copied().collect();
        seen.sort_unstable();
        let mut expected = model.items();
        expected.sort_unstable();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(timers.drain(), model.items());
    }
}
