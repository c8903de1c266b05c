//! A caller in the small: carries out a stream's duties on a real socket.
//!
//! What lives here: one connection on one engine, driven turn by turn. What does not: assertions.
//! The test's thread runs it.

use std::io::IoSlice;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rulip_engine::sys::{clock, socket};
use rulip_engine::transport::stream::{AfterRead, CloseDuty, Drained, EofDuty, ReadDuty};
use rulip_engine::{Engine, Idle, Io, Stream};

/// One end of a connection, on an engine of its own.
pub(crate) struct Connection {
    engine: Engine<Io, ()>,
    fd: OwnedFd,
    pub(crate) stream: Stream<Vec<u8>>,
    pub(crate) received: Vec<u8>,
    /// How much one read asks for.
    pub(crate) read_size: usize,
    pub(crate) eof: bool,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        let engine = Engine::new().expect("an engine can be made");
        let fd = OwnedFd::from(socket);
        engine.register_edge(fd.as_fd(), ()).expect("a socket can be watched");
        let (stream, received) = (Stream::new(), vec![]);
        Self { engine, fd, stream, received, read_size: 4096, eof: false }
    }

    /// Turns until `done`, which must come without any further input of the caller.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.turn(Idle::MayBlock);
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self, idle: Idle) {
        let plan = self.engine.plan(idle);
        self.engine.wait(&plan).expect("a wait succeeds");
        self.engine.collect(clock::now());
        self.engine.begin_turn();
        while let Some(io) = self.engine.next_job() {
            let duties = self.stream.handle_readiness(io.readiness);
            if duties.read {
                self.read();
            }
            if duties.flush {
                self.flush();
            }
        }
        self.engine.end_turn();
    }

    pub(crate) fn read_duty(&mut self, duty: ReadDuty) {
        if duty == ReadDuty::ReadNow {
            self.read();
        }
    }

    pub(crate) fn eof_duty(&mut self, duty: EofDuty) {
        if duty == EofDuty::ShutdownNow {
            socket::shutdown_write(self.fd.as_fd()).expect("an open half can be shut down");
        }
    }

    pub(crate) fn close_duty(&mut self, duty: CloseDuty) {
        if duty == CloseDuty::LoseSoon {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.stream.handle_lost();
        socket::shutdown_both(self.fd.as_fd()).expect("a connected socket can be shut down");
    }

    fn read(&mut self) {
        let mut buf = vec![0; self.read_size];
        while self.stream.wants_read() {
            match socket::recv(self.fd.as_fd(), &mut buf) {
                Ok(0) => {
                    self.eof = true;
                    self.stream.handle_eof();
                }
                Ok(n) => {
                    self.received.extend(&buf[..n]);
                    if self.stream.handle_received(n, buf.len()) == AfterRead::Drained {
                        return;
                    }
                }
                Err(error) if socket::would_block(&error) => self.stream.handle_read_blocked(),
                Err(error) => panic!("recv: {error}"),
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        let mut spent = vec![];
        while self.stream.wants_flush() {
            let mut slots = [IoSlice::new(&[]); 64];
            let filled = self.stream.unsent().slices(&mut slots);
            let offered: usize = slots[..filled].iter().map(|slot| slot.len()).sum();
            match socket::send_vectored(self.fd.as_fd(), &slots[..filled]) {
                Ok(n) => {
                    self.stream.handle_sent(n, &mut spent);
                    if n < offered {
                        self.stream.handle_send_blocked();
                    }
                }
                Err(error) if socket::would_block(&error) => self.stream.handle_send_blocked(),
                Err(error) => panic!("send: {error}"),
            }
        }
        match self.stream.poll_drained() {
            Some(Drained::ShutdownWrite) => self.eof_duty(EofDuty::ShutdownNow),
            Some(Drained::Lose) => self.lose(),
            None => {}
        }
    }
}

/// A connection over loopback, and its other end as a plain blocking socket.
pub(crate) fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let peer = TcpStream::connect(address).expect("the listener listens");
    let (socket, _) = listener.accept().expect("the peer has connected");
    (Connection::new(socket), peer)
}
