//! A stream driven over a simulated kernel that announces each edge once, as epoll does.
//!
//! The driver carries out every duty and knows nothing else. The naive model is two lists of
//! bytes: whatever the peer sent must arrive while we read, and whatever was accepted must leave.

use proptest::prelude::*;

use super::*;

const READ_SIZE: usize = 8;

/// One end of a socket whose other end the test plays.
#[derive(Default)]
struct Kernel {
    inbound: Vec<u8>,
    peer_ended: bool,
    outbound: Vec<u8>,
    capacity: usize,
    /// A send was refused or cut short: room will make an edge.
    wants_room: bool,
    edge: Readiness,
    ended: bool,
}

impl Kernel {
    fn peer_sends(&mut self, bytes: &[u8]) {
        if !self.peer_ended {
            self.inbound.extend(bytes);
            self.edge |= Readiness::READABLE;
        }
    }

    fn peer_ends(&mut self) {
        if !self.peer_ended {
            self.peer_ended = true;
            self.edge |= Readiness::READABLE | Readiness::HANGUP;
        }
    }

    fn peer_makes_room(&mut self, n: usize) {
        self.capacity += n;
        if n > 0 && std::mem::take(&mut self.wants_room) {
            self.edge |= Readiness::WRITABLE;
        }
    }

    /// `None`: would block.
    fn recv(&mut self) -> Option<Vec<u8>> {
        if self.inbound.is_empty() {
            return self.peer_ended.then(Vec::new);
        }
        let n = self.inbound.len().min(READ_SIZE);
        Some(self.inbound.drain(..n).collect())
    }

    /// `None`: would block.
    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        let n = bytes.len().min(self.capacity);
        self.capacity -= n;
        self.outbound.extend(&bytes[..n]);
        self.wants_room |= n < bytes.len();
        (n > 0).then_some(n)
    }
}

struct Driver {
    stream: Stream<Vec<u8>>,
    kernel: Kernel,
    received: Vec<u8>,
    eofs: usize,
    flow: Vec<FlowEvent>,
    losses: usize,
    spent: Vec<Vec<u8>>,
}

impl Driver {
    fn read(&mut self) {
        while self.stream.wants_read() {
            match self.kernel.recv() {
                None => self.stream.handle_read_blocked(),
                Some(bytes) if bytes.is_empty() => {
                    self.eofs += 1;
                    self.stream.handle_eof();
                }
                Some(bytes) => {
                    let after = self.stream.handle_received(bytes.len(), READ_SIZE);
                    self.received.extend(bytes);
                    if after == AfterRead::Drained {
                        return;
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        while self.stream.wants_flush() {
            let first = self.stream.unsent().first().to_vec();
            match self.kernel.send(&first) {
                None => self.stream.handle_send_blocked(),
                Some(n) => {
                    self.stream.handle_sent(n, &mut self.spent);
                    if n < first.len() {
                        self.stream.handle_send_blocked();
                    }
                }
            }
        }
        self.poll();
    }

    fn poll(&mut self) {
        self.flow.extend(self.stream.poll_flow());
        match self.stream.poll_drained() {
            Some(Drained::ShutdownWrite) => self.kernel.ended = true,
            Some(Drained::Lose) => self.lose(),
            None => {}
        }
    }

    fn lose(&mut self) {
        self.losses += 1;
        self.stream.handle_lost();
    }

    fn close_duty(&mut self, duty: CloseDuty) {
        if duty == CloseDuty::LoseSoon {
            self.lose();
        }
    }

    fn deliver_edge(&mut self) {
        let edge = std::mem::take(&mut self.kernel.edge);
        if edge.is_none() {
            return;
        }
        let duties = self.stream.handle_readiness(edge);
        if duties.read {
            self.read();
        }
        if duties.flush {
            self.flush();
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    PeerSends(usize),
    PeerEnds,
    PeerMakesRoom(usize),
    Edge,
    Start,
    Pause,
    Resume,
    Write(usize),
    SetLimits(usize),
    WriteEof,
    Close,
    Abort,
    EndTurn,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..20usize).prop_map(Op::PeerSends),
        1 => Just(Op::PeerEnds),
        5 => (0..20usize).prop_map(Op::PeerMakesRoom),
        8 => Just(Op::Edge),
        2 => Just(Op::Start),
        3 => Just(Op::Pause),
        3 => Just(Op::Resume),
        8 => (0..20usize).prop_map(Op::Write),
        1 => (0..40usize).prop_map(Op::SetLimits),
        1 => Just(Op::WriteEof),
        1 => Just(Op::Close),
        1 => Just(Op::Abort),
        5 => Just(Op::EndTurn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_is_lost_stuck_or_told_twice(ops in proptest::collection::vec(op(), 0..80)) {
        let mut driver = Driver {
            stream: Stream::new(),
            kernel: Kernel::default(),
            received: vec![],
            eofs: 0,
            flow: vec![],
            losses: 0,
            spent: vec![],
        };
        let (mut sent_by_peer, mut accepted) = (vec![], vec![]);
        let (mut pushed, mut started, mut paused, mut aborted) = (vec![], false, false, false);
        let mut next_byte = 0u8;
        let mut bytes = |n: usize| -> Vec<u8> {
            (0..n).map(|_| { next_byte = next_byte.wrapping_add(1); next_byte }).collect()
        };
        for op in ops {
            match op {
                Op::PeerSends(n) => {
                    let bytes = bytes(n);
                    if !driver.kernel.peer_ended {
                        sent_by_peer.extend(&bytes);
                    }
                    driver.kernel.peer_sends(&bytes);
                }
                Op::PeerEnds => driver.kernel.peer_ends(),
                Op::PeerMakesRoom(n) => driver.kernel.peer_makes_room(n),
                Op::Edge => driver.deliver_edge(),
                Op::Start => {
                    started = true;
                    if driver.stream.start_reading() == ReadDuty::ReadNow {
                        driver.read();
                    }
                }
                Op::Pause => {
                    let was_reading = driver.stream.is_reading();
                    prop_assert_eq!(driver.stream.pause_reading(), was_reading);
                    paused |= was_reading;
                }
                Op::Resume => {
                    if !driver.stream.is_closing() {
                        paused = false;
                    }
                    if driver.stream.resume_reading() == ReadDuty::ReadNow {
                        driver.read();
                    }
                }
                Op::Write(n) => {
                    let chunk = bytes(n);
                    match driver.stream.write(chunk.clone()) {
                        WriteDuty::Ignored(back) => prop_assert_eq!(back, chunk),
                        duty => {
                            accepted.extend(&chunk);
                            pushed.push(chunk);
                            if duty == WriteDuty::FlushNow {
                                driver.flush();
                            }
                        }
                    }
                }
                Op::SetLimits(high) => {
                    prop_assert!(driver.stream.set_limits(Some(high as i64), None).is_ok());
                }
                Op::WriteEof => {
                    if driver.stream.write_eof() == EofDuty::ShutdownNow {
                        driver.kernel.ended = true;
                    }
                }
                Op::Close => {
                    let duty = driver.stream.close();
                    driver.close_duty(duty);
                }
                Op::Abort => {
                    let duty = driver.stream.abort(&mut driver.spent);
                    aborted |= duty == CloseDuty::LoseSoon;
                    driver.close_duty(duty);
                }
                Op::EndTurn => driver.flush(),
            }
            driver.poll();

            // What was told so far is right at every step.
            prop_assert!(sent_by_peer.starts_with(&driver.received));
            prop_assert!(accepted.starts_with(&driver.kernel.outbound));
            for (index, event) in driver.flow.iter().enumerate() {
                let expected =
                    [FlowEvent::PauseWriting, FlowEvent::ResumeWriting][index % 2];
                prop_assert_eq!(*event, expected);
            }
            prop_assert!(driver.losses <= 1 && driver.eofs <= 1);
            prop_assert_eq!(driver.stream.is_reading(), !paused && !driver.stream.is_closing());
        }

        // Let everything happen that can happen without asking for more.
        let was_closing = driver.stream.is_closing();
        driver.flush();
        driver.deliver_edge();
        if started && !paused && !was_closing {
            prop_assert_eq!(&driver.received, &sent_by_peer, "an edge was lost");
            prop_assert_eq!(driver.eofs, usize::from(driver.kernel.peer_ended));
        }
        driver.kernel.peer_makes_room(10_000);
        driver.deliver_edge();
        if !aborted {
            prop_assert_eq!(&driver.kernel.outbound, &accepted, "queued bytes were stuck");
            // Closing takes the place of an end of file that was not said yet.
            let eof = driver.stream.is_eof_queued();
            let right = eof == driver.kernel.ended || (was_closing && eof);
            prop_assert!(right, "our end was said too often or not at all");
            prop_assert_eq!(driver.flow.len() % 2, 0, "a paused writer was left so");
        }
        prop_assert_eq!(driver.losses, usize::from(driver.stream.is_closing()));
        driver.spent.extend(driver.stream.take_unsent());
        prop_assert_eq!(driver.spent, pushed, "every chunk comes out once");
    }
}
