//! Timers: a binary heap keyed by `(when, seq)`.
//!
//! What lives here: order, tombstones of cancelled timers and their compaction. What does not:
//! whether an item is cancelled (the caller knows) and the time (an argument). The owner thread
//! runs it. Invariants: equal deadlines leave in the order they came; no item is dropped here;
//! `cancelled` never exceeds the number of entries.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Deadline;

/// Below this many entries tombstones are cheaper to keep than to sweep out.
const COMPACTION_FLOOR: usize = 100;

/// Items that wait for their deadline.
#[derive(Debug)]
pub struct Timers<T> {
    heap: BinaryHeap<Entry<T>>,
    /// Breaks ties between equal deadlines; 64 bits do not wrap.
    next_seq: u64,
    /// Entries known to be cancelled and still in the heap.
    cancelled: usize,
}

#[derive(Debug)]
struct Entry<T> {
    when: Deadline,
    seq: u64,
    item: T,
}

impl<T> Ord for Entry<T> {
    /// Reversed: the heap keeps its greatest entry on top, and that is the earliest.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.when, other.seq).cmp(&(self.when, self.seq))
    }
}

impl<T> PartialOrd for Entry<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// No timers.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), next_seq: 0, cancelled: 0 }
    }

    /// Adds `item`, due at `when`, after every item already due then.
    #[inline]
    pub fn insert(&mut self, when: Deadline, item: T) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.heap.push(Entry { when, seq, item });
    }

    /// Entries, tombstones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if there is no entry at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the earliest entry is due.
    #[inline]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.heap.peek().map(|entry| entry.when)
    }

    /// Takes the earliest entry that is due at `now`.
    #[inline]
    pub fn pop_due(&mut self, now: Deadline) -> Option<T> {
        if self.heap.peek()?.when > now {
            return None;
        }
        self.pop()
    }

    /// The earliest entry.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        self.heap.peek().map(|entry| &entry.item)
    }

    /// Takes the earliest entry, due or not.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.item)
    }

    /// Counts a tombstone. True when sweeping them out is worth its cost: more than a hundred
    /// entries and more than half of them cancelled.
    #[inline]
    #[must_use = "true asks for compact()"]
    pub fn note_cancelled(&mut self) -> bool {
        self.cancelled = (self.cancelled + 1).min(self.heap.len());
        self.heap.len() > COMPACTION_FLOOR && self.cancelled > self.heap.len() / 2
    }

    /// The caller popped an entry and found it cancelled.
    #[inline]
    pub fn note_popped_cancelled(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// Moves every cancelled entry into `removed`; the rest keep their order.
    pub fn compact(&mut self, is_cancelled: impl Fn(&T) -> bool, removed: &mut Vec<T>) {
        let mut kept = Vec::with_capacity(self.heap.len());
        for entry in std::mem::take(&mut self.heap).into_vec() {
            if is_cancelled(&entry.item) {
                removed.push(entry.item);
            } else {
                kept.push(entry);
            }
        }
        self.heap = BinaryHeap::from(kept);
        self.cancelled = 0;
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.item)
    }

    /// Takes every entry, earliest first.
    pub fn drain(&mut self) -> Vec<T> {
        self.cancelled = 0;
        let sorted = std::mem::take(&mut self.heap).into_sorted_vec();
        // Ascending in the reversed order is latest first.
        sorted.into_iter().rev().map(|entry| entry.item).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
