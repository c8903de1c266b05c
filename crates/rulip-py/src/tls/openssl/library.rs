//! The OpenSSL that Python's `_ssl` is linked to: its functions, found in what is mapped already.
//!
//! What lives here: types, signatures, and the one look-up. Not here: their use (`mod.rs`, `bio.rs`).
//! Nothing is loaded: `_ssl` is opened again with `RTLD_NOLOAD`, and names are looked for in it and in
//! the libraries it was linked to, so that what is found is what `_ssl` itself calls. A Python that carries
//! OpenSSL inside, or hides it, has no such names: then there is no [`Library`].
//!
//! Invariant: a [`Library`] exists only if every name was found and its version is the one that Python
//! reports.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::sync::OnceLock;

use crate::ffi::{Res, call, value};

/// `SSL`.
#[repr(C)]
pub(super) struct Ssl([u8; 0]);
/// `SSL_CTX`.
#[repr(C)]
pub(super) struct SslCtx([u8; 0]);
/// `BIO`.
#[repr(C)]
pub(super) struct Bio([u8; 0]);
/// `BIO_METHOD`.
#[repr(C)]
pub(super) struct BioMethod([u8; 0]);

pub(super) type BioRead = unsafe extern "C" fn(*mut Bio, *mut c_char, c_int) -> c_int;
pub(super) type BioWrite = unsafe extern "C" fn(*mut Bio, *const c_char, c_int) -> c_int;
pub(super) type BioCtrl = unsafe extern "C" fn(*mut Bio, c_int, c_long, *mut c_void) -> c_long;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_LAZY: c_int = 1;
const RTLD_NOLOAD: c_int = 4;

macro_rules! functions {
    ($($field:ident = $name:literal: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions that we call.
        pub(super) struct Library {
            $(pub(super) $field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl Library {
            /// # Safety
            /// `handle` comes from `dlopen`, and names found there have OpenSSL's signatures.
            unsafe fn find(handle: *mut c_void) -> Option<Self> {
                Some(Self {
                    $($field: {
                        // SAFETY: a live handle and a NUL-terminated name.
                        let found = unsafe { dlsym(handle, $name.as_ptr()) };
                        if found.is_null() {
                            return None;
                        }
                        type Function = unsafe extern "C" fn($($arg),*) $(-> $ret)?;
                        // SAFETY: OpenSSL's documented signature of this name.
                        unsafe { std::mem::transmute::<*mut c_void, Function>(found) }
                    },)*
                })
            }
        }
    };
}

functions! {
    ssl_read_ex = c"SSL_read_ex": fn(*mut Ssl, *mut c_void, usize, *mut usize) -> c_int;
    ssl_write_ex = c"SSL_write_ex": fn(*mut Ssl, *const c_void, usize, *mut usize) -> c_int;
    ssl_pending = c"SSL_pending": fn(*const Ssl) -> c_int;
    ssl_get_error = c"SSL_get_error": fn(*const Ssl, c_int) -> c_int;
    ssl_set_bio = c"SSL_set_bio": fn(*mut Ssl, *mut Bio, *mut Bio);
    ssl_get_ssl_ctx = c"SSL_get_SSL_CTX": fn(*const Ssl) -> *mut SslCtx;
    bio_new = c"BIO_new": fn(*const BioMethod) -> *mut Bio;
    bio_free = c"BIO_free": fn(*mut Bio) -> c_int;
    bio_up_ref = c"BIO_up_ref": fn(*mut Bio) -> c_int;
    bio_set_data = c"BIO_set_data": fn(*mut Bio, *mut c_void);
    bio_get_data = c"BIO_get_data": fn(*mut Bio) -> *mut c_void;
    bio_set_init = c"BIO_set_init": fn(*mut Bio, c_int);
    bio_set_flags = c"BIO_set_flags": fn(*mut Bio, c_int);
    bio_clear_flags = c"BIO_clear_flags": fn(*mut Bio, c_int);
    bio_get_new_index = c"BIO_get_new_index": fn() -> c_int;
    bio_meth_new = c"BIO_meth_new": fn(c_int, *const c_char) -> *mut BioMethod;
    bio_meth_set_read = c"BIO_meth_set_read": fn(*mut BioMethod, BioRead) -> c_int;
    bio_meth_set_write = c"BIO_meth_set_write": fn(*mut BioMethod, BioWrite) -> c_int;
    bio_meth_set_ctrl = c"BIO_meth_set_ctrl": fn(*mut BioMethod, BioCtrl) -> c_int;
    err_peek_error = c"ERR_peek_error": fn() -> c_ulong;
    err_clear_error = c"ERR_clear_error": fn();
    version_num = c"OpenSSL_version_num": fn() -> c_ulong;
}

static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();

/// The library, once it has been found.
#[inline]
pub(super) fn get() -> Option<&'static Library> {
    LIBRARY.get().and_then(Option::as_ref)
}

/// Looks for the library, once per process.
pub(super) fn find() -> Res<Option<&'static Library>> {
    if LIBRARY.get().is_none() {
        let found = look()?;
        // A second thread may have been first: then its finding counts.
        let _first = LIBRARY.set(found);
    }
    Ok(get())
}

fn look() -> Res<Option<Library>> {
    if cfg!(Py_GIL_DISABLED) {
        // The calls would need the socket's own lock.
        return Ok(None);
    }
    let module = call::import(c"_ssl")?;
    let Some(path) = module.attr_opt(&value::str("__file__")?)?.filter(value::is_str) else {
        return Ok(None);
    };
    let version = module.attr(&value::str("OPENSSL_VERSION_NUMBER")?)?;
    let (path, version) = (value::text(&path)?, value::as_i64(&version)?);
    let Ok(path) = CString::new(path) else { return Ok(None) };
    Ok(open(&path).filter(|library| {
        // SAFETY: no precondition.
        let found = unsafe { (library.version_num)() };
        i64::try_from(found) == Ok(version)
    }))
}

fn open(path: &CStr) -> Option<Library> {
    // SAFETY: a NUL-terminated path; nothing is loaded that is not mapped already. The handle is kept
    // for ever, and with it the code.
    unsafe {
        let handle = dlopen(path.as_ptr(), RTLD_LAZY | RTLD_NOLOAD);
        if handle.is_null() { None } else { Library::find(handle) }
    }
}
