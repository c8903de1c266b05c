//! A BIO of our own: OpenSSL reads records where the kernel put them, and writes into buffers that are sent
//! as they are.
//!
//! What lives here: the buffers of one connection, and the three functions that OpenSSL calls. Not
//! here: when (`mod.rs`). They run within calls into OpenSSL, perhaps without the GIL (Python's own
//! methods release it), so they touch nothing of Python's.
//!
//! Invariant: `lent` points into memory that outlives the [`super::Lent`] guard that set it; a BIO whose
//! connection is gone has no data and is always empty.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::library::{Bio, BioMethod, Library, get};

/// `BIO_TYPE_SOURCE_SINK`.
const SOURCE_SINK: c_int = 0x0400;
/// `BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY`.
const RETRY_READ: c_int = 0x01 | 0x08;
/// `BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY`.
const RETRY: c_int = 0x07 | 0x08;
const CTRL_PENDING: c_int = 10;
const CTRL_FLUSH: c_int = 11;
const CTRL_WPENDING: c_int = 13;

/// Records on their way in and out.
pub(super) struct Buffers {
    /// Records received and not read yet, but for those lent.
    stored: Vec<u8>,
    /// How much of `stored` has been read.
    taken: usize,
    /// Memory of the caller's, read after `stored`.
    lent: *const u8,
    lent_len: usize,
    /// Records to send.
    pub(super) outgoing: Vec<u8>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { stored: Vec::new(), taken: 0, lent: ptr::null(), lent_len: 0, outgoing: Vec::new() }
    }

    /// Records not read yet.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.stored.len() - self.taken + self.lent_len
    }

    pub(super) fn store(&mut self, records: &[u8]) {
        self.stored.extend_from_slice(records);
    }

    #[inline]
    pub(super) fn lend(&mut self, records: &[u8]) {
        self.lent = records.as_ptr();
        self.lent_len = records.len();
    }

    /// The lent memory goes back: what is left in it is kept.
    #[inline]
    pub(super) fn end_loan(&mut self) {
        if self.lent_len > 0 {
            // SAFETY: the rest of the memory lent, which the guard's borrow keeps alive until after this.
            let rest = unsafe { std::slice::from_raw_parts(self.lent, self.lent_len) };
            self.stored.extend_from_slice(rest);
        }
        (self.lent, self.lent_len) = (ptr::null(), 0);
    }

    /// Copies up to `out.len()` bytes of records, at least one unless there are none.
    #[inline]
    fn read(&mut self, out: *mut u8, len: usize) -> usize {
        let stored = &self.stored[self.taken..];
        if !stored.is_empty() {
            let count = stored.len().min(len);
            // SAFETY: OpenSSL's buffer of `len` bytes, which is none of ours.
            unsafe { ptr::copy_nonoverlapping(stored.as_ptr(), out, count) };
            self.taken += count;
            if self.taken == self.stored.len() {
                // Seldom used, and then for the size of a message: not kept.
                (self.stored, self.taken) = (Vec::new(), 0);
            }
            return count;
        }
        let count = self.lent_len.min(len);
        if count > 0 {
            // SAFETY: at most what is left of the memory lent; OpenSSL's buffer of `len` bytes.
            unsafe {
                ptr::copy_nonoverlapping(self.lent, out, count);
                self.lent = self.lent.add(count);
            }
            self.lent_len -= count;
        }
        count
    }

    #[inline]
    fn write(&mut self, records: &[u8]) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = crate::transport::chunk::spare();
        }
        self.outgoing.extend_from_slice(records);
    }
}

/// The buffers behind a BIO, unless the connection is gone.
///
/// # Safety
/// `bio` is one of ours, in a call from OpenSSL.
#[inline]
unsafe fn buffers<'a>(library: &Library, bio: *mut Bio) -> Option<&'a mut Buffers> {
    // SAFETY: the data is null or the buffers, which nobody else looks at during a call into OpenSSL.
    unsafe { (library.bio_get_data)(bio).cast::<Buffers>().as_mut() }
}

unsafe extern "C" fn read(bio: *mut Bio, out: *mut c_char, len: c_int) -> c_int {
    let (Some(library), Ok(len)) = (get(), usize::try_from(len)) else { return -1 };
    // SAFETY: called by OpenSSL on a BIO of ours, with a buffer of `len` bytes.
    unsafe {
        (library.bio_clear_flags)(bio, RETRY);
        let count = buffers(library, bio).map_or(0, |buffers| buffers.read(out.cast(), len));
        if count > 0 {
            return c_int::try_from(count).unwrap_or(c_int::MAX);
        }
        (library.bio_set_flags)(bio, RETRY_READ);
        -1
    }
}

unsafe extern "C" fn write(bio: *mut Bio, data: *const c_char, len: c_int) -> c_int {
    let (Some(library), Ok(count)) = (get(), usize::try_from(len)) else { return -1 };
    // SAFETY: called by OpenSSL on a BIO of ours, with `len` bytes.
    unsafe {
        (library.bio_clear_flags)(bio, RETRY);
        if count > 0
            && let Some(buffers) = buffers(library, bio)
        {
            buffers.write(std::slice::from_raw_parts(data.cast(), count));
        }
    }
    len
}

unsafe extern "C" fn ctrl(bio: *mut Bio, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    let Some(library) = get() else { return 0 };
    // SAFETY: called by OpenSSL on a BIO of ours.
    let buffers = unsafe { buffers(library, bio) };
    let count = |count: usize| c_long::try_from(count).unwrap_or(c_long::MAX);
    match command {
        CTRL_FLUSH => 1,
        CTRL_PENDING => buffers.map_or(0, |buffers| count(buffers.pending())),
        CTRL_WPENDING => buffers.map_or(0, |buffers| count(buffers.outgoing.len())),
        _ => 0,
    }
}

/// A new BIO over these buffers; null where OpenSSL has no memory.
///
/// # Safety
/// `buffers` stays valid until the BIO's data is set to null.
pub(super) unsafe fn new(library: &Library, buffers: *mut Buffers) -> *mut Bio {
    static METHOD: AtomicPtr<BioMethod> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: documented calls in their documented order; a method lives as long as the process.
    unsafe {
        let mut method = METHOD.load(Ordering::Relaxed);
        if method.is_null() {
            let kind = (library.bio_get_new_index)() | SOURCE_SINK;
            method = (library.bio_meth_new)(kind, c"rulip".as_ptr());
            if method.is_null() {
                return ptr::null_mut();
            }
            (library.bio_meth_set_read)(method, read);
            (library.bio_meth_set_write)(method, write);
            (library.bio_meth_set_ctrl)(method, ctrl);
            METHOD.store(method, Ordering::Relaxed);
        }
        let bio = (library.bio_new)(method);
        if !bio.is_null() {
            (library.bio_set_data)(bio, buffers.cast());
            (library.bio_set_init)(bio, 1);
        }
        bio
    }
}
