//! The handshake: its start, its steps, its end, its deadline.
//!
//! Python's `do_handshake` does all of it, so policy and errors are the `SSLContext`'s own. Owner thread.
//!
//! Invariant: the waiter is told once; the program's protocol hears nothing of a handshake that failed.

use rulip_engine::sys::clock;

use super::protocol::{State, TlsProtocol, Told};
use super::session::Progress;
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::names;

impl Ref<TlsProtocol> {
    pub(super) fn start_handshake(&self) -> Res<()> {
        if self.is_debug() {
            self.log_debug("%r starts SSL handshake", &[])?;
            self.handshake_began.set(Some(clock::now().as_secs()));
        }
        if self.state.get() != State::Unwrapped {
            return Err(Raised::runtime_error("the handshake has begun already"));
        }
        self.state.set(State::Handshake);
        self.start_timer(
            &self.handshake_timer,
            &self.handshake_timeout,
            "_check_handshake_timeout",
        )?;
        self.do_handshake()
    }

    /// As far as the records at hand allow.
    pub(super) fn do_handshake(&self) -> Res<()> {
        match self.session.handshake()? {
            Progress::Again => self.flush_outgoing(),
            Progress::Failed(exc) => self.handshake_ended(Some(exc)),
            Progress::Done => self.handshake_ended(None),
        }
    }

    pub(super) fn check_handshake_timeout(&self) -> Res<()> {
        if self.state.get() != State::Handshake {
            return Ok(());
        }
        let timeout = value::text(&value::str_of(&self.handshake_timeout.get_or_none())?)?;
        let text = format!(
            "SSL handshake is taking longer than {timeout} seconds: aborting the connection"
        );
        let aborted = crate::task::builtin("ConnectionAbortedError")?;
        self.fail(aborted.call1(&value::str(&text)?)?, "Fatal error on transport")
    }

    pub(super) fn handshake_ended(&self, failure: Option<Obj>) -> Res<()> {
        self.cancel_timer(&self.handshake_timer)?;
        let certificate = match failure {
            Some(exc) => Err(exc),
            None => self.peer_certificate()?,
        };
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(exc) => {
                self.state.set(State::Unwrapped);
                let about_certificate = exc.is_instance(&certificate_error()?)?;
                let message = if about_certificate {
                    "SSL handshake failed on verifying the certificate"
                } else {
                    "SSL handshake failed"
                };
                self.fail(exc.clone(), message)?;
                return self.wake_waiter(Some(exc));
            }
        };
        if let Some(began) = self.handshake_began.get().filter(|_| self.is_debug()) {
            let took = value::float((clock::now().as_secs() - began) * 1e3)?;
            self.log_debug("%r: SSL handshake took %.1f ms", &[&took])?;
        }
        self.note_session(&certificate)?;
        if self.told.get() == Told::Waiting {
            self.told.set(Told::Made);
            if let (Some(protocol), Some(transport)) =
                (self.app_protocol.get(), self.app_transport.get())
            {
                protocol.method1(&names::get().connection_made, transport.as_obj())?;
            }
        }
        self.wake_waiter(None)?;
        self.do_read(&[])
    }

    /// The peer's certificate, or why it cannot be had.
    fn peer_certificate(&self) -> Res<Result<Obj, Obj>> {
        self.state.set(State::Wrapped);
        match self.session.sslobj().method0(&value::interned(c"getpeercert")?) {
            Ok(certificate) => Ok(Ok(certificate)),
            Err(raised) if raised.is_exception() => Ok(Err(raised.take())),
            Err(raised) => Err(raised),
        }
    }

    /// What `get_extra_info` tells from now on.
    fn note_session(&self, certificate: &Obj) -> Res<()> {
        let Some(extra) = self.extra.get() else { return Ok(()) };
        let sslobj = self.session.sslobj();
        value::dict_set(&extra, &value::interned(c"peercert")?, certificate)?;
        for name in [c"cipher", c"compression"] {
            let name = value::interned(name)?;
            value::dict_set(&extra, &name, &sslobj.method0(&name)?)?;
        }
        value::dict_set(&extra, &value::interned(c"ssl_object")?, sslobj)
    }

    /// Tells whoever waits for the handshake.
    pub(super) fn wake_waiter(&self, failure: Option<Obj>) -> Res<()> {
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        let names = names::get();
        if waiter.method0(&names.cancelled)?.is_true()? {
            return Ok(());
        }
        match failure {
            Some(exc) => waiter.method1(&names.set_exception, &exc).map(drop),
            None => waiter.method1(&names.set_result, &Obj::none()).map(drop),
        }
    }
}

fn certificate_error() -> Res<Obj> {
    crate::ffi::call::import(c"ssl")?.attr(&value::str("CertificateError")?)
}
