//! Timers: items that wait for their deadline, and are mostly cancelled before it.
//!
//! What lives here: the keys, and the sum of three parts: items live in a slab (`entries`), those
//! whose tick lies ahead are in a wheel (`wheel`), the rest in a heap (`near`). What does not: the
//! time (an argument). The owner thread runs it.
//!
//! Invariants: items leave by `(when, order of insertion)` and never before `when`; inserting and
//! cancelling take constant time for what is ahead, however many wait; a cancelled item is out at
//! once; no item is dropped here; memory is allocated only when more wait than ever before.

use std::num::NonZeroU32;

use super::Deadline;
use super::entries::Entries;
use super::near::Near;
use super::wheel::Wheel;

/// Names a timer until it is taken out; after that it names none.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    pub(super) index: u32,
    pub(super) generation: NonZeroU32,
}

impl TimerKey {
    /// The key as a number, never zero.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        (self.generation.get() as u64) << 32 | self.index as u64
    }

    /// The inverse of [`TimerKey::to_bits`]. Zero and other numbers that are no key's give none.
    #[inline]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU32::new((bits >> 32) as u32) {
            Some(generation) => Some(Self { index: bits as u32, generation }),
            None => None,
        }
    }
}

/// Items that wait for their deadline.
#[derive(Debug)]
pub struct Timers<T> {
    entries: Entries<T>,
    wheel: Wheel,
    near: Near,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// No timers.
    pub fn new() -> Self {
        Self { entries: Entries::new(), wheel: Wheel::new(), near: Near::new() }
    }

    /// Adds `item`, due at `when`, after every item already due then.
    #[inline]
    pub fn insert(&mut self, when: Deadline, item: T) -> TimerKey {
        let key = self.entries.insert(when, item);
        if self.wheel.is_ahead(when) {
            self.wheel.link(&mut self.entries, key.index);
        } else {
            self.near.push(when, key);
        }
        key
    }

    /// Takes an item out before it is due. A stale key gives nothing.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let when = self.entries.when(key)?;
        if self.wheel.is_ahead(when) {
            self.wheel.unlink(&mut self.entries, key.index);
            return self.entries.remove(key);
        }
        let item = self.entries.remove(key);
        self.near.note_stale(&self.entries);
        item
    }

    /// Items that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no item waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the earliest item is due, or a moment before that: never later.
    ///
    /// It is earlier only if the earliest item was cancelled and many others were due about the
    /// same time. Who wakes up then finds nothing due, and having asked [`Timers::pop_due`] is not
    /// misled by that item again.
    #[inline]
    pub fn next_deadline(&mut self) -> Option<Deadline> {
        // What is near has a tick that is reached; what is in the wheel has a later one.
        self.near.first(&self.entries).or_else(|| self.wheel.earliest(&self.entries))
    }

    /// Takes the earliest item that is due at `now`. What is due at [`Deadline::NEVER`] never is.
    #[inline]
    pub fn pop_due(&mut self, now: Deadline) -> Option<T> {
        self.advance(now);
        let key = self.near.pop_due(now, &self.entries)?;
        self.entries.remove(key)
    }

    /// Moves what is not ahead of `now` from the wheel to the heap.
    #[inline]
    fn advance(&mut self, now: Deadline) {
        let near = &mut self.near;
        self.wheel.advance(now, &mut self.entries, |when, key| near.push(when, key));
    }

    /// Every item, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    /// Takes every item, earliest first, and gives the memory back.
    pub fn drain(&mut self) -> Vec<T> {
        self.advance(Deadline::NEVER);
        let items = self.near.drain().filter_map(|key| self.entries.remove(key)).collect();
        self.entries.release();
        self.wheel = Wheel::new();
        items
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
