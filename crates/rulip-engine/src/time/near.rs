//! Timers that are near: those whose tick the wheel has reached.
//!
//! What lives here: a binary heap of `(when, seq)` and the keys of the entries. What does not: the
//! items (`entries`). The owner thread runs it.
//!
//! Invariants: equal deadlines leave in the order they came; every live entry that the wheel does
//! not hold is here once; a cancelled one stays as a stale key, `stale` counts those, and a heap
//! of nothing but stale keys is emptied at once.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::entries::Entries;
use super::{Deadline, TimerKey};

/// Up to this many stale keys are cheaper to keep than to sweep out.
pub(super) const COMPACTION_FLOOR: usize = 100;

#[derive(Debug)]
pub(super) struct Near {
    heap: BinaryHeap<Place>,
    /// Breaks ties between equal deadlines; 64 bits do not wrap.
    next_seq: u64,
    stale: usize,
}

#[derive(Debug)]
struct Place {
    when: Deadline,
    seq: u64,
    key: TimerKey,
}

impl Ord for Place {
    /// Reversed: the heap keeps its greatest place on top, and that is the earliest.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.when, other.seq).cmp(&(self.when, self.seq))
    }
}

impl PartialOrd for Place {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

impl Near {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), next_seq: 0, stale: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, when: Deadline, key: TimerKey) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.heap.push(Place { when, seq, key });
    }

    /// When the earliest live entry is due.
    #[inline]
    pub(super) fn first<T>(&mut self, entries: &Entries<T>) -> Option<Deadline> {
        loop {
            let first = self.heap.peek()?;
            // A stale key stays stale: its slot has another generation or no item.
            if entries.when(first.key).is_some() {
                return Some(first.when);
            }
            self.heap.pop();
            self.stale -= 1;
        }
    }

    /// Takes the key of the earliest live entry if that is due at `now`.
    #[inline]
    pub(super) fn pop_due<T>(&mut self, now: Deadline, entries: &Entries<T>) -> Option<TimerKey> {
        let when = self.first(entries)?;
        if when > now || when == Deadline::NEVER {
            return None;
        }
        let key = self.heap.pop().map(|place| place.key);
        self.sweep_if_all_stale();
        key
    }

    /// An entry that is here has left the slab.
    #[inline]
    pub(super) fn note_stale<T>(&mut self, entries: &Entries<T>) {
        self.stale += 1;
        self.sweep_if_all_stale();
        if self.stale > COMPACTION_FLOOR && self.stale > self.heap.len() / 2 {
            self.heap.retain(|place| entries.when(place.key).is_some());
            self.stale = 0;
        }
    }

    #[inline]
    fn sweep_if_all_stale(&mut self) {
        if self.stale == self.heap.len() {
            self.heap.clear();
            self.stale = 0;
        }
    }

    /// Takes every key, earliest first, and gives the memory back. Some may be stale.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = TimerKey> + use<> {
        self.stale = 0;
        let sorted = std::mem::take(&mut self.heap).into_sorted_vec();
        // Ascending in the reversed order is latest first.
        sorted.into_iter().rev().map(|place| place.key)
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn len_and_stale(&self) -> (usize, usize) {
        (self.heap.len(), self.stale)
    }
}
