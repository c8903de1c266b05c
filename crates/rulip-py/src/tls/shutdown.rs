//! The end: closing, the exchange of `close_notify`, its deadline, and what is told of it.
//!
//! | begun by | then |
//! |---|---|
//! | the program's `close()` | what is queued is written, what was received is dropped, `close_notify` sent and awaited |
//! | the peer's `close_notify` | `eof_received`, what is queued is written, `close_notify` sent, closed |
//! | TCP's end of file | what is left is delivered, `eof_received`, closed |
//!
//! The deadline holds until the connection is lost: a peer that does not read must not keep it for ever.
//! Owner thread. Invariant: `get_extra_info("tls_truncated")` is True exactly if TCP ended without the
//! peer's `close_notify`.

use super::protocol::{State, TlsProtocol, Told};
use super::session::Progress;
use crate::ffi::{Obj, Ref, Res, value};
use crate::{imports, names};

impl Ref<TlsProtocol> {
    pub(super) fn start_shutdown(&self) -> Res<()> {
        // TCP's end waits for a program that does not read: who closes will not read any more.
        let kept_waiting = self.state.get() == State::Flushing
            && !self.close_notify.get()
            && self.reading_paused.replace(false);
        if matches!(self.state.get(), State::Flushing | State::Shutdown | State::Unwrapped)
            && !kept_waiting
        {
            return Ok(());
        }
        if let Some(transport) = self.app_transport.get() {
            transport.set_closed();
        }
        if self.state.get() == State::Handshake {
            return self.abort(&Obj::none());
        }
        self.state.set(State::Flushing);
        self.start_shutdown_timer()?;
        self.do_flush()
    }

    fn start_shutdown_timer(&self) -> Res<()> {
        if self.shutdown_timer.is_set() {
            return Ok(());
        }
        self.start_timer(&self.shutdown_timer, &self.shutdown_timeout, "_check_shutdown_timeout")
    }

    pub(super) fn check_shutdown_timeout(&self) -> Res<()> {
        if !matches!(self.state.get(), State::Flushing | State::Shutdown) {
            return Ok(());
        }
        let text = value::str("SSL shutdown timed out")?;
        self.lower_force_close(&crate::task::builtin("TimeoutError")?.call1(&text)?)
    }

    /// The last reads and writes, then the shutdown.
    pub(super) fn do_flush(&self) -> Res<()> {
        self.do_read(&[])?;
        if self.state.get() != State::Flushing {
            return Ok(());
        }
        self.state.set(State::Shutdown);
        self.do_shutdown()
    }

    pub(super) fn do_shutdown(&self) -> Res<()> {
        if !self.eof_received.get() {
            match self.session.unwrap()? {
                Progress::Again => return self.flush_outgoing(),
                Progress::Failed(exc) => {
                    self.cancel_timer(&self.shutdown_timer)?;
                    return self.fail(exc, "Fatal error on transport");
                }
                // Both sides have said that they are done.
                Progress::Done => self.close_notify.set(true),
            }
        }
        self.flush_outgoing()?;
        self.tell_eof()?;
        self.close_soon()
    }

    /// The lower transport closes, which sends what it has.
    fn close_soon(&self) -> Res<()> {
        let (Some(loop_), Some(lower)) = (self.loop_.get(), self.lower.get()) else {
            return Ok(());
        };
        self.start_shutdown_timer()?;
        let names = names::get();
        loop_.as_obj().method1(&names.call_soon, &lower.attr(&names.close)?).map(drop)
    }

    /// `abort()`, and `_force_close()` with an error.
    pub(super) fn abort(&self, error: &Obj) -> Res<()> {
        self.state.set(State::Unwrapped);
        self.lower_force_close(error)
    }

    /// Tells the program's protocol that the peer is done, once.
    pub(super) fn tell_eof(&self) -> Res<()> {
        self.note_end(false)?;
        if self.told.get() != Told::Made {
            return Ok(());
        }
        self.told.set(Told::Ended);
        let Some(protocol) = self.app_protocol.get() else { return Ok(()) };
        let answer = protocol.method0(&names::get().eof_received);
        match answer.and_then(|answer| answer.is_true()) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let warning = imports::get().logger.attr(&names::get().warning)?;
                let text = "returning true from eof_received() has no effect when using ssl";
                warning.call1(&value::str(text)?).map(drop)
            }
            Err(raised) if raised.leaves_the_loop() => Err(raised),
            Err(raised) => {
                let exc = raised.take();
                self.fail(exc, "Error calling eof_received()")
            }
        }
    }

    /// Whether the stream was cut off, as far as is known now.
    pub(super) fn note_end(&self, failed: bool) -> Res<()> {
        let Some(extra) = self.extra.get() else { return Ok(()) };
        let ended_by_tcp = self.eof_received.get() || failed;
        let truncated = Obj::bool(ended_by_tcp && !self.close_notify.get());
        value::dict_set(&extra, &value::interned(c"tls_truncated")?, &truncated)
    }
}
