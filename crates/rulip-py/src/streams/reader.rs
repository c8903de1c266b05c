//! The reader: what it holds, how bytes, the end and errors get in, and whom that wakes.
//!
//! | `waiting`, `waiter` | `want` | `ready` | who |
//! |---|---|---|---|
//! | none | - | none | nobody waits |
//! | a read, or a future | what must be there before it is woken | none | a read waits |
//! | none | - | cut out for the last one that waited | it was woken, and comes for it next turn |
//!
//! A waiting read is woken when it can go on, not with every chunk; what it asked for is cut out
//! of the received memory at once. Until it comes for that, `ready` still counts as the buffer's
//! head: whoever looks at the buffer meanwhile finds it there (`settle`).
//!
//! Not here: what a read takes (`reading.rs`), the Python face (`slots.rs`). Owner thread.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::rc::Rc;

use super::buffer::Buffer;
use super::read::Read;
use super::scan::Separators;
use super::slots::public_reader;
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::{EitherSlot, Obj, Raised, Ref, RefSlot, Res, Slot, bytearray, bytes, value};
use crate::future::Future;
use crate::loop_state::LoopState;
use crate::names;
use crate::transport::stream::StreamTransport;

/// asyncio's `_DEFAULT_LIMIT`.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// A subclass that has its own idea of one of these gets asyncio's own bodies of all the others.
const COLLABORATING: [&CStr; 11] = [
    c"feed_data",
    c"feed_eof",
    c"set_exception",
    c"exception",
    c"read",
    c"readline",
    c"readuntil",
    c"readexactly",
    c"_wait_for_data",
    c"_wakeup_waiter",
    c"_maybe_resume_transport",
];

/// What a waiting read waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// Any news: somebody else's waiter, or `_wait_for_data`.
    News,
    /// A line feed.
    Line,
    /// One of the separators.
    Separator,
    Exactly(usize),
    AtMost(usize),
    End,
}

/// The body of `_rulip.StreamReader`; what every message needs comes first.
#[repr(C)]
pub(crate) struct Reader {
    pub(super) eof: Cell<bool>,
    pub(super) paused: Cell<bool>,
    /// A subclass or a patch has replaced methods: asyncio's own bodies run.
    pub(super) by_name: Cell<bool>,
    /// Numbers the waits: `ready` is for the last one.
    pub(super) wait: Cell<u32>,
    /// The read that waits natively. It holds its task, so who has the reader keeps a task that nobody else has.
    pub(super) waiting: RefSlot<Read>,
    /// Or the future that is waited for.
    pub(super) waiter: Slot,
    pub(super) want: Cell<Want>,
    pub(super) ready: Slot,
    /// The bytearray that somebody got for `_buffer`: while they hold it, it is the truth.
    shared: Slot,
    pub(super) buffer: RefCell<Buffer>,
    pub(super) transport: EitherSlot<StreamTransport>,
    pub(super) limit: Cell<usize>,
    pub(super) exception: Slot,
    pub(super) loop_: EitherSlot<LoopState>,
    /// What `Want::Separator` looks for, and how far it has looked.
    pub(super) separators: RefCell<Option<Rc<Separators>>>,
    pub(super) looked_through: Cell<usize>,
    pub(super) source_traceback: Slot,
    /// As given; `None` is the default.
    pub(super) limit_given: Slot,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Reader {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        self.transport.visit(visit)?;
        self.waiting.visit(visit)?;
        self.waiter.visit(visit)?;
        [&self.shared, &self.ready, &self.exception, &self.source_traceback, &self.limit_given]
            .into_iter()
            .try_for_each(|slot| slot.visit(visit))
    }

    fn clear(&self) {
        drop(self.waiting.take());
        drop(self.waiter.take());
        drop(self.transport.take());
        drop(self.exception.take());
        drop(self.source_traceback.take());
        drop(self.limit_given.take());
        drop(self.loop_.take());
    }
}

impl Reader {
    pub(super) fn blank(class: &Obj) -> Res<Self> {
        Ok(Self {
            loop_: EitherSlot::empty(),
            transport: EitherSlot::empty(),
            buffer: RefCell::default(),
            shared: Slot::empty(),
            ready: Slot::empty(),
            wait: Cell::new(0),
            waiting: RefSlot::empty(),
            waiter: Slot::empty(),
            want: Cell::new(Want::News),
            separators: RefCell::new(None),
            looked_through: Cell::new(0),
            exception: Slot::empty(),
            source_traceback: Slot::empty(),
            limit_given: Slot::empty(),
            limit: Cell::new(DEFAULT_LIMIT),
            eof: Cell::new(false),
            paused: Cell::new(false),
            by_name: Cell::new(super::overrides(class, public_reader(), &COLLABORATING)?),
        })
    }

    /// Bytes that nobody has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ready_len() + self.buffer.borrow().len()
    }

    /// Bytes that were cut out for a read.
    #[inline]
    pub(crate) fn ready_len(&self) -> usize {
        self.ready.get().map_or(0, |ready| bytes::len(&ready))
    }

    /// Bytes may come without a Python call; after the end they may not come at all.
    #[inline]
    pub(crate) fn takes_natively(&self) -> bool {
        !self.by_name.get() && !self.eof.get()
    }

    /// Whether `exception()` is ours.
    pub(crate) fn is_exception_native(&self) -> bool {
        !self.by_name.get()
    }

    /// Whether a name, set on an instance, takes a method's place.
    pub(super) fn note_patch(&self, name: &Obj) {
        if COLLABORATING.iter().any(|method| value::text_is(name, method)) {
            self.by_name.set(true);
        }
    }

    /// A limit as a number, for what may be a float or beyond all numbers.
    pub(super) fn set_limit(&self, limit: &Obj) -> Res<()> {
        let number = value::as_f64(limit)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float saturates, which is what is wanted"
        )]
        self.limit.set(number as usize);
        self.limit_given.set(Some(limit.clone()));
        Ok(())
    }
}

/// Whether a read may be woken by the rest of a chunk alone: nothing stands before it.
fn cut(want: Want, data: &[u8], limit: usize) -> Option<usize> {
    match want {
        Want::Line => memchr::memchr(b'\n', data).filter(|at| *at <= limit).map(|at| at + 1),
        Want::Exactly(n) => (data.len() >= n).then_some(n),
        Want::AtMost(n) => Some(n.min(data.len())),
        Want::News | Want::Separator | Want::End => None,
    }
}

impl Ref<Reader> {
    /// `feed_data(data)`, from whoever has received it.
    pub(crate) fn feed(&self, data: &[u8]) -> Res<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.load()?;
        let Some(count) = self.asked_for(data) else { return self.add(data) };
        let (head, rest) = data.split_at(count);
        self.ready.set(Some(bytes::from_slice(head)?));
        if !rest.is_empty() {
            self.buffer.borrow_mut().append(rest)?;
        }
        self.wake()?;
        self.restrain()
    }

    /// As [`Ref::feed`], for an exact bytes object: who waits for just these bytes gets the object itself.
    /// True if somebody did.
    pub(crate) fn feed_bytes(&self, data: &Obj) -> Res<bool> {
        self.load()?;
        let whole =
            bytes::with(data, |data| !data.is_empty() && self.asked_for(data) == Some(data.len()));
        if !whole {
            return bytes::with(data, |data| self.feed(data)).map(|()| false);
        }
        self.ready.set(Some(data.clone()));
        self.wake()?;
        self.restrain().map(|()| true)
    }

    fn add(&self, data: &[u8]) -> Res<()> {
        self.buffer.borrow_mut().append(data)?;
        self.received()
    }

    /// How much of `data` the read that waits can be woken with, where nothing stands before it.
    #[inline]
    fn asked_for(&self, data: &[u8]) -> Option<usize> {
        let alone = self.is_waited_for()
            && !self.shared.is_set()
            && !self.ready.is_set()
            && self.buffer.borrow().is_empty();
        if alone { cut(self.want.get(), data, self.limit.get()) } else { None }
    }

    /// Has room for about `wanted` bytes behind the buffer filled by `fill`, which says how many it wrote.
    pub(crate) fn gather<R>(
        &self,
        wanted: usize,
        fill: impl FnOnce(&mut [u8]) -> (std::io::Result<usize>, R),
    ) -> Res<(std::io::Result<usize>, R)> {
        let mut buffer = self.buffer.borrow_mut();
        let (outcome, more) = fill(buffer.room(wanted)?);
        if let Ok(count) = outcome {
            buffer.filled(count);
        }
        Ok((outcome, more))
    }

    /// More stands in the buffer: wakes who waits for it, stops the transport where it is too much.
    pub(crate) fn received(&self) -> Res<()> {
        self.save()?;
        if self.is_waited_for() {
            if !self.is_satisfied() {
                // Who waits for more must get more.
                return Ok(());
            }
            self.wake()?;
        } else if self.has_waiter() {
            self.wake()?;
        }
        self.restrain()
    }

    /// Somebody waits whom nobody has cancelled.
    #[inline]
    fn is_waited_for(&self) -> bool {
        if let Some(read) = self.waiting.get() {
            return read.is_waiting();
        }
        match self.waiter.get() {
            Some(waiter) => Ref::<Future>::exact(&waiter).is_none_or(|waiter| !waiter.is_done()),
            None => false,
        }
    }

    /// `_waiter is not None`
    #[inline]
    pub(super) fn has_waiter(&self) -> bool {
        self.waiting.is_set() || self.waiter.is_set()
    }

    /// `_waiter`: a future, even where a read waits without one.
    pub(super) fn waiter_obj(&self) -> Res<Obj> {
        if let Some(read) = self.waiting.get() {
            Read::into_future(&read)?;
        }
        Ok(self.waiter.get_or_none())
    }

    /// `_waiter = future`: a read that waits goes on to wait for what it had.
    pub(super) fn set_waiter(&self, waiter: Option<&Obj>) {
        self.want.set(Want::News);
        self.waiting.set(None);
        self.waiter.set(waiter.filter(|waiter| !waiter.is_none()).cloned());
    }

    /// Whether the next chunk belongs behind what is here: received in place, it need not be moved.
    pub(crate) fn is_gathering(&self) -> bool {
        !self.shared.is_set() && !self.buffer.borrow().is_empty() && self.is_waited_for()
    }

    /// `_wakeup_waiter()`.
    #[inline]
    pub(super) fn wake(&self) -> Res<()> {
        self.want.set(Want::News);
        if let Some(read) = self.waiting.take() {
            return Read::wake(&read);
        }
        if self.waiter.is_set() { self.wake_future() } else { Ok(()) }
    }

    fn wake_future(&self) -> Res<()> {
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        if let Some(future) = Ref::<Future>::exact(&waiter) {
            return if future.is_done() { Ok(()) } else { future.set_result(Obj::none()) };
        }
        if !waiter.method0(&value::interned(c"cancelled")?)?.is_true()? {
            waiter.method1(&names::get().set_result, &Obj::none())?;
        }
        Ok(())
    }

    /// `feed_eof()`.
    pub(crate) fn feed_eof(&self) -> Res<()> {
        self.eof.set(true);
        self.wake()
    }

    /// `set_exception(exc)`.
    pub(super) fn set_exception(&self, exc: &Obj) -> Res<()> {
        self.exception.set(Some(exc.clone()));
        self.want.set(Want::News);
        if let Some(read) = self.waiting.get() {
            Read::into_future(&read)?;
        }
        let Some(waiter) = self.waiter.take() else { return Ok(()) };
        if !waiter.method0(&value::interned(c"cancelled")?)?.is_true()? {
            waiter.method1(&names::get().set_exception, exc)?;
        }
        Ok(())
    }

    // ---- flow control

    /// Stops the transport when twice the limit is here.
    fn restrain(&self) -> Res<()> {
        if self.paused.get()
            || !self.transport.is_set()
            || self.len() <= self.limit.get().saturating_mul(2)
        {
            return Ok(());
        }
        if let Some(transport) = self.native_transport() {
            transport.pause_reading();
            self.paused.set(true);
            return Ok(());
        }
        let Some(transport) = self.transport.get() else { return Ok(()) };
        match transport.method0(&value::interned(c"pause_reading")?) {
            Ok(_) => self.paused.set(true),
            Err(raised) => {
                let exc = raised.take();
                if !exc.is_instance(&crate::task::builtin("NotImplementedError")?)? {
                    return Err(Raised::restore(exc));
                }
                // It cannot be paused: all must be buffered. Do not ask again.
                drop(self.transport.take());
            }
        }
        Ok(())
    }

    #[inline]
    fn native_transport(&self) -> Option<Ref<StreamTransport>> {
        self.transport.get_native().filter(|transport| transport.is_unpatched())
    }

    /// `_maybe_resume_transport()`.
    #[inline]
    pub(super) fn resume_if_low(&self) -> Res<()> {
        if self.paused.get() && self.len() <= self.limit.get() { self.resume() } else { Ok(()) }
    }

    pub(super) fn resume(&self) -> Res<()> {
        self.paused.set(false);
        if let Some(transport) = self.native_transport() {
            transport.resume_reading();
            return Ok(());
        }
        self.transport.get_or_none().method0(&value::interned(c"resume_reading")?).map(drop)
    }

    // ---- the buffer as Python sees it

    /// Puts what was cut out for a read back in front of the rest.
    #[inline]
    pub(super) fn settle(&self) {
        if let Some(ready) = self.ready.take() {
            bytes::with(&ready, |data| self.buffer.borrow_mut().prepend(data));
            self.looked_through.set(0);
        }
    }

    /// `reader._buffer`: a bytearray that is the buffer as long as somebody holds it.
    pub(super) fn share(&self) -> Res<Obj> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        self.settle();
        let made = bytearray::from_slice(self.buffer.borrow().bytes())?;
        self.buffer.borrow_mut().clear();
        self.shared.set(Some(made.clone()));
        Ok(made)
    }

    /// `reader._buffer = bytearray`.
    pub(super) fn replace_buffer(&self, buffer: &Obj) -> Res<()> {
        if !bytearray::is(buffer) {
            return Err(Raised::type_error(&format!(
                "a reader's buffer is a bytearray, not {}",
                buffer.type_name()
            )));
        }
        drop(self.ready.take());
        self.buffer.borrow_mut().clear();
        self.shared.set(Some(buffer.clone()));
        Ok(())
    }

    /// The buffer's truth is here; [`Ref::save`] must follow what changes it.
    #[inline]
    pub(super) fn load(&self) -> Res<()> {
        if self.shared.is_set() { self.load_shared() } else { Ok(()) }
    }

    #[cold]
    fn load_shared(&self) -> Res<()> {
        let Some(shared) = self.shared.get() else { return Ok(()) };
        value::with_buffer(&shared, |data| self.buffer.borrow_mut().overwrite(data))??;
        self.looked_through.set(0);
        // Ours and the one just taken: nobody else has it any more.
        if shared.refcount() == 2 {
            drop(self.shared.take());
        }
        Ok(())
    }

    /// Whoever holds the bytearray sees what has changed.
    #[inline]
    pub(super) fn save(&self) -> Res<()> {
        match self.shared.get() {
            None => Ok(()),
            Some(shared) => self.save_shared(&shared),
        }
    }

    #[cold]
    fn save_shared(&self, shared: &Obj) -> Res<()> {
        // A copy: the error of a refused change is an object, and making one may run Python.
        let bytes = self.buffer.borrow().bytes().to_vec();
        bytearray::overwrite(shared, &bytes)
    }
}
