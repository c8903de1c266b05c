//! A TLS session: what the state machine asks of OpenSSL, whichever way leads there.
//!
//! What lives here: the choice between the two ways (`openssl`, `memory_bio`), and their answers in one
//! form. Not here: when to ask (`protocol.rs` and its siblings). Owner thread.
//!
//! Invariant: handshake and shutdown are Python's own methods, and so is the source of every exception.

use std::ffi::c_int;

use super::memory_bio::{self, Stop};
use super::openssl::{self, Outcome};
use crate::ffi::bytes::{self, Bytes};
use crate::ffi::object::Attached;
use crate::ffi::slot::Visit;
use crate::ffi::value::WritableBuffer;
use crate::ffi::{Obj, Raised, Res, call, value};
use crate::names;
use crate::transport::chunk::{self, Buffer, Chunk};

/// From this size on, bytes are decrypted straight into the object that the program gets.
const LARGE: usize = 16 * 1024;

/// Exception classes of the `ssl` module.
struct Errors {
    ssl_error: Obj,
    want_read: Obj,
    syscall: Obj,
}

static ERRORS: Attached<Errors> = Attached::new();

fn errors() -> Res<&'static Errors> {
    if !ERRORS.is_set() {
        let module = call::import(c"ssl")?;
        ERRORS.set(Errors {
            ssl_error: module.attr(&value::str("SSLError")?)?,
            want_read: module.attr(&value::str("SSLWantReadError")?)?,
            syscall: module.attr(&value::str("SSLSyscallError")?)?,
        });
    }
    Ok(ERRORS.get())
}

/// Which way data goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// The direct one, if its guards allow it.
    Automatic,
    /// The direct one or an error.
    OpenSsl,
    MemoryBio,
}

enum Way {
    OpenSsl(openssl::Session),
    MemoryBio(memory_bio::Session),
}

/// One connection's TLS.
pub(crate) struct Session {
    way: Way,
    sslobj: Obj,
}

/// How far a handshake or a shutdown has come.
pub(super) enum Progress {
    Done,
    /// It waits for the peer.
    Again,
    /// `ssl.SSLError`.
    Failed(Obj),
}

/// What a run of reads ended with.
pub(super) enum End {
    /// Nothing is left, or half a record.
    Drained,
    /// There may be more.
    More,
    CloseNotify,
    /// The exception that reading raises.
    Failed(Obj),
}

/// What a run of reads brought.
pub(super) enum Decrypted {
    Nothing,
    /// In a spare buffer.
    Buffer(Vec<u8>),
    Object(Obj),
}

/// What a write came to.
pub(super) enum Written {
    All,
    /// Nothing can be written now.
    Nothing,
    Failed(Obj),
}

impl Session {
    /// Over an `SSLObject` that has not begun its handshake, and the two BIOs it was made with.
    pub(super) fn new(sslobj: Obj, incoming: Obj, outgoing: Obj, choice: Choice) -> Res<Self> {
        if choice != Choice::MemoryBio {
            if let Some(direct) = openssl::Session::new(&sslobj)? {
                return Ok(Self { way: Way::OpenSsl(direct), sslobj });
            }
            if choice == Choice::OpenSsl {
                return Err(Raised::runtime_error(
                    "this SSLObject's OpenSSL cannot be called directly",
                ));
            }
        }
        let session = memory_bio::Session { sslobj: sslobj.clone(), incoming, outgoing };
        Ok(Self { way: Way::MemoryBio(session), sslobj })
    }

    pub(super) fn way(&self) -> &'static str {
        match &self.way {
            Way::OpenSsl(_) => "openssl",
            Way::MemoryBio(_) => "memory_bio",
        }
    }

    pub(super) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        visit.obj(&self.sslobj)?;
        match &self.way {
            Way::OpenSsl(direct) => visit.obj(direct.owner()),
            Way::MemoryBio(session) => [&session.sslobj, &session.incoming, &session.outgoing]
                .into_iter()
                .try_for_each(|obj| visit.obj(obj)),
        }
    }

    pub(super) fn sslobj(&self) -> &Obj {
        &self.sslobj
    }

    /// Keeps records for later.
    pub(super) fn store(&self, records: &[u8]) -> Res<()> {
        if records.is_empty() {
            return Ok(());
        }
        match &self.way {
            Way::OpenSsl(direct) => {
                direct.store(records);
                Ok(())
            }
            Way::MemoryBio(session) => session.store(records),
        }
    }

    /// Records that no read has taken.
    #[inline]
    pub(super) fn incoming(&self) -> Res<usize> {
        match &self.way {
            Way::OpenSsl(direct) => Ok(direct.incoming()),
            Way::MemoryBio(session) => session.incoming(),
        }
    }

    /// Records to send.
    #[inline]
    pub(super) fn outgoing(&self) -> Res<usize> {
        match &self.way {
            Way::OpenSsl(direct) => Ok(direct.outgoing()),
            Way::MemoryBio(session) => session.outgoing(),
        }
    }

    /// Takes what is to be sent, if anything is.
    #[inline]
    pub(super) fn take_outgoing(&self) -> Res<Option<Chunk>> {
        match &self.way {
            Way::OpenSsl(direct) => Ok(match direct.outgoing() {
                0 => None,
                _ => Some(Chunk::Buffer(Buffer::new(direct.take_outgoing()))),
            }),
            Way::MemoryBio(session) => match session.outgoing()? {
                0 => Ok(None),
                _ => match Bytes::new(session.take_outgoing()?) {
                    Ok(bytes) => Ok(Some(Chunk::Bytes(bytes))),
                    Err(_) => Err(Raised::type_error("MemoryBIO.read() returned no bytes")),
                },
            },
        }
    }

    /// Whether a call on it runs, and called back.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.way, Way::OpenSsl(direct) if direct.is_busy())
    }

    /// Decrypts all that `records`, and what was kept, allow. Runs no Python but for an exception.
    #[inline]
    pub(super) fn read_all(&self, records: &[u8]) -> Res<(Decrypted, End)> {
        match &self.way {
            Way::OpenSsl(direct) => {
                let (decrypted, outcome) = decrypt_all(direct, records)?;
                Ok((decrypted, self.end(outcome)?))
            }
            Way::MemoryBio(session) => {
                self.store(records)?;
                let (data, stop) = session.read_all()?;
                let decrypted = data.map_or(Decrypted::Nothing, Decrypted::Object);
                Ok((decrypted, self.stopped(stop)?))
            }
        }
    }

    /// Decrypts into a writable object: how many bytes. [`End::More`] says that it is full.
    pub(super) fn read_into(&self, buffer: &Obj, records: &[u8]) -> Res<(usize, End)> {
        match &self.way {
            Way::OpenSsl(direct) => {
                let mut view = WritableBuffer::new(buffer)?;
                let (filled, outcome) = {
                    let _lent = direct.lend(records);
                    fill(direct, view.as_mut())
                };
                drop(view);
                Ok((filled, self.end(outcome)?))
            }
            Way::MemoryBio(session) => {
                self.store(records)?;
                let (filled, stop) = session.read_into(&value::bytes_view(buffer)?)?;
                Ok((filled, self.stopped(stop)?))
            }
        }
    }

    #[inline]
    fn end(&self, outcome: Outcome) -> Res<End> {
        Ok(match outcome {
            Outcome::Again => End::Drained,
            Outcome::Done(_) => End::More,
            Outcome::CloseNotify => End::CloseNotify,
            Outcome::Failed => End::Failed(self.failure(&names::get().read, &value::int(1)?)?),
        })
    }

    fn stopped(&self, stop: Stop) -> Res<End> {
        match stop {
            Stop::Outcome(outcome) => self.end(outcome),
            Stop::Raised(exc) if is_again(&exc)? => Ok(End::Drained),
            Stop::Raised(exc) if exc.is_instance(&errors()?.ssl_error)? => Ok(End::Failed(exc)),
            Stop::Raised(exc) => Err(Raised::restore(exc)),
        }
    }

    /// Encrypts a bytes-like object that is not empty.
    #[inline]
    pub(super) fn write(&self, data: &Obj) -> Res<Written> {
        let direct = match &self.way {
            Way::OpenSsl(direct) => direct,
            Way::MemoryBio(session) => {
                // With partial writes off it takes all or nothing.
                return match session.sslobj.method1(&names::get().write, data) {
                    Ok(_) => Ok(Written::All),
                    Err(raised) => {
                        let exc = raised.take();
                        if is_again(&exc)? {
                            Ok(Written::Nothing)
                        } else {
                            Ok(Written::Failed(exc))
                        }
                    }
                };
            }
        };
        let outcome = match bytes::exact_slice(data) {
            Some(slice) => direct.write(slice),
            None => value::with_buffer(data, |slice| direct.write(slice))?,
        };
        match outcome {
            Outcome::Done(_) => Ok(Written::All),
            Outcome::Again => Ok(Written::Nothing),
            Outcome::CloseNotify | Outcome::Failed => {
                Ok(Written::Failed(self.failure(&names::get().write, data)?))
            }
        }
    }

    /// The exception behind a direct call that failed: Python's method fails alike, for the session is over
    /// and OpenSSL still has the reason in its queue.
    #[cold]
    fn failure(&self, method: &Obj, argument: &Obj) -> Res<Obj> {
        match self.sslobj.method1(method, argument) {
            Ok(_) => {}
            Err(raised) => {
                let exc = raised.take();
                if !is_again(&exc)? {
                    return Ok(exc);
                }
            }
        }
        errors()?.ssl_error.call(&[&value::int(1)?, &value::str("unknown TLS failure")?])
    }

    /// `do_handshake()`.
    pub(super) fn handshake(&self) -> Res<Progress> {
        self.progress(&names::get().do_handshake)
    }

    /// `unwrap()`.
    pub(super) fn unwrap(&self) -> Res<Progress> {
        self.progress(&names::get().unwrap)
    }

    fn progress(&self, method: &Obj) -> Res<Progress> {
        let Err(raised) = self.sslobj.method0(method) else { return Ok(Progress::Done) };
        let exc = raised.take();
        if is_again(&exc)? {
            Ok(Progress::Again)
        } else if exc.is_instance(&errors()?.ssl_error)? {
            Ok(Progress::Failed(exc))
        } else {
            Err(Raised::restore(exc))
        }
    }
}

/// Whether an exception only says that records are missing.
fn is_again(exc: &Obj) -> Res<bool> {
    let errors = errors()?;
    Ok(exc.is_instance(&errors.want_read)? || exc.is_instance(&errors.syscall)?)
}

#[inline]
fn is_drained(direct: &openssl::Session) -> bool {
    direct.incoming() == 0 && direct.decrypted() == 0
}

#[inline]
fn decrypt_all(direct: &openssl::Session, records: &[u8]) -> Res<(Decrypted, Outcome)> {
    let _lent = direct.lend(records);
    // Records are longer than what is in them.
    let most = direct.incoming() + direct.decrypted();
    if most >= LARGE {
        let mut outcome = Outcome::Again;
        let filled = bytes::filled(most, |buffer| {
            let (filled, ended) = fill(direct, buffer);
            outcome = ended;
            Ok::<usize, std::convert::Infallible>(filled)
        })?;
        return Ok(match filled {
            Ok((data, 1..)) => (Decrypted::Object(data), outcome),
            Ok((_, 0)) => (Decrypted::Nothing, outcome),
        });
    }
    let mut plain = chunk::spare();
    let outcome = loop {
        match direct.read_append(&mut plain) {
            Outcome::Done(_) if is_drained(direct) => break Outcome::Again,
            Outcome::Done(_) => {}
            ended => break ended,
        }
    };
    if plain.is_empty() {
        chunk::keep(plain);
        return Ok((Decrypted::Nothing, outcome));
    }
    Ok((Decrypted::Buffer(plain), outcome))
}

/// Reads until the buffer is full ([`Outcome::Done`]) or something ends it.
fn fill(direct: &openssl::Session, buffer: &mut [u8]) -> (usize, Outcome) {
    let mut filled = 0;
    loop {
        match direct.read(&mut buffer[filled..]) {
            Outcome::Done(count) => filled += count,
            ended => return (filled, ended),
        }
        if is_drained(direct) {
            return (filled, Outcome::Again);
        }
        if filled == buffer.len() {
            return (filled, Outcome::Done(filled));
        }
    }
}
