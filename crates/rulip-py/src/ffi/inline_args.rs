//! A callback's positional arguments, kept inside its handle: up to three without a tuple.
//!
//! The places stand behind one scratch place, so that a bound method is called without copying
//! its arguments.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use pyo3::ffi as c;

use super::error::Res;
use super::object::Obj;
use super::slot::Visit;
use super::value;

/// `count` of arguments that stand in a tuple in the first place.
const PACKED: u8 = u8::MAX;
const INLINE: usize = 3;

/// The arguments. Dropping them is the owner's business: see [`InlineArgs::take`].
pub(crate) struct InlineArgs {
    count: Cell<u8>,
    places: Cell<[*mut c::PyObject; INLINE]>,
}

impl InlineArgs {
    #[inline(always)]
    pub(crate) fn new(args: &[Obj]) -> Res<Self> {
        let nothing = ptr::null_mut();
        let own = |arg: &Obj| arg.clone().into_ptr();
        // Written out: a loop over so few becomes a call of memcpy.
        let (count, places) = match args {
            [] => (0, [nothing; INLINE]),
            [a] => (1, [own(a), nothing, nothing]),
            [a, b] => (2, [own(a), own(b), nothing]),
            [a, b, c] => (3, [own(a), own(b), own(c)]),
            _ => (PACKED, [value::tuple_of(args)?.into_ptr(), nothing, nothing]),
        };
        Ok(Self { count: Cell::new(count), places: Cell::new(places) })
    }

    /// Those of any iterable; a tuple stays the one it is.
    pub(crate) fn of(iterable: &Obj) -> Res<Self> {
        if value::is_exact_tuple(iterable) {
            let places = [iterable.clone().into_ptr(), ptr::null_mut(), ptr::null_mut()];
            return Ok(Self { count: Cell::new(PACKED), places: Cell::new(places) });
        }
        Self::new(&value::iterate(iterable)?)
    }

    #[inline]
    pub(crate) fn none() -> Self {
        Self { count: Cell::new(0), places: Cell::new([ptr::null_mut(); INLINE]) }
    }

    /// Puts others in place of them, and hands the old ones out.
    pub(crate) fn replace(&self, other: Self) -> Self {
        let count = self.count.replace(other.count.replace(0));
        let places = self.places.replace(other.places.replace([ptr::null_mut(); INLINE]));
        Self { count: Cell::new(count), places: Cell::new(places) }
    }

    /// One argument, taken over.
    #[inline]
    pub(crate) fn one(arg: Obj) -> Self {
        Self {
            count: Cell::new(1),
            places: Cell::new([arg.into_ptr(), ptr::null_mut(), ptr::null_mut()]),
        }
    }

    /// Calls `callable` with them, while nobody else can take them away.
    #[inline(always)]
    pub(crate) fn call(&self, callable: &Obj) -> Res<Obj> {
        let places = self.places.get();
        let count = self.count.get();
        if count == PACKED {
            return self.call_packed(callable);
        }
        let mut stack = [ptr::null_mut(), places[0], places[1], places[2]];
        // SAFETY: a scratch place, then `count` objects that the places own.
        unsafe { callable.call_raw(stack.as_mut_ptr(), usize::from(count)) }
    }

    /// Calls `callable` with references of its own: somebody may take the arguments away.
    pub(crate) fn call_shared(&self, callable: &Obj) -> Res<Obj> {
        let count = self.count.get();
        if count == PACKED {
            return self.call_packed(callable);
        }
        let places = self.places.get();
        let kept = Self { count: Cell::new(count), places: Cell::new(places) };
        for place in &places[..usize::from(count)] {
            // SAFETY: the first `count` places own live objects; `kept` gives these back.
            std::mem::forget(unsafe { Obj::from_borrowed(*place) });
        }
        kept.call(callable)
    }

    #[cold]
    fn call_packed(&self, callable: &Obj) -> Res<Obj> {
        callable.call_tuple(&self.to_tuple()?, None)
    }

    /// The arguments as a tuple.
    pub(crate) fn to_tuple(&self) -> Res<Obj> {
        let places = self.places.get();
        let count = self.count.get();
        if count == PACKED {
            // SAFETY: the first place owns a tuple.
            return Ok(unsafe { Obj::from_borrowed(places[0]) });
        }
        // SAFETY: the first `count` places own live objects.
        let items: Vec<Obj> = places[..usize::from(count)]
            .iter()
            .map(|place| unsafe { Obj::from_borrowed(*place) })
            .collect();
        value::tuple_of(&items)
    }

    /// Moves the references out, for the caller to drop.
    #[inline]
    pub(crate) fn take(&self) -> [Option<Obj>; INLINE] {
        let places = self.places.replace([ptr::null_mut(); INLINE]);
        self.count.set(0);
        // SAFETY: each place that is set owns its reference, which moves out.
        places.map(|place| (!place.is_null()).then(|| unsafe { Obj::from_owned_unchecked(place) }))
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.places.get().iter().try_for_each(|place| visit.raw(*place))
    }
}

impl Drop for InlineArgs {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}
