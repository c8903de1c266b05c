//! What waits to be sent: bytes objects of the program's, and buffers of our own.
//!
//! Buffers are used again: TLS writes each record into one, and a fresh allocation per message would make
//! the heap grow and shrink with it. Not here: the queue (`rulip_engine::buf`). Any attached thread; each
//! keeps its own spare buffers.
//!
//! Invariant: the spare buffers of a thread are empty, few, and of bounded size.

use std::cell::RefCell;

use crate::ffi::bytes::Bytes;

/// A buffer that was larger is not kept.
const SPARE_CAPACITY: usize = 512 * 1024;
/// How many are kept: about one per connection that one turn writes to.
const SPARES: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, one used before if there is any.
#[inline]
pub(crate) fn spare() -> Vec<u8> {
    SPARE.with(|spare| spare.borrow_mut().pop()).unwrap_or_default()
}

/// Keeps a buffer for use again.
#[inline]
pub(crate) fn keep(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > SPARE_CAPACITY {
        return;
    }
    buffer.clear();
    SPARE.with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARES {
            spare.push(buffer);
        }
    });
}

/// Memory of ours that goes back to the spare ones.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new(filled: Vec<u8>) -> Self {
        Self(filled)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        keep(std::mem::take(&mut self.0));
    }
}

/// One chunk of a write queue.
#[derive(Debug)]
pub(crate) enum Chunk {
    Bytes(Bytes),
    Buffer(Buffer),
}

impl AsRef<[u8]> for Chunk {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_ref(),
            Self::Buffer(buffer) => &buffer.0,
        }
    }
}

impl From<Bytes> for Chunk {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
