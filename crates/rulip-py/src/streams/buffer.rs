//! [`Buffer`]: bytes that were received and nobody has read.
//!
//! What is read leaves at the front without moving the rest. Memory of a large message
//! goes back to a small store when it is read out, so that the heap does not grow and shrink
//! with every message. What somebody wants as a whole, and is large, is gathered in a bytes object
//! that they get. Not here: what is looked for in the bytes (`scan.rs`). Owner thread, attached.
//!
//! Invariant: `start <= end <= memory.len()`, and no line feed stands in the first `scanned` bytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::ffi::bytes::{self, Growing};
use crate::ffi::{Obj, Res};

/// More memory than this is not kept by a reader that has been read empty.
const KEPT: usize = 16 * 1024;
/// From this size on a whole is gathered where the program gets it.
const WHOLE: usize = 64 * 1024;
/// The largest memory that is kept for another reader, and how many of them.
const SPARE_SIZE: usize = 1024 * 1024;
const SPARES: usize = 8;

thread_local! {
    /// Memory that drained readers left, last in, first out: the one that is still in the cache.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn spare(at_least: usize) -> Option<Vec<u8>> {
    SPARE.with_borrow_mut(|spares| {
        let fits = spares.iter().rposition(|memory| memory.len() >= at_least)?;
        Some(spares.remove(fits))
    })
}

/// Memory of ours may be used again. An object that nobody got ends here, which runs nobody's code.
fn release(memory: Memory) {
    if let Memory::Kept(memory) = memory
        && (KEPT + 1..=SPARE_SIZE).contains(&memory.len())
    {
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < SPARES {
                spares.push(memory);
            }
        });
    }
}

enum Memory {
    /// Ours, to be used again.
    Kept(Vec<u8>),
    /// For whoever wants it as a whole.
    Given(Growing),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Kept(Vec::new())
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Kept(memory) => memory,
            Self::Given(growing) => growing.memory(),
        }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Kept(memory) => memory,
            Self::Given(growing) => growing.memory_mut(),
        }
    }
}

/// Received bytes, first come first served.
#[derive(Default)]
pub(super) struct Buffer {
    memory: Memory,
    start: usize,
    end: usize,
    scanned: usize,
    /// So many bytes, from the first one here, are wanted as a whole; 0: nobody said so.
    whole: usize,
}

impl Buffer {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Somebody waits for so many bytes at once, counted from the first one here.
    pub(super) fn want_whole(&mut self, count: usize) {
        self.whole = if count >= WHOLE { count } else { 0 };
    }

    /// Adds bytes at the end. `MemoryError` where a large whole does not fit; nothing is left then.
    pub(super) fn append(&mut self, data: &[u8]) -> Res<()> {
        let end = self.end + data.len();
        if end > self.memory.len() {
            self.make_room(data.len())?;
        }
        self.memory[self.end..self.end + data.len()].copy_from_slice(data);
        self.end += data.len();
        Ok(())
    }

    /// Room for `wanted` bytes more, or for what lacks of a whole, to be filled in place; see
    /// [`Buffer::filled`]. Errors as those of [`Buffer::append`].
    pub(super) fn room(&mut self, wanted: usize) -> Res<&mut [u8]> {
        let lacking = self.whole.saturating_sub(self.len());
        let wanted = if lacking > 0 { wanted.min(lacking) } else { wanted };
        if self.end + wanted > self.memory.len() {
            self.make_room(wanted)?;
        }
        Ok(&mut self.memory[self.end..])
    }

    /// So many bytes of the room now hold data.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    #[cold]
    fn make_room(&mut self, wanted: usize) -> Res<()> {
        let size = self.size_for(wanted);
        if self.whole <= self.len() {
            self.make_room_in_ours(wanted);
            return Ok(());
        }
        // No more than the whole, unless more is here already.
        let size = size.min(self.whole).max(self.len() + wanted);
        if let (Memory::Given(growing), 0) = (&mut self.memory, self.start) {
            let grown = growing.resize(size);
            if grown.is_err() {
                self.forget();
            }
            return grown;
        }
        let mut growing = Growing::new(size)?;
        growing.memory_mut()[..self.len()].copy_from_slice(self.bytes());
        self.replace(Memory::Given(growing));
        Ok(())
    }

    fn size_for(&self, wanted: usize) -> usize {
        let len = self.len();
        (len + wanted).max(len * 2).next_power_of_two().max(256)
    }

    fn make_room_in_ours(&mut self, wanted: usize) {
        let len = self.len();
        // Moving to the front is enough where that leaves as much room as it moves.
        if len + wanted <= self.memory.len() && self.start >= len {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, len);
            return;
        }
        let size = self.size_for(wanted);
        let mut memory = spare(size).unwrap_or_else(|| vec![0; size]);
        memory[..len].copy_from_slice(self.bytes());
        self.replace(Memory::Kept(memory));
    }

    /// Other memory, with the same bytes at its front.
    fn replace(&mut self, memory: Memory) {
        let len = self.len();
        (self.start, self.end) = (0, len);
        release(std::mem::replace(&mut self.memory, memory));
    }

    /// The first `count` bytes, taken away.
    pub(super) fn take(&mut self, count: usize) -> Res<Obj> {
        if self.start == 0
            && count == self.end
            && let Memory::Given(growing) = &mut self.memory
        {
            let given = std::mem::replace(growing, Growing::nothing());
            self.forget();
            return given.finish(count);
        }
        let taken = bytes::from_slice(&self.bytes()[..count])?;
        self.consume(count);
        Ok(taken)
    }

    /// Nothing is here any more, not even memory.
    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes bytes away at the front.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.whole = 0;
        self.start = (self.start + count).min(self.end);
        self.scanned = self.scanned.saturating_sub(count);
        if self.is_empty() {
            self.drained();
        }
    }

    fn drained(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
        if self.memory.len() > KEPT {
            release(std::mem::take(&mut self.memory));
        }
    }

    pub(super) fn clear(&mut self) {
        self.consume(self.len());
    }

    /// Puts bytes back in front of what is here.
    pub(super) fn prepend(&mut self, data: &[u8]) {
        if data.len() <= self.start {
            self.start -= data.len();
            self.memory[self.start..self.start + data.len()].copy_from_slice(data);
        } else {
            let len = self.len();
            if self.end + data.len() > self.memory.len() {
                self.make_room_in_ours(data.len());
            }
            self.memory.copy_within(self.start..self.end, self.start + data.len());
            self.memory[self.start..self.start + data.len()].copy_from_slice(data);
            self.end = self.start + data.len() + len;
        }
        (self.scanned, self.whole) = (0, 0);
    }

    /// Holds exactly these bytes from now on.
    pub(super) fn overwrite(&mut self, data: &[u8]) -> Res<()> {
        self.clear();
        self.append(data)
    }

    /// Where the first line feed stands; what was looked through before is not looked at again.
    #[inline]
    pub(super) fn line_feed(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', &self.bytes()[self.scanned..]);
        match found {
            Some(at) => Some(self.scanned + at),
            None => {
                self.scanned = self.len();
                None
            }
        }
    }
}
