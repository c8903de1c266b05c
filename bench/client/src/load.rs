//! The client: connections that each send a message, wait for its whole reply, check it, and send
//! again.
//!
//! Not here: what a reply must be (`reply.rs`), the histogram and the CPU clock. Thread: main. Invariant: one message per connection
//! is in flight; only replies that came whole and right are counted, and the server's CPU time
//! covers exactly the window they were counted in.
//!
//! | phase | ends when | then |
//! |---|---|---|
//! | warming | the warm-up time is over | the clocks are read, counting starts |
//! | measuring | the duration is over, or all requests are answered | the clocks are read, nothing new is sent |
//! | draining | no message is in flight | the report is printed |

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::arguments::Arguments;
use crate::connection::{Stream, trusting};
use crate::cpu_time::CpuTime;
use crate::latency::Histogram;
use crate::reply::Reply;

const READ_SIZE: usize = 256 * 1024;
const STALL: Duration = Duration::from_secs(15);

/// When a run ends.
#[derive(Clone, Copy)]
enum Length {
    Time { warm_up: Duration, duration: Duration },
    Requests(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Measuring,
    Draining,
}

struct Connection {
    stream: Stream,
    /// Bytes of the message that the socket has taken, and bytes of the reply that came.
    sent: usize,
    received: usize,
    started: Instant,
    in_flight: bool,
    wants_write: bool,
}

/// Both sides' clocks at one moment.
struct Reading {
    at: Instant,
    server: CpuTime,
    client: CpuTime,
}

struct Load {
    message: Vec<u8>,
    reply: Reply,
    /// How many requests the message is: more than one where they are pipelined.
    batch: u64,
    connections: Vec<Connection>,
    poller: OwnedFd,
    server: String,
    length: Length,
    phase: Phase,
    histogram: Histogram,
    /// Messages that may still be sent; only a run of counted requests runs out.
    left: u64,
    in_flight: usize,
}

/// Lets a thousand connections fit where the default limit is 1,024 descriptors.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Runs the load and prints one JSON object.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    raise_descriptor_limit()?;
    let length = if arguments.has("requests") {
        Length::Requests(arguments.number("requests", 1..=10_000_000)?)
    } else {
        Length::Time {
            warm_up: arguments.seconds("warm-up")?,
            duration: arguments.seconds("duration")?,
        }
    };
    let port = arguments.port()?;
    let (message, reply, batch) = if arguments.has("http") {
        let pipelined = arguments.number("http", 1..=1_000)?;
        let (request, reply) = Reply::of_http(port, pipelined)?;
        (request, reply, u64::try_from(pipelined).unwrap_or(1))
    } else {
        let message = message_of(arguments.number("size", 1..=16 << 20)?);
        let reply = Reply::Same(message.clone());
        (message, reply, 1)
    };
    let count = arguments.number("connections", 1..=10_000)?;
    let server = arguments.number("server-pid", 1..=i32::MAX)?.to_string();
    let tls = arguments.text("tls").map(trusting).transpose()?;
    let connect = || Stream::connect(port, tls.as_ref());
    let mut load = Load::connect(connect, count, (message, reply, batch), server, length)?;
    let report = load.drive()?;
    writeln!(io::stdout(), "{report}")
}

/// A message of `size` bytes without a newline but its last, and with a period that no power of two
/// divides.
fn message_of(size: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (b'!'..=b'~').cycle().take(size).collect();
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    message
}

impl Load {
    fn connect(
        connect: impl Fn() -> io::Result<Stream>,
        count: usize,
        (message, reply, batch): (Vec<u8>, Reply, u64),
        server: String,
        length: Length,
    ) -> io::Result<Self> {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let stream = connect()?;
            epoll::add(&poller, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            connections.push(Connection {
                stream,
                sent: 0,
                received: 0,
                started: Instant::now(),
                in_flight: false,
                wants_write: false,
            });
        }
        let (phase, left) = match length {
            Length::Time { .. } => (Phase::Warming, u64::MAX),
            Length::Requests(requests) => (Phase::Measuring, requests),
        };
        Ok(Self {
            message,
            reply,
            batch,
            connections,
            poller,
            server,
            length,
            phase,
            histogram: Histogram::new(),
            left,
            in_flight: 0,
        })
    }

    fn read_clocks(&self) -> io::Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            server: CpuTime::of(&self.server)?,
            client: CpuTime::of("self")?,
        })
    }

    fn drive(&mut self) -> io::Result<String> {
        let mut buffer = vec![0; READ_SIZE];
        let mut events = Vec::with_capacity(1024);
        let mut first = self.read_clocks()?;
        let mut last = None;
        for index in 0..self.connections.len() {
            self.begin(index)?;
        }
        let mut heard = Instant::now();
        while self.in_flight > 0 {
            let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let count = match epoll::wait(&self.poller, spare_capacity(&mut events), Some(&timeout))
            {
                Err(rustix::io::Errno::INTR) => 0,
                outcome => outcome?,
            };
            let now = Instant::now();
            if count > 0 {
                heard = now;
            } else if now - heard > STALL {
                return Err(io::Error::other(format!(
                    "stalled: {} replies never came",
                    self.in_flight
                )));
            }
            if let Length::Time { warm_up, duration } = self.length {
                let passed = now - first.at;
                if self.phase == Phase::Warming && passed >= warm_up {
                    first = self.read_clocks()?;
                    self.phase = Phase::Measuring;
                } else if self.phase == Phase::Measuring && passed >= duration {
                    last = Some(self.read_clocks()?);
                    self.phase = Phase::Draining;
                }
            }
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                self.step(index, &mut buffer)?;
            }
        }
        let last = match last {
            Some(reading) => reading,
            None => self.read_clocks()?,
        };
        Ok(self.report(&first, &last))
    }

    /// Starts the next message, or leaves the connection idle when the run is over.
    fn begin(&mut self, index: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        if self.phase == Phase::Draining || self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.in_flight += 1;
        connection.sent = 0;
        connection.received = 0;
        connection.in_flight = true;
        connection.started = Instant::now();
        connection.send(&self.message, &self.poller, index)
    }

    fn step(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        if connection.wants_write {
            connection.send(&self.message, &self.poller, index)?;
        }
        if !connection.receive(&self.reply, buffer)? {
            return Ok(());
        }
        connection.in_flight = false;
        self.in_flight -= 1;
        if self.phase == Phase::Measuring {
            let elapsed = connection.started.elapsed();
            self.histogram.record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        }
        self.begin(index)
    }

    fn report(&self, first: &Reading, last: &Reading) -> String {
        let seconds = (last.at - first.at).as_secs_f64();
        let server = last.server.since(first.server);
        let client = last.client.since(first.client);
        let requests = self.histogram.total() * self.batch;
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        format!(
            "{{\"requests\": {requests}, \"seconds\": {seconds:.6}, \"requests_per_second\": {:.1}, \
             \"server_cpu_ns\": {}, \"server_user_ticks\": {}, \"server_system_ticks\": {}, \"client_cpu_ns\": {}, \
             \"latency_us\": {{\"p50\": {:.1}, \"p99\": {:.1}, \"p999\": {:.1}, \"max\": {:.1}}}}}",
            requests as f64 / seconds.max(1e-9),
            server.total_ns,
            server.user_ticks,
            server.system_ticks,
            client.total_ns,
            microseconds(self.histogram.quantile(0.5)),
            microseconds(self.histogram.quantile(0.99)),
            microseconds(self.histogram.quantile(0.999)),
            microseconds(self.histogram.greatest()),
        )
    }
}

impl Connection {
    /// Writes what the socket takes; asks for writability only while something is left.
    fn send(&mut self, message: &[u8], poller: &OwnedFd, index: usize) -> io::Result<()> {
        while let Some(rest) = message.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.stream.flush()?;
        let unsent = self.sent < message.len() || self.stream.wants_write();
        if unsent != self.wants_write {
            let interest = if unsent { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(poller, &self.stream, EventData::new_u64(index as u64), interest)?;
            self.wants_write = unsent;
        }
        Ok(())
    }

    /// `true` when the reply is whole. TLS may hold more than the kernel tells of: it is read to the end.
    fn receive(&mut self, reply: &Reply, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let before = self.received;
            if self.receive_some(reply, buffer)? {
                return Ok(true);
            }
            if self.received == before || !self.stream.is_tls() {
                return Ok(false);
            }
        }
    }

    /// One read; `true` when the reply is whole.
    fn receive_some(&mut self, reply: &Reply, buffer: &mut [u8]) -> io::Result<bool> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::other("the server closed a connection")),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        if !self.in_flight || !reply.continues(self.received, piece) {
            return Err(io::Error::other("the reply is not what it must be"));
        }
        self.received += count;
        Ok(self.received == reply.len())
    }
}

#[cfg(test)]
mod tests {
    use super::message_of;

    #[test]
    fn a_message_is_one_line() {
        for size in [1, 2, 1024, 102_400] {
            let message = message_of(size);
            assert_eq!(message.len(), size);
            assert_eq!(message.iter().position(|byte| *byte == b'\n'), Some(size - 1));
        }
    }
}
