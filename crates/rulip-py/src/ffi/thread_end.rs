//! What becomes of a daemon thread that is in a loop or a task while the interpreter ends.
//!
//! Up to Python 3.13 such a thread, once it wants the GIL again, ends by `pthread_exit()`, which unwinds its
//! stack; frames of Rust can't be unwound by that, and the process would abort. So the thread stays where it
//! is until the process is gone, as from Python 3.14 on. Not here: threads that end by themselves.
//! The thread that runs a loop, or a native task on another kind of loop. Invariant: what is registered with the C library is taken back before it is
//! freed, the latest first.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Duration;

/// The C library's `struct _pthread_cleanup_buffer`: its own to fill.
#[repr(C)]
struct Buffer {
    words: [*mut c_void; 4],
}

unsafe extern "C" {
    fn _pthread_cleanup_push(
        buffer: *mut Buffer,
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: c_int);
}

/// While it lives, its thread is not ended half-way.
///
/// On the heap: the C library asks what is registered at an address below a frame before it unwinds that
/// frame, and takes any address outside of the stack for one.
pub(crate) struct StaysToTheEnd(*mut Buffer);

impl StaysToTheEnd {
    pub(crate) fn new() -> Self {
        let buffer = Box::into_raw(Box::new(Buffer { words: [ptr::null_mut(); 4] }));
        // SAFETY: the buffer lives until `drop` has taken it back.
        unsafe { _pthread_cleanup_push(buffer, stay, ptr::null_mut()) };
        Self(buffer)
    }
}

impl Drop for StaysToTheEnd {
    fn drop(&mut self) {
        // SAFETY: pushed by `new`, on this thread: it holds a pointer, and is not Send. Guards are
        // dropped in the order of their frames, so it is the latest.
        unsafe {
            _pthread_cleanup_pop(self.0, 0);
            drop(Box::from_raw(self.0));
        }
    }
}

unsafe extern "C" fn stay(_: *mut c_void) {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
