//! TLS by direct calls on the `SSL*` that Python's `SSLObject` holds.
//!
//! What lives here: the guarded way from an `SSLObject` to its `SSL*`, reading and writing data, and the
//! buffers of records. Not here: the handshake, the shutdown and every exception, which are Python's own
//! methods on the same object; so the user's `SSLContext` counts in everything, and errors have Python's types
//! and texts. This folder has the only unsafe code of TLS. Owner thread, attached.
//!
//! | guard | what it excludes |
//! |---|---|
//! | the library is found through `_ssl` itself | another OpenSSL in the process |
//! | its version is the one that Python reports | likewise |
//! | exact types of `SSLObject` and `_SSLSocket` | methods that somebody overrides |
//! | the third field of `_SSLSocket` is its context | another layout than 3.11's to 3.15's |
//! | `SSL_get_SSL_CTX` is the context's `SSL_CTX*` | likewise, and exchanged parts |
//! | no `_msg_callback` | Python code that runs within a read or a write |
//!
//! Invariant: the `SSL*` is used only while `owner` is held, and not while a call on it runs.

mod bio;
mod library;

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3::ffi as c;

use self::bio::Buffers;
use self::library::{Bio, Library, Ssl, SslCtx};
use crate::ffi::{Obj, Res, call, value};

const ERROR_WANT_READ: c_int = 2;
const ERROR_WANT_WRITE: c_int = 3;
const ERROR_SYSCALL: c_int = 5;
const ERROR_ZERO_RETURN: c_int = 6;

/// The most that one record holds.
const RECORD: usize = 16 * 1024;

/// The head of `_ssl._SSLSocket`.
#[repr(C)]
struct SslSocket {
    head: c::PyObject,
    socket: *mut c::PyObject,
    ssl: *mut Ssl,
    context: *mut c::PyObject,
}

/// The head of `_ssl._SSLContext`.
#[repr(C)]
struct SslContext {
    head: c::PyObject,
    ctx: *mut SslCtx,
}

/// What came of a read or a write.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// So many bytes.
    Done(usize),
    /// Records are missing.
    Again,
    /// The peer's `close_notify`.
    CloseNotify,
    /// Python's method knows the error.
    Failed,
}

/// One connection's `SSL*`, with buffers in place of its BIOs.
pub(super) struct Session {
    library: &'static Library,
    ssl: NonNull<Ssl>,
    bio: NonNull<Bio>,
    buffers: Box<UnsafeCell<Buffers>>,
    /// A call on the `SSL*` runs: what it calls back must not call it again.
    busy: Cell<bool>,
    /// The `_ssl._SSLSocket` that owns the `SSL*`.
    owner: Obj,
}

impl Session {
    /// Takes over the reading and writing of an `SSLObject` that has not begun its handshake; `None` where a
    /// guard says no.
    pub(super) fn new(sslobj: &Obj) -> Res<Option<Self>> {
        let Some(library) = library::find()? else { return Ok(None) };
        let Some((owner, ssl)) = ssl_of(library, sslobj)? else { return Ok(None) };
        let buffers = Box::new(UnsafeCell::new(Buffers::new()));
        // SAFETY: the buffers are boxed, and `drop` takes them out of the BIO before they go. `SSL_set_bio`
        // takes over one reference for both directions and gives up its old BIOs; one more is ours.
        unsafe {
            let Some(bio) = NonNull::new(bio::new(library, buffers.get())) else { return Ok(None) };
            (library.bio_up_ref)(bio.as_ptr());
            (library.ssl_set_bio)(ssl.as_ptr(), bio.as_ptr(), bio.as_ptr());
            Ok(Some(Self { library, ssl, bio, buffers, busy: Cell::new(false), owner }))
        }
    }

    /// The object that the garbage collector must see.
    pub(super) fn owner(&self) -> &Obj {
        &self.owner
    }

    #[inline]
    fn with_buffers<R>(&self, f: impl FnOnce(&mut Buffers) -> R) -> R {
        // SAFETY: `f` is one of a few lines in this folder that call nothing back, and no call into
        // OpenSSL is running on this thread but one that has called back into Python, which holds no
        // reference to the buffers.
        f(unsafe { &mut *self.buffers.get() })
    }

    /// Keeps records for later.
    pub(super) fn store(&self, records: &[u8]) {
        self.with_buffers(|buffers| buffers.store(records));
    }

    /// Lets reads find records in the caller's memory, until the guard is dropped: what is left then is kept.
    #[inline]
    pub(super) fn lend<'a>(&'a self, records: &'a [u8]) -> Lent<'a> {
        self.with_buffers(|buffers| buffers.lend(records));
        Lent { session: self, records: PhantomData }
    }

    /// Records that no read has taken.
    #[inline]
    pub(super) fn incoming(&self) -> usize {
        self.with_buffers(|buffers| buffers.pending())
    }

    /// Bytes that are decrypted already.
    #[inline]
    pub(super) fn decrypted(&self) -> usize {
        // SAFETY: a live `SSL*`.
        let count = unsafe { (self.library.ssl_pending)(self.ssl.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Records to send.
    #[inline]
    pub(super) fn outgoing(&self) -> usize {
        self.with_buffers(|buffers| buffers.outgoing.len())
    }

    #[inline]
    pub(super) fn take_outgoing(&self) -> Vec<u8> {
        self.with_buffers(|buffers| std::mem::take(&mut buffers.outgoing))
    }

    /// Whether a read or a write has called back and not returned.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// `SSL_read` into `out`, which is not empty.
    #[inline]
    pub(super) fn read(&self, out: &mut [u8]) -> Outcome {
        let (ssl, mut count) = (self.ssl.as_ptr(), 0);
        self.call(|library| {
            // SAFETY: a live `SSL*`, and memory of this length.
            let code = unsafe {
                (library.ssl_read_ex)(ssl, out.as_mut_ptr().cast(), out.len(), &mut count)
            };
            (code, count)
        })
    }

    /// `SSL_read` of up to one record to the end of `out`.
    #[inline]
    pub(super) fn read_append(&self, out: &mut Vec<u8>) -> Outcome {
        out.reserve(RECORD);
        let (ssl, mut count) = (self.ssl.as_ptr(), 0);
        let outcome = self.call(|library| {
            let room = out.spare_capacity_mut();
            // SAFETY: a live `SSL*`, and memory of this length, which is only written.
            let code = unsafe {
                (library.ssl_read_ex)(ssl, room.as_mut_ptr().cast(), room.len(), &mut count)
            };
            (code, count)
        });
        if let Outcome::Done(count) = outcome {
            // SAFETY: OpenSSL has written so many bytes behind the old length.
            unsafe { out.set_len(out.len() + count) };
        }
        outcome
    }

    /// `SSL_write` of `data`, which is not empty.
    #[inline]
    pub(super) fn write(&self, data: &[u8]) -> Outcome {
        let (ssl, mut count) = (self.ssl.as_ptr(), 0);
        self.call(|library| {
            // SAFETY: a live `SSL*`, and memory of this length.
            let code = unsafe {
                (library.ssl_write_ex)(ssl, data.as_ptr().cast(), data.len(), &mut count)
            };
            (code, count)
        })
    }

    /// Runs one call. What other users of the library left in the thread's queue of errors goes first:
    /// `SSL_get_error` would take it for ours.
    #[inline]
    fn call(&self, f: impl FnOnce(&Library) -> (c_int, usize)) -> Outcome {
        let library = self.library;
        // SAFETY: no precondition.
        unsafe {
            if (library.err_peek_error)() != 0 {
                (library.err_clear_error)();
            }
        }
        self.busy.set(true);
        let (code, count) = f(library);
        self.busy.set(false);
        if code > 0 {
            return Outcome::Done(count);
        }
        // SAFETY: the `SSL*` of the call, right after it.
        match unsafe { (library.ssl_get_error)(self.ssl.as_ptr(), code) } {
            ERROR_WANT_READ | ERROR_WANT_WRITE | ERROR_SYSCALL => Outcome::Again,
            ERROR_ZERO_RETURN => Outcome::CloseNotify,
            _ => Outcome::Failed,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the BIO may live on with the `SSL*`, but without data it is only empty. The reference
        // given up is ours.
        unsafe {
            (self.library.bio_set_data)(self.bio.as_ptr(), std::ptr::null_mut());
            (self.library.bio_free)(self.bio.as_ptr());
        }
        crate::transport::chunk::keep(self.take_outgoing());
    }
}

/// Records lent to a session.
pub(super) struct Lent<'a> {
    session: &'a Session,
    records: PhantomData<&'a [u8]>,
}

impl Drop for Lent<'_> {
    #[inline]
    fn drop(&mut self) {
        self.session.with_buffers(Buffers::end_loan);
    }
}

/// The `_SSLSocket` of an `SSLObject`, and its `SSL*`.
fn ssl_of(library: &Library, sslobj: &Obj) -> Res<Option<(Obj, NonNull<Ssl>)>> {
    let (public, private) = (call::import(c"ssl")?, call::import(c"_ssl")?);
    if !sslobj.type_obj().is(&public.attr(&value::str("SSLObject")?)?) {
        return Ok(None);
    }
    let owner = sslobj.attr(&value::str("_sslobj")?)?;
    let context = sslobj.attr(&value::str("context")?)?;
    let exact = owner.type_obj().is(&private.attr(&value::str("_SSLSocket")?)?)
        && context.is_instance(&private.attr(&value::str("_SSLContext")?)?)?
        && has_size::<SslSocket>(&owner)
        && has_size::<SslContext>(&context);
    if !exact {
        return Ok(None);
    }
    if let Some(callback) = context.attr_opt(&value::str("_msg_callback")?)?
        && !callback.is_none()
    {
        return Ok(None);
    }
    // SAFETY: objects of these types, at least as large as what is read. That the third field is the
    // context tells that the second is the `SSL*`.
    unsafe {
        let socket = owner.as_ptr().cast::<SslSocket>();
        if (*socket).context != context.as_ptr() {
            return Ok(None);
        }
        let Some(ssl) = NonNull::new((*socket).ssl) else { return Ok(None) };
        let expected = (*context.as_ptr().cast::<SslContext>()).ctx;
        let found = (library.ssl_get_ssl_ctx)(ssl.as_ptr());
        Ok((found == expected && !found.is_null()).then_some((owner, ssl)))
    }
}

fn has_size<T>(obj: &Obj) -> bool {
    // SAFETY: the type of a live object.
    let size = unsafe { (*obj.type_ptr()).tp_basicsize };
    size.unsigned_abs() >= size_of::<T>()
}
