//! Bytes in: from the socket to `data_received`, `buffer_updated` and `eof_received`.
//!
//! One read per connection and turn, as asyncio does, so that no peer starves the others. Small
//! reads go through one buffer that stays in the cache and become bytes objects of their size; after
//! a large one the kernel is asked how much waits, and the bytes object is filled in place.
//! Owner thread; nothing is borrowed while the protocol runs.

use std::io;

use rulip_engine::sys::socket;
use rulip_engine::transport::AfterRead;

use super::receiver::{self, Takes, deliver};
use super::stream::StreamTransport;
use crate::ffi::value::WritableBuffer;
use crate::ffi::{Obj, Raised, Ref, Res, bytes, value};
use crate::names;
use crate::streams::protocol::{Receiver, StreamProtocol};
use crate::streams::reader::Reader;

/// The most that one read takes: asyncio's own limit.
const READ_SIZE: usize = 256 * 1024;
/// The least room for what follows the beginning of a message.
const GATHERED: usize = 64 * 1024;
/// From this size on, the memory of a message is worth not copying.
const LARGE: usize = 16 * 1024;
/// How much a connection that ended badly may still have to say.
const SALVAGE_LIMIT: usize = 16 * 1024 * 1024;

/// What a read brought.
enum Received {
    Data(Obj),
    Eof,
    Nothing,
}

impl Ref<StreamTransport> {
    /// Reads once and tells the protocol.
    pub(super) fn read(&self) -> Res<()> {
        match self.takes.get() {
            Takes::Bytes => self.read_bytes(),
            Takes::IntoBuffer => self.read_into_protocol(),
            Takes::Encrypted => self.read_encrypted(),
            Takes::Stream => self.read_stream(),
        }
    }

    pub(crate) fn pause_reading(&self) {
        let _changed = self.stream.borrow_mut().pause_reading();
    }

    pub(crate) fn resume_reading(&self) {
        let duty = self.stream.borrow_mut().resume_reading();
        self.read_if(duty);
    }

    /// Into a native reader: no bytes object and no call in between. Without a reader what
    /// comes is read and forgotten.
    fn read_stream(&self) -> Res<()> {
        let (Some(loop_), Some(protocol)) = (self.loop_.get(), self.protocol.get()) else {
            return Ok(());
        };
        let receiver = Ref::<StreamProtocol>::downcast(&protocol).map(|stream| stream.receiver());
        let reader = match receiver {
            Some(Ok(Receiver::Reader(reader))) => Some(reader),
            Some(Ok(Receiver::Nobody)) => None,
            Some(Ok(Receiver::ByName)) | None => return self.read_bytes(),
            Some(Err(raised)) => return self.data_refused(raised),
        };
        if let Some(reader) = reader.as_ref().filter(|reader| reader.is_gathering()) {
            return self.read_in_place(reader);
        }
        if self.last_read.get() >= LARGE
            && let Some(reader) = &reader
        {
            return self.read_whole(reader);
        }
        let mut scratch = loop_.take_scratch(READ_SIZE);
        let outcome = socket::recv(self.lent()?, &mut scratch);
        self.note_received(&outcome, READ_SIZE);
        let fed = match (&outcome, reader) {
            (&Ok(n @ 1..), Some(reader)) => {
                let fed = reader.feed(&scratch[..n]);
                if n >= LARGE && reader.ready_len() == n {
                    self.last_read.set(n);
                }
                fed
            }
            _ => Ok(()),
        };
        loop_.scratch.set(scratch);
        self.after_feeding(outcome, fed)
    }

    /// After a large message that came whole the next one may: into memory that the program can have.
    fn read_whole(&self, reader: &Ref<Reader>) -> Res<()> {
        let (received, requested) = match self.recv_object() {
            Ok(received) => received,
            Err(raised) => return self.fatal("Fatal read error on socket transport", raised),
        };
        let (outcome, fed) = match received {
            Ok((data, n)) => {
                let fed = if n > 0 { reader.feed_bytes(&data) } else { Ok(false) };
                self.last_read.set(if matches!(fed, Ok(true)) { n } else { 0 });
                (Ok(n), fed.map(drop))
            }
            Err(error) => (Err(error), Ok(())),
        };
        self.note_received(&outcome, requested);
        self.after_feeding(outcome, fed)
    }

    /// Behind what the reader has gathered of a message that is not complete.
    fn read_in_place(&self, reader: &Ref<Reader>) -> Res<()> {
        let fd = self.lent()?;
        let gathered = reader.gather(GATHERED, |room| {
            let requested = room.len().min(READ_SIZE);
            (socket::recv(fd, &mut room[..requested]), requested)
        });
        let (outcome, requested) = match gathered {
            Ok(gathered) => gathered,
            Err(raised) => return self.fatal("Fatal read error on socket transport", raised),
        };
        self.note_received(&outcome, requested);
        let fed = match outcome {
            Ok(1..) => reader.received(),
            _ => Ok(()),
        };
        self.after_feeding(outcome, fed)
    }

    fn note_received(&self, outcome: &io::Result<usize>, requested: usize) {
        if let &Ok(n @ 1..) = outcome {
            self.count_received(n, requested);
        }
    }

    #[inline]
    fn count_received(&self, n: usize, requested: usize) {
        let _more: AfterRead = self.stream.borrow_mut().handle_received(n, requested);
        if let Some(loop_) = self.loop_.get() {
            loop_.engine.note_received(n);
        }
    }

    fn after_feeding(&self, outcome: io::Result<usize>, fed: Res<()>) -> Res<()> {
        match outcome {
            Ok(0) => self.tell_eof(),
            Ok(_) => {
                if let Err(raised) = fed {
                    return self.data_refused(raised);
                }
                self.read_on();
                Ok(())
            }
            Err(error) => match self.not_received(&error) {
                Ok(_) => Ok(()),
                Err(raised) => self.fatal("Fatal read error on socket transport", raised),
            },
        }
    }

    #[cold]
    fn data_refused(&self, raised: Raised) -> Res<()> {
        self.fatal("Fatal error: protocol.data_received() call failed.", raised)
    }

    fn read_bytes(&self) -> Res<()> {
        match self.receive() {
            Ok(Received::Data(data)) => {
                let told = self.call_protocol(|protocol| {
                    deliver(protocol, Takes::Bytes, receiver::Received::Object(data))
                });
                if let Err(raised) = told {
                    return self.data_refused(raised);
                }
                self.read_on();
                Ok(())
            }
            Ok(Received::Eof) => self.tell_eof(),
            Ok(Received::Nothing) => Ok(()),
            Err(raised) => self.fatal("Fatal read error on socket transport", raised),
        }
    }

    /// What the kernel still holds is served in the next turn.
    #[inline]
    fn read_on(&self) {
        if self.stream.borrow().wants_read() {
            self.read_next_turn();
        }
    }

    #[inline]
    fn receive(&self) -> Res<Received> {
        if self.last_read.get() >= LARGE {
            return self.receive_large();
        }
        let Some(loop_) = self.loop_.get() else { return Ok(Received::Nothing) };
        let mut scratch = loop_.take_scratch(READ_SIZE);
        let outcome = socket::recv(self.lent()?, &mut scratch);
        let result = match outcome {
            Ok(0) => Ok(Received::Eof),
            Ok(n) => {
                self.last_read.set(n);
                self.count_received(n, READ_SIZE);
                loop_.received.make(&scratch[..n]).map(Received::Data)
            }
            Err(error) => self.not_received(&error),
        };
        loop_.scratch.set(scratch);
        result
    }

    /// Into a bytes object of the size that waits; and how much was asked for.
    fn recv_object(&self) -> Res<(io::Result<(Obj, usize)>, usize)> {
        let fd = self.lent()?;
        let waiting = socket::available(fd).unwrap_or(READ_SIZE).clamp(1, READ_SIZE - 1);
        // One byte more than waits: a read that does not fill it has emptied the kernel.
        let requested = waiting + 1;
        Ok((bytes::filled(requested, |buffer| socket::recv(fd, buffer))?, requested))
    }

    fn receive_large(&self) -> Res<Received> {
        let (received, requested) = self.recv_object()?;
        match received {
            Ok((_, 0)) => Ok(Received::Eof),
            Ok((data, n)) => {
                self.last_read.set(n);
                self.count_received(n, requested);
                Ok(Received::Data(data))
            }
            Err(error) => self.not_received(&error),
        }
    }

    /// For TLS: straight from the memory that the kernel wrote to.
    fn read_encrypted(&self) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let mut scratch = loop_.take_scratch(READ_SIZE);
        let outcome = socket::recv(self.lent()?, &mut scratch);
        let told = match outcome {
            Ok(0) => {
                loop_.scratch.set(scratch);
                return self.tell_eof();
            }
            Ok(n) => {
                self.count_received(n, READ_SIZE);
                let received = receiver::Received::Slice(&scratch[..n]);
                self.call_protocol(|protocol| deliver(protocol, Takes::Encrypted, received))
            }
            Err(error) => {
                loop_.scratch.set(scratch);
                return match self.not_received(&error) {
                    Ok(_) => Ok(()),
                    Err(raised) => self.fatal("Fatal read error on socket transport", raised),
                };
            }
        };
        loop_.scratch.set(scratch);
        if let Err(raised) = told {
            return self.fatal("Fatal error: protocol.buffer_updated() call failed.", raised);
        }
        self.read_on();
        Ok(())
    }

    fn not_received(&self, error: &io::Error) -> Res<Received> {
        if socket::would_block(error) {
            self.stream.borrow_mut().handle_read_blocked();
            return Ok(Received::Nothing);
        }
        Err(crate::error::raise_io(error))
    }

    fn offered_buffer(&self) -> Res<WritableBuffer> {
        let sizehint = value::int(-1)?;
        let buffer =
            self.call_protocol(|protocol| protocol.method1(&names::get().get_buffer, &sizehint))?;
        if value::len(&buffer)? == 0 {
            return Err(Raised::runtime_error("get_buffer() returned an empty buffer"));
        }
        WritableBuffer::new(&buffer)
    }

    /// Into the buffer that a `BufferedProtocol` offers.
    fn read_into_protocol(&self) -> Res<()> {
        let mut view = match self.offered_buffer() {
            Ok(view) => view,
            Err(raised) => {
                return self.fatal("Fatal error: protocol.get_buffer() call failed.", raised);
            }
        };
        if self.fd.get() < 0 {
            return Ok(());
        }
        let requested = view.len();
        let outcome = socket::recv(self.lent()?, view.as_mut());
        drop(view);
        match outcome {
            Ok(0) => self.tell_eof(),
            Ok(n) => {
                self.count_received(n, requested);
                let count = value::int(i64::try_from(n).unwrap_or(i64::MAX))?;
                let told = self.call_protocol(|protocol| {
                    protocol.method1(&names::get().buffer_updated, &count)
                });
                if let Err(raised) = told {
                    return self
                        .fatal("Fatal error: protocol.buffer_updated() call failed.", raised);
                }
                self.read_on();
                Ok(())
            }
            Err(error) => match self.not_received(&error) {
                Ok(_) => Ok(()),
                Err(raised) => self.fatal("Fatal read error on socket transport", raised),
            },
        }
    }

    fn tell_eof(&self) -> Res<()> {
        self.stream.borrow_mut().handle_eof();
        let answer = self.call_protocol(|protocol| protocol.method0(&names::get().eof_received));
        match answer.and_then(|answer| answer.is_true()) {
            Ok(true) => Ok(()),
            Ok(false) => self.close(),
            Err(raised) => self.fatal("Fatal error: protocol.eof_received() call failed.", raised),
        }
    }

    /// A write failed, the connection is over: hand over what the peer had sent before.
    pub(super) fn salvage_received(&self) -> Res<()> {
        let mut total = 0;
        while total < SALVAGE_LIMIT && self.fd.get() >= 0 {
            let told = match self.takes.get() {
                Takes::IntoBuffer => self.salvage_buffer(),
                takes => self.salvage_chunk(takes),
            };
            match told {
                Ok(0) => break,
                Ok(n) => total += n,
                Err(raised) => {
                    return self.report("Fatal error: the protocol failed to take data", raised);
                }
            }
        }
        Ok(())
    }

    fn salvage_chunk(&self, takes: Takes) -> Res<usize> {
        let mut chunk = vec![0; READ_SIZE];
        let n = socket::recv(self.lent()?, &mut chunk).unwrap_or(0);
        if n > 0 {
            let received = receiver::Received::Slice(&chunk[..n]);
            self.call_protocol(|protocol| deliver(protocol, takes, received))?;
        }
        Ok(n)
    }

    fn salvage_buffer(&self) -> Res<usize> {
        let mut view = self.offered_buffer()?;
        let n = socket::recv(self.lent()?, view.as_mut()).unwrap_or(0);
        drop(view);
        if n > 0 {
            let count = value::int(i64::try_from(n).unwrap_or(i64::MAX))?;
            self.call_protocol(|protocol| protocol.method1(&names::get().buffer_updated, &count))?;
        }
        Ok(n)
    }
}
