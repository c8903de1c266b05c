//! Timers that are ahead: a hierarchical wheel of lists.
//!
//! What lives here: which list an entry is in, and the wheel's own moment, `elapsed`, in ticks of
//! 2^20 ns. What does not: the entries and their links (`entries`), and exact order (`near`). The
//! owner thread runs it.
//!
//! A tick is read as eight digits of six bits. An entry is in the level of the highest digit in
//! which its tick differs from `elapsed`, in the slot that this digit says:
//!
//! ```text
//! level    0       1       2      3       4      5      6       7
//! a slot   1.0 ms  67 ms   4.3 s  4.6 min 4.9 h  13 d   2.3 y   146 y
//! ```
//!
//! Invariants:
//! - The wheel holds exactly the live entries whose tick is after `elapsed`. So an entry's list
//!   follows from its deadline alone, and nothing of it need be stored.
//! - Within a level, occupied slots are those of greater digits than `elapsed` has there, and a
//!   lower level is due before a higher one: the first is found by counting zeros.
//! - Lists are kept in order of insertion. Equal deadlines are always in one list, so they stay in
//!   that order however often they move down.
//! - Only [`Wheel::advance`] moves `elapsed`, and never beyond the moment it is given.

use super::entries::{Entries, NIL};
use super::{Deadline, TimerKey};

const TICK_BITS: u32 = 20;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for every tick there is: 64 - 20 bits.
const LEVELS: usize = 8;
/// A slot of at most this many entries is looked through when its cached minimum has gone.
pub(super) const RESCAN_LIMIT: u32 = 64;

#[derive(Debug)]
pub(super) struct Wheel {
    elapsed: u64,
    /// A bit for each level with an occupied slot.
    levels: u32,
    /// A bit for each occupied slot of a level.
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
}

/// A list of entries.
#[derive(Copy, Clone, Debug)]
struct Slot {
    head: u32,
    tail: u32,
    len: u32,
    /// The entry that `earliest` was taken from has gone; it is a lower bound now.
    dirty: bool,
    earliest: Deadline,
}

impl Slot {
    const EMPTY: Self =
        Self { head: NIL, tail: NIL, len: 0, dirty: false, earliest: Deadline::NEVER };
}

/// Where a list is.
#[derive(Copy, Clone)]
struct Place {
    level: usize,
    digit: usize,
}

impl Place {
    #[inline]
    const fn index(self) -> usize {
        self.level * SLOTS + self.digit
    }
}

#[inline]
const fn tick(when: Deadline) -> u64 {
    when.0 >> TICK_BITS
}

#[inline]
const fn shift(level: usize) -> u32 {
    level as u32 * DIGIT_BITS
}

impl Wheel {
    pub(super) fn new() -> Self {
        let slots = vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice();
        Self { elapsed: 0, levels: 0, occupied: [0; LEVELS], slots }
    }

    /// True if an entry of this deadline belongs to the wheel.
    #[inline]
    pub(super) const fn is_ahead(&self, when: Deadline) -> bool {
        tick(when) > self.elapsed
    }

    #[inline]
    const fn place(&self, when: Deadline) -> Place {
        let tick = tick(when);
        let differing = (tick ^ self.elapsed) | 1;
        let level = (u64::BITS - 1 - differing.leading_zeros()) / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        Place { level: level as usize, digit }
    }

    /// Appends an entry that is ahead to its list.
    #[inline]
    pub(super) fn link<T>(&mut self, entries: &mut Entries<T>, index: u32) {
        let when = entries.at(index).when;
        let place = self.place(when);
        let slot = &mut self.slots[place.index()];
        let entry = entries.at_mut(index);
        (entry.prev, entry.next) = (slot.tail, NIL);
        if slot.tail == NIL {
            slot.head = index;
            self.occupied[place.level] |= 1 << place.digit;
            self.levels |= 1 << place.level;
        } else {
            entries.at_mut(slot.tail).next = index;
        }
        slot.tail = index;
        slot.len += 1;
        if when <= slot.earliest {
            (slot.earliest, slot.dirty) = (when, false);
        }
    }

    /// Takes an entry that is ahead out of its list.
    #[inline]
    pub(super) fn unlink<T>(&mut self, entries: &mut Entries<T>, index: u32) {
        let entry = entries.at(index);
        let (when, prev, next) = (entry.when, entry.prev, entry.next);
        let place = self.place(when);
        let slot = &mut self.slots[place.index()];
        match prev {
            NIL => slot.head = next,
            _ => entries.at_mut(prev).next = next,
        }
        match next {
            NIL => slot.tail = prev,
            _ => entries.at_mut(next).prev = prev,
        }
        slot.len -= 1;
        if slot.len == 0 {
            self.clear(place);
        } else if when == slot.earliest {
            slot.dirty = true;
        }
    }

    /// Forgets a list.
    #[inline]
    fn clear(&mut self, place: Place) {
        self.slots[place.index()] = Slot::EMPTY;
        self.occupied[place.level] &= !(1 << place.digit);
        if self.occupied[place.level] == 0 {
            self.levels &= !(1 << place.level);
        }
    }

    /// The occupied slot that is due first.
    #[inline]
    fn first(&self) -> Option<Place> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some(Place { level, digit: self.occupied[level].trailing_zeros() as usize })
    }

    /// The first tick of an occupied slot, and the last.
    #[inline]
    const fn ticks(&self, place: Place) -> (u64, u64) {
        let above = self.elapsed >> shift(place.level + 1) << DIGIT_BITS;
        let start = (above | place.digit as u64) << shift(place.level);
        (start, start | ((1 << shift(place.level)) - 1))
    }

    /// Moves the wheel to `now`: hands over the entries whose tick is reached, equal deadlines in
    /// the order they came, and brings down those of a slot that was only entered.
    #[inline]
    pub(super) fn advance<T>(
        &mut self,
        now: Deadline,
        entries: &mut Entries<T>,
        reached: impl FnMut(Deadline, TimerKey),
    ) {
        let target = tick(now);
        if target <= self.elapsed {
            return;
        }
        if self.first().is_some_and(|place| self.ticks(place).0 <= target) {
            self.turn(target, entries, reached);
        }
        self.elapsed = target;
    }

    fn turn<T>(
        &mut self,
        target: u64,
        entries: &mut Entries<T>,
        mut reached: impl FnMut(Deadline, TimerKey),
    ) {
        while let Some(place) = self.first() {
            let (start, end) = self.ticks(place);
            if start > target {
                return;
            }
            let mut cursor = self.slots[place.index()].head;
            self.clear(place);
            // Every lower level is empty, so the slot may be passed in one step. What is left of
            // it differs from `elapsed` in lower digits only: it moves down and not back.
            self.elapsed = end.min(target);
            while cursor != NIL {
                let entry = entries.at(cursor);
                let (when, next) = (entry.when, entry.next);
                if self.is_ahead(when) {
                    self.link(entries, cursor);
                } else {
                    reached(when, entries.key(cursor));
                }
                cursor = next;
            }
        }
    }

    /// When the first entry is due, or a moment before that if the slot that is due first holds
    /// many entries and its earliest one was unlinked. The moment is never before that slot, so
    /// whoever advances to it enters the slot, and the entries spread over lower ones whose
    /// minima are known: one unlinked entry misleads once at most.
    #[inline]
    pub(super) fn earliest<T>(&mut self, entries: &Entries<T>) -> Option<Deadline> {
        let place = self.first()?;
        let slot = &mut self.slots[place.index()];
        if slot.dirty && slot.len <= RESCAN_LIMIT {
            slot.rescan(entries);
        }
        Some(slot.earliest)
    }

    /// How many entries the slot that is due first holds.
    #[cfg(all(test, not(loom)))]
    pub(super) fn first_len(&self) -> u32 {
        self.first().map_or(0, |place| self.slots[place.index()].len)
    }
}

impl Slot {
    fn rescan<T>(&mut self, entries: &Entries<T>) {
        let mut earliest = Deadline::NEVER;
        let mut cursor = self.head;
        while cursor != NIL {
            let entry = entries.at(cursor);
            earliest = earliest.min(entry.when);
            cursor = entry.next;
        }
        (self.earliest, self.dirty) = (earliest, false);
    }
}
