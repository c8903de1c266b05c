//! Data out: from the program's writes to the lower transport, and the flow control of writing.
//!
//! What is written is encrypted at once, in order; the lower transport gathers a turn's records into one
//! send. Only what cannot be encrypted yet waits as plaintext. Owner thread.
//!
//! Invariants: the program is told to pause when what waits reaches the high mark, to resume at the low one, in
//! turns; what is in the backlog is exact bytes.

use super::protocol::{Marks, State, TlsProtocol};
use super::session::Written;
use crate::ffi::context::Entered;
use crate::ffi::{Obj, Raised, Ref, Res, bytes, value};
use crate::loop_state::LoopState;
use crate::{imports, names};

/// After this many writes on a lost connection, say so.
const IGNORED_WRITES_BEFORE_WARNING: u32 = 5;

impl Ref<TlsProtocol> {
    /// `write(data)`.
    #[inline]
    pub(super) fn write(&self, data: &Obj) -> Res<()> {
        if !bytes::is_exact(data) && !value::is_bytes_like(data) {
            return Err(Raised::type_error(&format!(
                "data: expecting a bytes-like instance, got {}",
                data.type_name()
            )));
        }
        if value::len(data)? == 0 {
            return Ok(());
        }
        if !self.accepts_writes()? {
            return Ok(());
        }
        let result = self.write_now(data).and_then(|()| self.flush_if_wrapped());
        self.fail_if_raised(result)
    }

    /// `writelines(chunks)`.
    pub(super) fn write_lines(&self, chunks: &[Obj]) -> Res<()> {
        if let Some(other) = chunks.iter().find(|chunk| !value::is_bytes_like(chunk)) {
            return Err(Raised::type_error(&format!(
                "data: expecting a bytes-like instance, got {}",
                other.type_name()
            )));
        }
        if !self.accepts_writes()? {
            return Ok(());
        }
        let result = (|| {
            for chunk in chunks {
                if value::len(chunk)? > 0 {
                    self.write_now(chunk)?;
                }
            }
            self.flush_if_wrapped()
        })();
        self.fail_if_raised(result)
    }

    fn accepts_writes(&self) -> Res<bool> {
        if matches!(self.state.get(), State::Wrapped | State::Handshake) {
            return Ok(true);
        }
        let ignored = self.ignored_writes.get();
        self.ignored_writes.set(ignored.saturating_add(1));
        if ignored >= IGNORED_WRITES_BEFORE_WARNING {
            let warning = imports::get().logger.attr(&names::get().warning)?;
            warning.call1(&value::str("SSL connection is closed")?)?;
        }
        Ok(false)
    }

    /// Encrypts, or keeps for later what cannot be encrypted now.
    #[inline]
    fn write_now(&self, data: &Obj) -> Res<()> {
        let waits = self.backlog_bytes.get() > 0
            || self.state.get() != State::Wrapped
            || self.session.is_busy();
        if waits {
            return self.push_backlog(data);
        }
        match self.session.write(data)? {
            Written::All => Ok(()),
            Written::Nothing => self.push_backlog(data),
            Written::Failed(exc) => Err(Raised::from_exception(&exc)),
        }
    }

    fn flush_if_wrapped(&self) -> Res<()> {
        if self.state.get() == State::Wrapped { self.write_backlog() } else { Ok(()) }
    }

    pub(super) fn push_backlog(&self, data: &Obj) -> Res<()> {
        let kept = if bytes::is_exact(data) {
            data.clone()
        } else {
            value::with_buffer(data, bytes::from_slice)??
        };
        self.backlog_bytes.set(self.backlog_bytes.get() + value::len(&kept)?);
        self.backlog.borrow_mut().push_back(kept);
        Ok(())
    }

    /// Encrypts what waits, and passes on what is encrypted.
    #[inline]
    pub(super) fn write_backlog(&self) -> Res<()> {
        while self.backlog_bytes.get() > 0 && self.is_open() && !self.session.is_busy() {
            let Some(data) = self.backlog.borrow_mut().pop_front() else { break };
            match self.session.write(&data)? {
                Written::All => {
                    let left = self.backlog_bytes.get().saturating_sub(value::len(&data)?);
                    self.backlog_bytes.set(left);
                }
                Written::Nothing => {
                    self.backlog.borrow_mut().push_front(data);
                    break;
                }
                Written::Failed(exc) => return Err(Raised::from_exception(&exc)),
            }
        }
        self.flush_outgoing()
    }

    /// Passes records on, unless the lower transport has enough.
    #[inline]
    pub(super) fn flush_outgoing(&self) -> Res<()> {
        if !self.lower_writing_paused.get()
            && let Some(records) = self.session.take_outgoing()?
        {
            self.lower_write(records)?;
        }
        self.control_writing()
    }

    // ---- flow control

    /// What waits to be sent, above the lower transport.
    #[inline]
    pub(super) fn buffered(&self) -> Res<usize> {
        Ok(self.session.outgoing()? + self.backlog_bytes.get())
    }

    /// Tells the program to pause or to resume writing.
    #[inline]
    pub(super) fn control_writing(&self) -> Res<()> {
        let size = self.buffered()?;
        let marks = self.write_marks.get();
        let paused = self.writing_paused.get();
        // Marks that are equal, or 0, would else make it pause and resume for ever.
        if size >= marks.high && size > marks.low && !paused {
            self.tell_flow(true)
        } else if size <= marks.low && paused {
            self.tell_flow(false)
        } else {
            Ok(())
        }
    }

    fn tell_flow(&self, pause: bool) -> Res<()> {
        self.writing_paused.set(pause);
        let Some(protocol) = self.app_protocol.get() else { return Ok(()) };
        let names = names::get();
        let (name, failed) = if pause {
            (&names.pause_writing, "protocol.pause_writing() failed")
        } else {
            (&names.resume_writing, "protocol.resume_writing() failed")
        };
        let context = self.lower_context();
        let told = {
            let _entered = Entered::unless_inside(context.as_ref());
            protocol.method0(name)
        };
        let Err(raised) = told else { return Ok(()) };
        if raised.leaves_the_loop() {
            return Err(raised);
        }
        let exc = raised.take();
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let transport = self.app_transport.get().map_or_else(Obj::none, Ref::into_obj);
        let more = [(&names.transport, &transport), (&names.protocol, self.as_obj())];
        LoopState::report(&loop_, failed, Some(&exc), &more)
    }

    pub(super) fn set_write_marks(&self, high: Option<&Obj>, low: Option<&Obj>) -> Res<()> {
        self.write_marks.set(marks(high, low, super::protocol::WRITE_HIGH)?);
        self.control_writing()
    }

    pub(super) fn set_read_marks(&self, high: Option<&Obj>, low: Option<&Obj>) -> Res<()> {
        self.read_marks.set(marks(high, low, super::protocol::READ_HIGH)?);
        if self.lower.is_set() { self.control_reading() } else { Ok(()) }
    }
}

/// asyncio's rule: high is four times low, low a quarter of high, unless given.
fn marks(high: Option<&Obj>, low: Option<&Obj>, default: usize) -> Res<Marks> {
    let number =
        |mark: Option<&Obj>| mark.filter(|mark| !mark.is_none()).map(value::water_mark).transpose();
    let (high, low) = (number(high)?, number(low)?);
    let default = i64::try_from(default).unwrap_or(i64::MAX);
    let high = high.unwrap_or_else(|| low.map_or(default, |low| low.saturating_mul(4)));
    let low = low.unwrap_or_else(|| high.div_euclid(4));
    let refused =
        || Raised::value_error(&format!("high ({high}) must be >= low ({low}) must be >= 0"));
    match (usize::try_from(high), usize::try_from(low)) {
        (Ok(high), Ok(low)) if high >= low => Ok(Marks { high, low }),
        _ => Err(refused()),
    }
}
