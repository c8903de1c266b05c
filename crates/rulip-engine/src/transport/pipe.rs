//! The writing end of a one-way stream: a pipe, a FIFO, a terminal.
//!
//! What lives here: what may be written and lost next, over a level-triggered registration. What
//! does not: the descriptor and the system calls, which are the caller's, and the reading end, which
//! has no state but "paused" and "closing". The owner thread runs it.
//!
//! | phase | accepts writes | leaves by |
//! |---|---|---|
//! | `Open` | yes | `write_eof` -> `Closing` or `Losing`; `abort` -> `Losing` |
//! | `Closing` | no | the last byte, `abort` -> `Losing` |
//! | `Losing` | no | `handle_lost` -> `Lost` |
//! | `Lost` | no | - |
//!
//! Bytes go to the kernel at once while nothing is queued; what it refuses waits for room.
//! Invariant: a chunk is never dropped here.

use super::flow::{Flow, FlowEvent, LimitsError};
use super::stream::CloseDuty;
use crate::buf::WriteQueue;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Losing,
    Lost,
}

/// The state of one writing end; `C` is a chunk of bytes.
#[derive(Debug)]
pub struct PipeWriter<C> {
    phase: Phase,
    queue: WriteQueue<C>,
    flow: Flow,
    flow_event: Option<FlowEvent>,
    ignored: u32,
}

impl<C: AsRef<[u8]>> Default for PipeWriter<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: AsRef<[u8]>> PipeWriter<C> {
    /// An open end.
    pub fn new() -> Self {
        Self {
            phase: Phase::Open,
            queue: WriteQueue::new(),
            flow: Flow::new(),
            flow_event: None,
            ignored: 0,
        }
    }

    /// True if bytes may go to the kernel at once.
    #[inline]
    pub fn may_write_now(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues what the kernel refused, or what comes behind it.
    pub fn queue(&mut self, chunk: C) {
        self.queue.push(chunk);
        self.note(true);
    }

    /// Queues a chunk whose first `sent` bytes were written at once; the kernel refused the others.
    pub fn queue_rest(&mut self, chunk: C, sent: usize) {
        self.queue.push_rest(chunk, sent);
        self.note(true);
    }

    /// What waits.
    pub fn unsent(&self) -> &WriteQueue<C> {
        &self.queue
    }

    /// The kernel took `n` bytes; finished chunks move into `spent`.
    pub fn handle_sent(&mut self, n: usize, spent: &mut Vec<C>) {
        self.queue.advance(n, spent);
        self.note(false);
    }

    fn note(&mut self, grown: bool) {
        let size = self.queue.len_bytes();
        let event =
            if grown { self.flow.handle_growth(size) } else { self.flow.handle_drain(size) };
        match event {
            // A pause that nobody has seen and a resume cancel out.
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

    /// Sets the water marks; [`PipeWriter::poll_flow`] follows.
    pub fn set_limits(&mut self, high: Option<i64>, low: Option<i64>) -> Result<(), LimitsError> {
        self.flow.set_limits(high, low)?;
        self.note(true);
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

    /// Counts a write that came too late; how many came before it.
    pub fn handle_ignored(&mut self) -> u32 {
        let before = self.ignored;
        self.ignored = before.saturating_add(1);
        before
    }

    /// Closes behind what is queued.
    pub fn write_eof(&mut self) -> CloseDuty {
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

    /// True once, when the queue of a closing end has become empty: lose it.
    pub fn poll_drained(&mut self) -> bool {
        let drained = self.phase == Phase::Closing && self.queue.is_empty();
        if drained {
            self.phase = Phase::Losing;
        }
        drained
    }

    /// Closes without writing what is queued, which moves into `spent`.
    pub fn abort(&mut self, spent: &mut Vec<C>) -> CloseDuty {
        if matches!(self.phase, Phase::Losing | Phase::Lost) {
            return CloseDuty::Ignored;
        }
        spent.append(&mut self.queue.take_all());
        self.flow_event = None;
        self.phase = Phase::Losing;
        CloseDuty::LoseSoon
    }

    /// The end is closed.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Lost;
        self.flow_event = None;
    }

    /// True from `write_eof` or `abort` on.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// True after [`PipeWriter::handle_lost`].
    pub fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
