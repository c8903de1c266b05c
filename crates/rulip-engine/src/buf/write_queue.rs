//! The write queue: chunks on their way to the kernel, sent in part.
//!
//! What lives here: the chunks, how much of the first is gone, the view for a vectored send. What
//! does not: when to send (`transport::stream`). The owner thread runs it.
//!
//! Invariants: `bytes` is the sum of the chunks' lengths less `sent`; `sent` is less than the
//! first chunk's length, or 0; a finished chunk is moved out to the caller and never dropped here.

use std::collections::VecDeque;
use std::io::IoSlice;

/// As many buffers as one vectored send is worth: beyond it the copies dominate.
pub const MAX_SLICES: usize = 64;

/// Chunks that wait to be sent.
#[derive(Debug)]
pub struct WriteQueue<C> {
    chunks: VecDeque<C>,
    sent: usize,
    bytes: usize,
}

impl<C> Default for WriteQueue<C> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), sent: 0, bytes: 0 }
    }
}

impl<C: AsRef<[u8]>> WriteQueue<C> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk at the end. Its bytes must not change until it comes out again.
    #[inline]
    pub fn push(&mut self, chunk: C) {
        self.bytes += chunk.as_ref().len();
        self.chunks.push_back(chunk);
    }

    /// Adds a chunk whose first `sent` bytes the kernel has taken already, and not all of them. Nothing may
    /// wait before it.
    pub fn push_rest(&mut self, chunk: C, sent: usize) {
        debug_assert!(self.chunks.is_empty() && sent < chunk.as_ref().len());
        self.push(chunk);
        self.sent = sent;
        self.bytes -= sent;
    }

    /// Bytes not sent yet.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// True if no byte waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many chunks are held.
    #[inline]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// What is left of the first chunk: all there is to send, if [`WriteQueue::chunks`] is 1.
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.chunks.front().and_then(|chunk| chunk.as_ref().get(self.sent..)).unwrap_or(&[])
    }

    /// Fills `out` with the next bytes to send, at most [`MAX_SLICES`] buffers; returns how many
    /// buffers it filled.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let rest = self.chunks.iter().skip(1).map(AsRef::as_ref);
        let unsent = std::iter::once(self.first()).chain(rest).filter(|bytes| !bytes.is_empty());
        let mut filled = 0;
        for (slot, bytes) in out.iter_mut().take(MAX_SLICES).zip(unsent) {
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// The kernel took `n` bytes: moves the chunks that are finished into `spent`. More than the
    /// queue holds counts as all of it.
    pub fn advance(&mut self, n: usize, spent: &mut Vec<C>) {
        let n = n.min(self.bytes);
        self.bytes -= n;
        self.sent += n;
        while let Some(first) = self.chunks.front() {
            let len = first.as_ref().len();
            if len > self.sent {
                break;
            }
            self.sent -= len;
            spent.extend(self.chunks.pop_front());
        }
    }

    /// Moves every chunk out, sent in part or not at all.
    pub fn take_all(&mut self) -> Vec<C> {
        self.sent = 0;
        self.bytes = 0;
        std::mem::take(&mut self.chunks).into()
    }

    /// Every chunk held, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.chunks.iter()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
