//! Bytes out: from `write` to the socket.
//!
//! A turn's writes are gathered and leave in one vectored send at its end; past 64 KiB or the high
//! water mark they leave at once, and so they do when no turn is running. Bytes that wait for the end
//! of the turn count as sent: asking for the buffer's size, aborting or ending the half sends them first.
//! Owner thread; nothing is borrowed while the protocol runs.

use std::io::{self, IoSlice};

use rulip_engine::sys::socket;
use rulip_engine::transport::{Drained, EofDuty, FlowEvent, WriteDuty};

use super::chunk::Chunk;
use super::stream::StreamTransport;
use crate::ffi::bytes::{self, Bytes};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::{failpoints, imports, names};

/// Chunks per send: Linux takes 1024, past a few dozen it makes no difference.
const SLICES: usize = 64;
/// After this many writes on a lost connection, say so.
const IGNORED_WRITES_BEFORE_WARNING: u32 = 5;

impl Ref<StreamTransport> {
    /// `write(data)`.
    #[inline]
    pub(crate) fn write(&self, data: &Obj) -> Res<()> {
        let chunk = if bytes::is_exact(data) {
            Bytes::new(data.clone()).map_err(|_| Raised::type_error("bytes expected"))?
        } else if value::is_bytes_like(data) {
            value::with_buffer(data, Bytes::copy_of)??
        } else {
            return Err(not_bytes_like(data));
        };
        self.check_may_write("write")?;
        let len = chunk.as_ref().len();
        let duty = self.stream.borrow_mut().write(chunk.into());
        self.after_write(duty, len)
    }

    /// A chunk of TLS records: what could forbid a write was asked above.
    pub(crate) fn write_chunk(&self, chunk: Chunk) -> Res<()> {
        let len = chunk.as_ref().len();
        let duty = self.stream.borrow_mut().write(chunk);
        self.after_write(duty, len)
    }

    /// `writelines(chunks)`: one send for all of them.
    pub(crate) fn write_lines(&self, chunks: Vec<Obj>) -> Res<()> {
        let mut owned = Vec::with_capacity(chunks.len());
        for data in chunks {
            owned.push(match Bytes::new(data) {
                Ok(chunk) => chunk,
                Err(other) => snapshot(&other)?,
            });
        }
        self.check_may_write("writelines")?;
        for chunk in owned {
            let len = chunk.as_ref().len();
            let duty = self.stream.borrow_mut().write(chunk.into());
            self.after_write(duty, len)?;
        }
        Ok(())
    }

    #[inline]
    fn check_may_write(&self, method: &str) -> Res<()> {
        if self.empty_waiter.is_set() {
            return Err(Raised::runtime_error(&format!(
                "unable to {method}; sendfile is in progress"
            )));
        }
        let stream = self.stream.borrow();
        if stream.is_eof_queued() {
            drop(stream);
            return Err(Raised::runtime_error(&format!(
                "Cannot call {method}() after write_eof()"
            )));
        }
        Ok(())
    }

    #[inline]
    fn after_write(&self, duty: WriteDuty<Chunk>, len: usize) -> Res<()> {
        match duty {
            WriteDuty::Deferred => self.flush_at_end_of_turn(len),
            WriteDuty::FlushNow => self.flush(),
            WriteDuty::Blocked => self.tell_flow(),
            WriteDuty::Ignored(chunk) => {
                let refused = !chunk.as_ref().is_empty();
                drop(chunk);
                if refused { self.warn_ignored() } else { Ok(()) }
            }
        }
    }

    fn warn_ignored(&self) -> Res<()> {
        if self.stream.borrow().ignored_writes() >= IGNORED_WRITES_BEFORE_WARNING {
            let warning = imports::get().logger.attr(&names::get().warning)?;
            warning.call1(&value::str("socket.send() raised exception.")?)?;
        }
        Ok(())
    }

    /// Whether the end of a running turn will flush this transport.
    pub(super) fn will_be_flushed(&self) -> bool {
        self.unflushed.get() && self.loop_.get().is_some_and(|loop_| loop_.in_turn())
    }

    fn flush_at_end_of_turn(&self, len: usize) -> Res<()> {
        match self.loop_.get() {
            Some(loop_) if loop_.in_turn() => {
                loop_.unflushed_bytes.set(loop_.unflushed_bytes.get() + len);
                if !self.unflushed.replace(true) {
                    loop_.unflushed.borrow_mut().push(self.clone());
                }
                Ok(())
            }
            _ => self.flush(),
        }
    }

    /// Sends what is queued, until the kernel refuses.
    pub(crate) fn flush(&self) -> Res<()> {
        failpoints::reached(failpoints::FLUSH);
        let loop_ = self.loop_.get();
        let mut spent = loop_.as_ref().map(|loop_| loop_.spent.take()).unwrap_or_default();
        let outcome = self.send_queued(&mut spent);
        spent.clear();
        if let Some(loop_) = loop_ {
            loop_.spent.set(spent);
        }
        if let Err(error) = outcome {
            return self.write_failed(&error);
        }
        self.tell_flow()?;
        let drained = self.stream.borrow_mut().poll_drained();
        match drained {
            Some(Drained::ShutdownWrite) => self.shutdown_write()?,
            Some(Drained::Lose) => self.lose_soon(None)?,
            None => {}
        }
        if self.empty_waiter.is_set() && self.stream.borrow().buffered() == 0 {
            self.tell_empty()?;
        }
        Ok(())
    }

    fn send_queued(&self, spent: &mut Vec<Chunk>) -> io::Result<()> {
        while self.stream.borrow().wants_flush() {
            let Ok(fd) = self.lent() else {
                return Err(io::Error::from(io::ErrorKind::NotConnected));
            };
            let (outcome, offered) = {
                let stream = self.stream.borrow();
                let queue = stream.unsent();
                if queue.chunks() == 1 {
                    (socket::send(fd, queue.first()), queue.len_bytes())
                } else {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let count = queue.slices(&mut slices);
                    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
                    (socket::send_vectored(fd, &slices[..count]), offered)
                }
            };
            let mut stream = self.stream.borrow_mut();
            match outcome {
                Ok(n) => {
                    stream.handle_sent(n, spent);
                    if n < offered.min(socket::MOST_PER_CALL) {
                        stream.handle_send_blocked();
                    }
                }
                Err(error) if socket::would_block(&error) => stream.handle_send_blocked(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The connection is gone. What the peer sent before is still ours to hand over.
    #[cold]
    fn write_failed(&self, error: &io::Error) -> Res<()> {
        let reading = {
            let stream = self.stream.borrow();
            stream.is_reading() && !stream.is_read_eof()
        };
        self.salvage.set(reading && self.token.get().is_some());
        let exc = crate::error::os_error(error)?;
        self.fatal_exception("Fatal write error on socket transport", exc)
    }

    /// Tells the protocol to pause or to resume writing, if a water mark was crossed.
    #[inline]
    pub(crate) fn tell_flow(&self) -> Res<()> {
        let event = self.stream.borrow_mut().poll_flow();
        let Some(event) = event else { return Ok(()) };
        let names = names::get();
        self.writing_paused.set(event == FlowEvent::PauseWriting);
        let (name, failed) = match event {
            FlowEvent::PauseWriting => (&names.pause_writing, "protocol.pause_writing() failed"),
            FlowEvent::ResumeWriting => (&names.resume_writing, "protocol.resume_writing() failed"),
        };
        match self.call_protocol(|protocol| protocol.method0(name)) {
            Ok(_) => Ok(()),
            Err(raised) => self.report(failed, raised),
        }
    }

    /// `write_eof()`.
    pub(crate) fn write_eof(&self) -> Res<()> {
        if self.stream.borrow().wants_flush() {
            self.flush()?;
        }
        let duty = self.stream.borrow_mut().write_eof();
        match duty {
            EofDuty::ShutdownNow => self.shutdown_write(),
            EofDuty::AfterFlush | EofDuty::Ignored => Ok(()),
        }
    }

    fn shutdown_write(&self) -> Res<()> {
        match socket::shutdown_write(self.lent()?) {
            Ok(()) => Ok(()),
            // Gone already: the next read or write says so.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(crate::error::raise_io(&error)),
        }
    }

    /// `get_write_buffer_size()`: bytes that the kernel has refused.
    pub(crate) fn buffered(&self) -> Res<usize> {
        if self.stream.borrow().wants_flush() {
            self.flush()?;
        }
        Ok(self.stream.borrow().buffered())
    }

    /// `abort()`: what counts as sent is sent, the rest is dropped.
    pub(crate) fn abort(&self) -> Res<()> {
        if self.stream.borrow().wants_flush() {
            self.flush()?;
        }
        self.force_close(None)
    }

    fn tell_empty(&self) -> Res<()> {
        if let Some(waiter) = self.empty_waiter.get()
            && !waiter.method0(&names::get().done)?.is_true()?
        {
            waiter.method1(&names::get().set_result, &Obj::none())?;
        }
        Ok(())
    }
}

/// A copy of memory that may change after the call: of anything that has a buffer.
fn snapshot(data: &Obj) -> Res<Bytes> {
    match value::with_buffer(data, Bytes::copy_of) {
        Ok(copy) => copy,
        Err(raised) if value::is_bytes_like(data) => Err(raised),
        Err(raised) => {
            raised.clear();
            Err(not_bytes_like(data))
        }
    }
}

#[cold]
fn not_bytes_like(data: &Obj) -> Raised {
    let kind = data.type_name();
    Raised::type_error(&format!("data argument must be a bytes-like object, not '{kind}'"))
}
