//! Data in: from records to the program's protocol, and the flow control of reading.
//!
//! What was received is decrypted as far as it goes without asking once more than needed, and delivered in one
//! piece. Owner thread; nothing is borrowed while the protocol runs.
//!
//! Invariants: what was decrypted is delivered before what ended the connection is told; nothing is
//! delivered after the program closed its transport.

use super::protocol::{State, TlsProtocol};
use super::session::{Decrypted, End};
use crate::ffi::{Obj, Raised, Ref, Res, value};
use crate::names;
use crate::transport::chunk;
use crate::transport::receiver::{Received, Takes, deliver};

/// Buffers that are filled in one turn: the rest waits for the next one.
const BUFFERS_PER_TURN: usize = 16;

impl Ref<TlsProtocol> {
    /// Reads what `records`, and what was kept, allow; then writes what waits.
    pub(super) fn do_read(&self, records: &[u8]) -> Res<()> {
        if !self.is_open() || self.session.is_busy() {
            return self.session.store(records);
        }
        let result = self.read_and_write(records);
        self.fail_if_raised(result)
    }

    #[inline]
    fn read_and_write(&self, records: &[u8]) -> Res<()> {
        if self.is_closed_by_program() {
            self.read_for_nobody(records)?;
        } else if self.reading_paused.get() {
            self.session.store(records)?;
        } else if self.takes.get() == Takes::IntoBuffer {
            self.read_into_protocol(records)?;
        } else {
            self.read_data(records)?;
        }
        self.write_backlog()?;
        self.control_reading()
    }

    #[inline]
    fn read_data(&self, records: &[u8]) -> Res<()> {
        let (decrypted, mut end) = self.session.read_all(records)?;
        self.deliver(decrypted)?;
        while matches!(end, End::More) && self.may_deliver() {
            if self.takes.get() == Takes::IntoBuffer {
                return self.read_into_protocol(&[]);
            }
            let (decrypted, ended) = self.session.read_all(&[])?;
            self.deliver(decrypted)?;
            end = ended;
        }
        self.reads_ended(end)
    }

    fn may_deliver(&self) -> bool {
        self.is_open() && !self.reading_paused.get() && !self.is_closed_by_program()
    }

    #[inline]
    fn deliver(&self, decrypted: Decrypted) -> Res<()> {
        let Some(protocol) = self.app_protocol.get() else { return Ok(()) };
        match decrypted {
            Decrypted::Nothing => Ok(()),
            Decrypted::Object(data) => {
                deliver(&protocol, self.takes.get(), Received::Object(data)).map(drop)
            }
            Decrypted::Buffer(plain) => {
                let told = deliver(&protocol, self.takes.get(), Received::Slice(&plain));
                chunk::keep(plain);
                told.map(drop)
            }
        }
    }

    fn reads_ended(&self, end: End) -> Res<()> {
        match end {
            End::Drained | End::More => Ok(()),
            End::CloseNotify => {
                self.close_notify.set(true);
                self.tell_eof()?;
                self.start_shutdown()
            }
            End::Failed(exc) => Err(Raised::from_exception(&exc)),
        }
    }

    /// What came before the program closed is nobody's; the peer's `close_notify` may be behind it.
    fn read_for_nobody(&self, records: &[u8]) -> Res<()> {
        let (decrypted, end) = self.session.read_all(records)?;
        if let Decrypted::Buffer(plain) = decrypted {
            chunk::keep(plain);
        }
        self.reads_ended(end)
    }

    /// Into the buffers that a `BufferedProtocol` offers, one after another.
    fn read_into_protocol(&self, records: &[u8]) -> Res<()> {
        let names = names::get();
        let mut records = records;
        for _ in 0..BUFFERS_PER_TURN {
            let Some(protocol) = self.app_protocol.get() else { return Ok(()) };
            let waiting = self.session.incoming()? + records.len();
            let hint = value::int(i64::try_from(waiting).unwrap_or(i64::MAX))?;
            let buffer = match protocol.method1(&names.get_buffer, &hint) {
                Ok(buffer) => buffer,
                Err(raised) => {
                    let exc = raised.take();
                    self.session.store(records)?;
                    return Err(Raised::restore(exc));
                }
            };
            if !self.may_deliver() {
                return self.session.store(records);
            }
            if value::len(&buffer)? == 0 {
                return Err(Raised::runtime_error("get_buffer() returned an empty buffer"));
            }
            let (filled, end) = self.session.read_into(&buffer, records)?;
            records = &[];
            drop(buffer);
            if filled > 0 {
                let count = value::int(i64::try_from(filled).unwrap_or(i64::MAX))?;
                protocol.method1(&names.buffer_updated, &count)?;
            }
            if !matches!(end, End::More) {
                return self.reads_ended(end);
            }
            if !self.may_deliver() {
                return Ok(());
            }
            if self.takes.get() != Takes::IntoBuffer {
                return self.read_data(&[]);
            }
        }
        // There may be more than the buffers hold.
        self.call_soon("_do_read")
    }

    fn call_soon(&self, method: &str) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let names = names::get();
        let callback = self.as_obj().attr(&value::str(method)?)?;
        let Some(context) = self.lower_context() else {
            return loop_.as_obj().method1(&names.call_soon, &callback).map(drop);
        };
        // Whoever resumes reading has a context of his own: the protocol is called in the connection's.
        let named = value::dict()?;
        value::dict_set(&named, &names.context, &context)?;
        let call_soon = loop_.as_obj().attr(&names.call_soon)?;
        call_soon.call_tuple(&value::tuple_of(&[callback])?, Some(&named)).map(drop)
    }

    // ---- flow control

    pub(super) fn pause_reading(&self) {
        self.reading_paused.set(true);
    }

    pub(super) fn resume_reading(&self) -> Res<()> {
        if self.reading_paused.replace(false) { self.call_soon("_resume") } else { Ok(()) }
    }

    /// The program reads again, from a turn of its own.
    pub(super) fn resume(&self) -> Res<()> {
        match self.state.get() {
            State::Wrapped => self.do_read(&[]),
            State::Flushing => self.do_flush(),
            State::Shutdown => self.do_shutdown(),
            State::Unwrapped | State::Handshake => Ok(()),
        }
    }

    /// Stops the lower transport while the program does not read and enough is waiting.
    #[inline]
    pub(super) fn control_reading(&self) -> Res<()> {
        let waiting = self.session.incoming()?;
        let marks = self.read_marks.get();
        let paused = self.lower_reading_paused.get();
        if waiting >= marks.high && !paused {
            self.lower_reading_paused.set(true);
            self.lower_pause_reading()
        } else if waiting <= marks.low && paused {
            self.lower_reading_paused.set(false);
            self.lower_resume_reading()
        } else {
            Ok(())
        }
    }
}

/// `Obj` of a count, for the methods that tell sizes.
pub(super) fn size(count: usize) -> Res<Obj> {
    value::int(i64::try_from(count).unwrap_or(i64::MAX))
}
