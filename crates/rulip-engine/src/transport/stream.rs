//! A byte stream: TCP, Unix, pipes that go both ways.
//!
//! What lives here: what may be read, written, shut down or lost next, over an edge-triggered
//! registration made once. What does not: the descriptor, the system calls and the protocol, which
//! are the caller's. The owner thread runs it.
//!
//! Three parts change side by side.
//!
//! | phase | reads | accepts writes | leaves by |
//! |---|---|---|---|
//! | `Open` | yes | until `write_eof` | `close` -> `Closing`; `abort` -> `Losing` |
//! | `Closing` | no | only behind bytes the kernel refused | the last byte, `abort` -> `Losing` |
//! | `Losing` | no | no | `handle_lost` -> `Lost` |
//! | `Lost` | no | no | - |
//!
//! | read side | meaning | leaves by |
//! |---|---|---|
//! | `NotStarted` | edges are kept, nothing is read | `start_reading` -> `Started` |
//! | `Started` | reads what edges announce, unless `paused` | `handle_eof` -> `Eof` |
//! | `Eof` | the peer has ended its half | - |
//!
//! | write side | meaning | leaves by |
//! |---|---|---|
//! | `Open` | | `write_eof` with an empty queue -> `Sent`, else -> `Queued` |
//! | `Queued` | end of file follows the queue | `poll_drained` -> `Sent` |
//! | `Sent` | the peer will read an end of file | - |
//!
//! An edge is announced once. `readable` keeps it from its event until a read has emptied the
//! kernel's buffer: a read that returns less than was asked, or "would block". `hangup` keeps the
//! peer's end: after it even a short read does not mean that nothing follows, for the end of file
//! itself makes no second edge. `blocked` says that the kernel refused bytes, and so that a
//! writable edge will come; bytes queued while it is unset wait only for the end of the turn.
//!
//! Invariants: `blocked` implies a queue that is not empty; a chunk is never dropped here; each of
//! shutdown, pause, resume and loss is asked for at most once per cause.

use super::flow::{Flow, FlowEvent, LimitsError};
use crate::buf::WriteQueue;
use crate::readiness::Readiness;

/// More than this is not kept until the end of the turn: it would only fall out of the cache.
const FLUSH_AT_ONCE: usize = 64 * 1024;

/// What starting or resuming to read asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ReadDuty {
    /// Nothing: an edge will come, or there is nothing to read.
    None,
    /// Read: an edge came while nobody read, and none will come again.
    ReadNow,
}

/// What a readiness event asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Duties {
    /// Read until [`AfterRead::Drained`] or until [`Stream::wants_read`] says no.
    pub read: bool,
    /// Send what is queued.
    pub flush: bool,
}

/// Whether a read has emptied the kernel's buffer.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AfterRead {
    /// It has: the next bytes come with an edge.
    Drained,
    /// It may not have: read again, as long as [`Stream::wants_read`].
    More,
}

/// What a write asks for.
#[must_use]
#[derive(PartialEq, Eq, Debug)]
pub enum WriteDuty<C> {
    /// Not accepted; the chunk comes back.
    Ignored(C),
    /// Queued: flush at the end of the turn.
    Deferred,
    /// Queued: flush now, there is enough of it.
    FlushNow,
    /// Queued behind bytes the kernel refused: a writable edge will come.
    Blocked,
}

/// What the end of our half asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum EofDuty {
    /// Nothing: it has been said, or the stream is closing.
    Ignored,
    /// Shut the writing half down.
    ShutdownNow,
    /// [`Stream::poll_drained`] will ask for it.
    AfterFlush,
}

/// What closing asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseDuty {
    /// Nothing: the stream is closing already.
    Ignored,
    /// Schedule the loss of the connection.
    LoseSoon,
    /// [`Stream::poll_drained`] will ask for it, once the queue is sent.
    AfterFlush,
}

/// What an empty queue asks for.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Shut the writing half down.
    ShutdownWrite,
    /// The connection is lost as it was asked to be.
    Lose,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Losing,
    Lost,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum ReadSide {
    NotStarted,
    Started,
    Eof,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum WriteSide {
    Open,
    Queued,
    Sent,
}

/// The state of one byte stream; `C` is a chunk of bytes to write.
#[derive(Debug)]
pub struct Stream<C> {
    phase: Phase,
    read_side: ReadSide,
    write_side: WriteSide,
    /// The user asked not to read. Independent of having started.
    paused: bool,
    /// An edge said that there is something to read, and no read has come to its end.
    readable: bool,
    /// An edge said that the peer has ended, and the end has not been read.
    hangup: bool,
    /// The kernel refused bytes of the queue, and no writable edge has come since.
    blocked: bool,
    /// It has refused some, and nobody has heard since that all are sent: to whoever is told to resume,
    /// the queue is not empty yet.
    refused: bool,
    queue: WriteQueue<C>,
    flow: Flow,
    /// What the last change made of the marks, until somebody polls.
    flow_event: Option<FlowEvent>,
    /// Writes that came after the stream stopped to accept any.
    ignored_writes: u32,
}

impl<C: AsRef<[u8]>> Default for Stream<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: AsRef<[u8]>> Stream<C> {
    /// An open stream that does not read yet.
    pub fn new() -> Self {
        Self {
            phase: Phase::Open,
            read_side: ReadSide::NotStarted,
            write_side: WriteSide::Open,
            paused: false,
            readable: false,
            hangup: false,
            blocked: false,
            refused: false,
            queue: WriteQueue::new(),
            flow: Flow::new(),
            flow_event: None,
            ignored_writes: 0,
        }
    }

    // ---- reading

    /// Begins to read what edges announce, unless reading was paused before.
    pub fn start_reading(&mut self) -> ReadDuty {
        if self.read_side == ReadSide::NotStarted {
            self.read_side = ReadSide::Started;
        }
        self.read_duty()
    }

    /// Stops reading. False: it was paused, or the stream is closing, and nothing changed.
    pub fn pause_reading(&mut self) -> bool {
        let changed = self.is_reading();
        self.paused |= changed;
        changed
    }

    /// Reads on. What came meanwhile has had its edge, and must be read without another.
    pub fn resume_reading(&mut self) -> ReadDuty {
        if self.is_closing() || !self.paused {
            return ReadDuty::None;
        }
        self.paused = false;
        self.read_duty()
    }

    /// True unless paused or closing. Says nothing about having started, or the peer's end.
    #[inline]
    pub fn is_reading(&self) -> bool {
        !self.paused && !self.is_closing()
    }

    /// True if a read is allowed and would find something.
    #[inline]
    pub fn wants_read(&self) -> bool {
        self.readable && self.read_side == ReadSide::Started && self.is_reading()
    }

    /// True once the peer's end of file was read.
    pub fn is_read_eof(&self) -> bool {
        self.read_side == ReadSide::Eof
    }

    fn read_duty(&self) -> ReadDuty {
        if self.wants_read() { ReadDuty::ReadNow } else { ReadDuty::None }
    }

    /// The kernel reported readiness.
    #[inline]
    pub fn handle_readiness(&mut self, readiness: Readiness) -> Duties {
        if readiness.wakes_reader() && self.read_side != ReadSide::Eof {
            self.readable = true;
            self.hangup |= readiness.is_hangup() || readiness.is_error();
        }
        let flush = self.blocked && readiness.wakes_writer();
        if flush {
            self.blocked = false;
        }
        Duties { read: self.wants_read(), flush: flush && self.wants_flush() }
    }

    /// A read asked for `requested` bytes and got `n`, more than none.
    #[inline]
    pub fn handle_received(&mut self, n: usize, requested: usize) -> AfterRead {
        if n < requested && !self.hangup {
            self.readable = false;
            return AfterRead::Drained;
        }
        AfterRead::More
    }

    /// A read would have blocked: the latches were wrong, or a read before it took everything.
    pub fn handle_read_blocked(&mut self) {
        self.readable = false;
        self.hangup = false;
    }

    /// A read got the end of file.
    pub fn handle_eof(&mut self) {
        self.read_side = ReadSide::Eof;
        self.handle_read_blocked();
    }

    // ---- writing

    /// Queues a chunk. An empty one is never accepted, nor counted as ignored.
    #[inline]
    pub fn write(&mut self, chunk: C) -> WriteDuty<C> {
        let len = chunk.as_ref().len();
        if !self.accepts_writes() {
            self.ignored_writes = self.ignored_writes.saturating_add(u32::from(len > 0));
            return WriteDuty::Ignored(chunk);
        }
        if len == 0 {
            return WriteDuty::Ignored(chunk);
        }
        self.queue.push(chunk);
        let buffered = self.queue.len_bytes();
        if self.blocked {
            self.note_growth();
            WriteDuty::Blocked
        } else if buffered > FLUSH_AT_ONCE || buffered > self.flow.limits().1 {
            WriteDuty::FlushNow
        } else {
            WriteDuty::Deferred
        }
    }

    /// True if a write would be queued.
    #[inline]
    pub fn accepts_writes(&self) -> bool {
        self.write_side == WriteSide::Open
            && match self.phase {
                Phase::Open => true,
                // Bytes that only wait for the turn's end count as sent, and so the queue as empty.
                Phase::Closing => self.refused,
                Phase::Losing | Phase::Lost => false,
            }
    }

    /// How many writes were ignored because the stream was closed or its half ended.
    pub fn ignored_writes(&self) -> u32 {
        self.ignored_writes
    }

    /// What waits to be sent.
    #[inline]
    pub fn unsent(&self) -> &WriteQueue<C> {
        &self.queue
    }

    /// True if bytes are queued and the kernel has not refused any: flush them before asking how
    /// much is buffered, and before [`Stream::abort`], since they count as written.
    #[inline]
    pub fn wants_flush(&self) -> bool {
        !self.blocked && !self.queue.is_empty()
    }

    /// The kernel took `n` bytes; finished chunks move into `spent`. If it took fewer than it was
    /// offered, [`Stream::handle_send_blocked`] must follow. Then [`Stream::poll_flow`] and
    /// [`Stream::poll_drained`], in this order.
    #[inline]
    pub fn handle_sent(&mut self, n: usize, spent: &mut Vec<C>) {
        self.queue.advance(n, spent);
        if self.queue.is_empty() {
            self.blocked = false;
        }
        match self.flow.handle_drain(self.queue.len_bytes()) {
            // A pause that nobody has seen and a resume cancel out.
            Some(_) if self.flow_event.is_some() => self.flow_event = None,
            Some(event) => self.flow_event = Some(event),
            None => {}
        }
    }

    /// The kernel refused bytes: a writable edge will come.
    pub fn handle_send_blocked(&mut self) {
        self.blocked = !self.queue.is_empty();
        if self.blocked {
            self.refused = true;
            self.note_growth();
        }
    }

    fn note_growth(&mut self) {
        match self.flow.handle_growth(self.queue.len_bytes()) {
            Some(_) if self.flow_event.is_some() => self.flow_event = None,
            Some(event) => self.flow_event = Some(event),
            None => {}
        }
    }

    /// What the writer must be told since the last poll.
    #[inline]
    pub fn poll_flow(&mut self) -> Option<FlowEvent> {
        self.flow_event.take()
    }

    /// Sets the water marks; [`Stream::poll_flow`] follows.
    pub fn set_limits(&mut self, high: Option<i64>, low: Option<i64>) -> Result<(), LimitsError> {
        self.flow.set_limits(high, low)?;
        // Bytes that the kernel has not refused are not in the way yet.
        if self.blocked {
            self.note_growth();
        }
        Ok(())
    }

    /// The low and the high mark.
    pub fn limits(&self) -> (usize, usize) {
        self.flow.limits()
    }

    /// Bytes queued.
    #[inline]
    pub fn buffered(&self) -> usize {
        self.queue.len_bytes()
    }

    /// Ends our half, after what is queued.
    pub fn write_eof(&mut self) -> EofDuty {
        if self.is_closing() || self.is_eof_queued() {
            EofDuty::Ignored
        } else if self.queue.is_empty() {
            self.write_side = WriteSide::Sent;
            EofDuty::ShutdownNow
        } else {
            self.write_side = WriteSide::Queued;
            EofDuty::AfterFlush
        }
    }

    /// True once the end of our half was asked for: a write is the caller's mistake.
    #[inline]
    pub fn is_eof_queued(&self) -> bool {
        self.write_side != WriteSide::Open
    }

    // ---- the end

    /// What an empty queue asks for, once each.
    #[inline]
    pub fn poll_drained(&mut self) -> Option<Drained> {
        if !self.queue.is_empty() {
            return None;
        }
        self.refused = false;
        if self.phase == Phase::Closing {
            self.phase = Phase::Losing;
            Some(Drained::Lose)
        } else if self.phase == Phase::Open && self.write_side == WriteSide::Queued {
            self.write_side = WriteSide::Sent;
            Some(Drained::ShutdownWrite)
        } else {
            None
        }
    }

    /// Stops reading, sends what is queued, then loses the connection.
    pub fn close(&mut self) -> CloseDuty {
        if self.phase != Phase::Open {
            CloseDuty::Ignored
        } else if self.queue.is_empty() {
            self.phase = Phase::Losing;
            CloseDuty::LoseSoon
        } else {
            self.phase = Phase::Closing;
            CloseDuty::AfterFlush
        }
    }

    /// Loses the connection without sending what is queued, which moves into `spent`.
    pub fn abort(&mut self, spent: &mut Vec<C>) -> CloseDuty {
        if matches!(self.phase, Phase::Losing | Phase::Lost) {
            return CloseDuty::Ignored;
        }
        spent.append(&mut self.take_unsent());
        self.flow_event = None;
        self.phase = Phase::Losing;
        CloseDuty::LoseSoon
    }

    /// The connection is gone. [`Stream::take_unsent`] fetches what was still queued.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Lost;
        self.blocked = false;
        self.flow_event = None;
    }

    /// Moves out every chunk that is still queued.
    pub fn take_unsent(&mut self) -> Vec<C> {
        self.blocked = false;
        self.queue.take_all()
    }

    /// True from `close` or `abort` on.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// True after [`Stream::handle_lost`].
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
