//! Datagrams: UDP, Unix, and whatever else keeps the borders of messages.
//!
//! What lives here: what may be received and sent next, over a level-triggered registration. What
//! does not: the descriptor, the system calls and the protocol, which are the caller's. The owner
//! thread runs it.
//!
//! | phase | receives | sends | leaves by |
//! |---|---|---|---|
//! | `Open` | unless paused, once started | yes | `close` -> `Closing` or `Losing`; `abort` -> `Losing` |
//! | `Closing` | no | what is queued, and what comes meanwhile | the last datagram, `abort` -> `Losing` |
//! | `Losing` | no | at once or never | `handle_lost` -> `Lost` |
//! | `Lost` | no | no | - |
//!
//! A datagram is sent at once while nothing is queued. The first one that the kernel refuses is
//! queued, and all that follow queue behind it: order is kept. A wake-up may bring several
//! datagrams; [`Datagram::handle_received`] says whether to ask for another one, so that a burst
//! costs one wait and a single message costs one receive.
//!
//! Invariants: a datagram is never split, joined or dropped here; the buffer's size is the sum of
//! what is queued, headers included.

use std::collections::VecDeque;

use super::flow::{Flow, FlowEvent, LimitsError};
use super::stream::CloseDuty;
use crate::readiness::Interest;

/// As many datagrams as one wake-up may bring, so that nobody else waits for long.
const BUDGET: u32 = 32;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Losing,
    Lost,
}

/// Whether to ask the kernel for another datagram within this wake-up.
#[must_use]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ReceiveDuty {
    /// Yes: there is likely one.
    Again,
    /// No: a level-triggered registration tells again.
    Stop,
}

/// The state of one datagram socket; `C` is a message, `A` where it goes.
#[derive(Debug)]
pub struct Datagram<C, A> {
    phase: Phase,
    started: bool,
    paused: bool,
    queue: VecDeque<(C, A)>,
    /// Bytes queued, and a header for each message.
    buffered: usize,
    /// What the size of the buffer counts for a message besides its bytes.
    header: usize,
    flow: Flow,
    flow_event: Option<FlowEvent>,
    /// Datagrams of this wake-up.
    received: u32,
    /// The last wake-up brought more than one.
    bursting: bool,
    ignored: u32,
}

impl<C: AsRef<[u8]>, A> Datagram<C, A> {
    /// An open socket that does not receive yet.
    pub fn new(header: usize) -> Self {
        Self {
            phase: Phase::Open,
            started: false,
            paused: false,
            queue: VecDeque::new(),
            buffered: 0,
            header,
            flow: Flow::new(),
            flow_event: None,
            received: 0,
            bursting: false,
            ignored: 0,
        }
    }

    /// What the registration is to wait for.
    pub fn interest(&self) -> Interest {
        let mut interest = Interest::NONE;
        if self.wants_receive() {
            interest |= Interest::READABLE;
        }
        if !self.queue.is_empty() {
            interest |= Interest::WRITABLE;
        }
        interest
    }

    // ---- receiving

    /// Begins to receive, unless paused before.
    pub fn start_reading(&mut self) {
        self.started = true;
    }

    /// Stops receiving. False: nothing changed.
    pub fn pause_reading(&mut self) -> bool {
        let changed = self.is_reading();
        self.paused |= changed;
        changed
    }

    /// Receives again. False: nothing changed.
    pub fn resume_reading(&mut self) -> bool {
        let changed = self.paused && !self.is_closing();
        self.paused &= !changed;
        changed
    }

    /// True unless paused or closing.
    #[inline]
    pub fn is_reading(&self) -> bool {
        !self.paused && !self.is_closing()
    }

    /// True if a receive is allowed.
    #[inline]
    pub fn wants_receive(&self) -> bool {
        self.started && self.is_reading()
    }

    /// The kernel reported that something can be received: a wake-up begins.
    #[inline]
    pub fn handle_readable(&mut self) {
        self.received = 0;
    }

    /// A datagram, or a pending error, was received.
    #[inline]
    pub fn handle_received(&mut self) -> ReceiveDuty {
        self.received += 1;
        if self.received >= 2 {
            self.bursting = true;
        }
        if self.bursting && self.received < BUDGET { ReceiveDuty::Again } else { ReceiveDuty::Stop }
    }

    /// There was nothing (more) to receive. Whoever is woken again at once finds a burst.
    #[inline]
    pub fn handle_receive_blocked(&mut self) {
        self.bursting = self.received > 1;
    }

    /// The kernel said readable in the very turn after a wake-up.
    #[inline]
    pub fn expect_burst(&mut self) {
        self.bursting = true;
    }

    // ---- sending

    /// True if a datagram may go to the kernel at once.
    #[inline]
    pub fn may_send_now(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a datagram that the kernel refused, or that comes behind such a one.
    pub fn queue(&mut self, message: C, to: A) {
        self.buffered += message.as_ref().len() + self.header;
        self.queue.push_back((message, to));
        self.note(true);
    }

    /// The datagram to send next, and where it goes.
    #[inline]
    pub fn first(&self) -> Option<(&C, &A)> {
        self.queue.front().map(|(message, to)| (message, to))
    }

    /// Where each queued datagram goes, first to last.
    pub fn destinations(&self) -> impl Iterator<Item = &A> {
        self.queue.iter().map(|(_, to)| to)
    }

    /// The first datagram was sent, or failed for good: it comes back, for the caller to drop.
    pub fn handle_sent(&mut self) -> Option<(C, A)> {
        let sent = self.queue.pop_front();
        if let Some((message, _)) = &sent {
            self.buffered -= message.as_ref().len() + self.header;
        }
        self.note(false);
        sent
    }

    fn note(&mut self, grown: bool) {
        let event = if grown {
            self.flow.handle_growth(self.buffered)
        } else {
            self.flow.handle_drain(self.buffered)
        };
        match event {
            // A pause that nobody has seen and a resume cancel out.
            Some(_) if self.flow_event.is_some() => self.flow_event = None,
            Some(event) => self.flow_event = Some(event),
            None => {}
        }
    }

    /// What the sender must be told since the last poll.
    #[inline]
    pub fn poll_flow(&mut self) -> Option<FlowEvent> {
        self.flow_event.take()
    }

    /// Sets the water marks; [`Datagram::poll_flow`] follows.
    pub fn set_limits(&mut self, high: Option<i64>, low: Option<i64>) -> Result<(), LimitsError> {
        self.flow.set_limits(high, low)?;
        self.note(true);
        Ok(())
    }

    /// The low and the high mark.
    pub fn limits(&self) -> (usize, usize) {
        self.flow.limits()
    }

    /// Bytes queued, headers included.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Counts a datagram that came too late; how many came before it.
    pub fn handle_ignored(&mut self) -> u32 {
        let before = self.ignored;
        self.ignored = before.saturating_add(1);
        before
    }

    // ---- the end

    /// Stops receiving, sends what is queued, then loses the socket.
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

    /// True once, when the queue of a closing socket has become empty: lose it.
    pub fn poll_drained(&mut self) -> bool {
        let drained = self.phase == Phase::Closing && self.queue.is_empty();
        if drained {
            self.phase = Phase::Losing;
        }
        drained
    }

    /// Loses the socket without sending what is queued, which moves into `spent`.
    pub fn abort(&mut self, spent: &mut Vec<(C, A)>) -> CloseDuty {
        if self.is_losing() {
            return CloseDuty::Ignored;
        }
        spent.extend(self.queue.drain(..));
        self.buffered = 0;
        self.flow_event = None;
        self.phase = Phase::Losing;
        CloseDuty::LoseSoon
    }

    /// The socket is gone.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Lost;
        self.flow_event = None;
    }

    /// True from `close` or `abort` on.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// True once the loss is under way: nothing is queued any more.
    #[inline]
    pub fn is_losing(&self) -> bool {
        matches!(self.phase, Phase::Losing | Phase::Lost)
    }

    /// True after [`Datagram::handle_lost`].
    pub fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
