//! The slab of live timers.
//!
//! What lives here: where an item is kept, which key it answers to, and the two links that the
//! wheel's lists are made of. What does not: what the links mean (`wheel`) and order (`near`).
//! The owner thread runs it.
//!
//! Invariants: an entry with an item is live and on no free list, one without is vacant and on
//! it; a link leads to a live entry, or is [`NIL`]; no item is dropped here.

use std::num::NonZeroU32;

use super::{Deadline, TimerKey};

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Entries<T> {
    slots: Vec<Entry<T>>,
    /// Heads the list of vacant slots, which are linked by `next`.
    vacant: u32,
    live: usize,
    /// Of the next entry. One count for all slots, so it outlives them.
    next_generation: NonZeroU32,
}

/// 40 bytes around an item of 16 with room for a discriminant: `when`, the item, three numbers.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) when: Deadline,
    item: Option<T>,
    generation: NonZeroU32,
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl<T> Entries<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: NIL, live: 0, next_generation: NonZeroU32::MIN }
    }

    /// Live entries.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.live
    }

    /// Adds an entry that is linked to nothing.
    #[inline]
    pub(super) fn insert(&mut self, when: Deadline, item: T) -> TimerKey {
        let generation = self.next_generation;
        self.next_generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let entry = Entry { when, item: Some(item), generation, prev: NIL, next: NIL };
        self.live += 1;
        let index = self.vacant;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            self.vacant = slot.next;
            *slot = entry;
            return TimerKey { index, generation };
        }
        TimerKey { index: self.append(entry), generation }
    }

    #[cold]
    fn append(&mut self, entry: Entry<T>) -> u32 {
        let index = u32::try_from(self.slots.len()).ok().filter(|index| *index != NIL);
        // Four thousand million entries are more than 160 GiB.
        let index = index.expect("invariant: memory ends before the numbers of entries do");
        self.slots.push(entry);
        index
    }

    /// When the entry is due, if the key is not stale.
    #[inline]
    pub(super) fn when(&self, key: TimerKey) -> Option<Deadline> {
        let entry = self.slots.get(key.index as usize)?;
        (entry.generation == key.generation && entry.item.is_some()).then_some(entry.when)
    }

    /// Moves the item out and vacates its slot. The entry must be linked to nothing any more.
    #[inline]
    pub(super) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.slots.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let item = entry.item.take()?;
        entry.next = self.vacant;
        self.vacant = key.index;
        self.live -= 1;
        Some(item)
    }

    /// The entry that a link leads to.
    #[inline]
    pub(super) fn at(&self, index: u32) -> &Entry<T> {
        &self.slots[index as usize]
    }

    /// The entry that a link leads to.
    #[inline]
    pub(super) fn at_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.slots[index as usize]
    }

    /// The key of an entry that a link leads to.
    #[inline]
    pub(super) fn key(&self, index: u32) -> TimerKey {
        TimerKey { index, generation: self.at(index).generation }
    }

    /// Every live item, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|entry| entry.item.as_ref())
    }

    /// Gives the memory back. No key that was handed out becomes valid by it.
    pub(super) fn release(&mut self) {
        debug_assert_eq!(self.live, 0);
        self.slots = Vec::new();
        self.vacant = NIL;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn a_timer_costs_forty_bytes_and_its_key_eight() {
        // As large as a discriminant and a pointer, with bits to spare like those.
        type Job = Result<Box<u8>, u32>;
        assert_eq!((size_of::<Job>(), size_of::<Entry<Job>>()), (16, 40));
        assert_eq!((size_of::<TimerKey>(), size_of::<Option<TimerKey>>()), (8, 8));
    }

    #[test]
    fn generations_skip_zero_when_they_wrap() {
        let mut entries = Entries::new();
        entries.next_generation = NonZeroU32::MAX;
        let last = entries.insert(Deadline(1), 'a');
        assert_eq!(entries.remove(last), Some('a'));
        let first = entries.insert(Deadline(2), 'b');
        assert_eq!((first.index, first.generation), (last.index, NonZeroU32::MIN));
        assert_eq!((entries.remove(last), entries.when(last)), (None, None));
        assert_eq!(entries.remove(first), Some('b'));
        assert_eq!((entries.remove(first), entries.len()), (None, 0));
    }
}
