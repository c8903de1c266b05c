//! [`Buffer`]: bytes that were received and nobody has read.
//!
//! Pure Rust. What is read leaves at the front without moving the rest. Memory of a large message
//! goes back to a small store when it is read out, so that the heap does not grow and shrink
//! with every message. Not here: what is looked for in the bytes (`scan.rs`).
//!
//! Invariant: `start <= end <= memory.len()`, and no line feed stands in the first `scanned` bytes.

use std::cell::RefCell;

/// More memory than this is not kept by a reader that has been read empty.
const KEPT: usize = 16 * 1024;
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

fn give_back(memory: Vec<u8>) {
    if memory.len() <= SPARE_SIZE {
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < SPARES {
                spares.push(memory);
            }
        });
    }
}

/// Received bytes, first come first served.
#[derive(Default)]
pub(super) struct Buffer {
    /// Initialised throughout: receiving may write anywhere behind `end`.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    scanned: usize,
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

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, data: &[u8]) {
        let end = self.end + data.len();
        if end > self.memory.len() {
            self.make_room(data.len());
        }
        self.memory[self.end..self.end + data.len()].copy_from_slice(data);
        self.end += data.len();
    }

    /// Room for `wanted` bytes more, to be filled in place; see [`Buffer::filled`].
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        if self.end + wanted > self.memory.len() {
            self.make_room(wanted);
        }
        &mut self.memory[self.end..]
    }

    /// So many bytes of the room now hold data.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    #[cold]
    fn make_room(&mut self, wanted: usize) {
        let len = self.len();
        let needed = len + wanted;
        // Moving to the front is enough where that leaves as much room as it moves.
        if needed <= self.memory.len() && self.start >= len {
            self.memory.copy_within(self.start..self.end, 0);
        } else {
            let size = needed.max(len * 2).next_power_of_two().max(256);
            let mut memory = spare(size).unwrap_or_else(|| vec![0; size]);
            memory[..len].copy_from_slice(&self.memory[self.start..self.end]);
            let old = std::mem::replace(&mut self.memory, memory);
            if old.len() > KEPT {
                give_back(old);
            }
        }
        self.start = 0;
        self.end = len;
    }

    /// Takes bytes away at the front.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.scanned = self.scanned.saturating_sub(count);
        if self.is_empty() {
            self.drained();
        }
    }

    fn drained(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
        if self.memory.len() > KEPT {
            give_back(std::mem::take(&mut self.memory));
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
            self.room(data.len());
            self.memory.copy_within(self.start..self.end, self.start + data.len());
            self.memory[self.start..self.start + data.len()].copy_from_slice(data);
            self.end = self.start + data.len() + len;
        }
        self.scanned = 0;
    }

    /// Holds exactly these bytes from now on.
    pub(super) fn overwrite(&mut self, data: &[u8]) {
        self.clear();
        self.append(data);
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
