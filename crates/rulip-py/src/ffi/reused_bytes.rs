//! Bytes objects that are filled again when nobody else holds them any more.
//!
//! A message of a kilobyte is larger than what CPython's and malloc's caches keep: making and freeing its
//! object costs several hundred instructions, more than all the rest of receiving it. Most programs have
//! let go of a message when the next one comes. So the last few objects are kept, and the next message
//! is written into one that only we refer to: then nobody can see it change.
//!
//! Not here: where messages come from (`transport`). Attached threads, the owner's only. Invariant: an
//! object is written to only while its reference count is one, and that one is ours.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi as c;

use super::bytes::from_slice;
use super::error::Res;
use super::object::Obj;
use super::slot::{Slot, Visit};

/// About what one turn receives before it writes the answers, which hold the messages.
const PLACES: usize = 16;
/// CPython's own cache serves shorter ones.
const SHORTEST: usize = 480;
/// Longer ones are received into objects of their own.
const LONGEST: usize = 16 * 1024;

pub(crate) struct ReusedBytes {
    objects: [Slot; PLACES],
    /// How long the contents of each object may be.
    capacities: [Cell<usize>; PLACES],
    /// Where to look first.
    place: Cell<usize>,
}

impl ReusedBytes {
    pub(crate) fn new() -> Self {
        Self {
            objects: std::array::from_fn(|_| Slot::empty()),
            capacities: std::array::from_fn(|_| Cell::new(0)),
            place: Cell::new(0),
        }
    }

    /// A bytes object with these contents.
    #[inline]
    pub(crate) fn make(&self, data: &[u8]) -> Res<Obj> {
        if !(SHORTEST..=LONGEST).contains(&data.len()) {
            return from_slice(data);
        }
        let mut place = self.place.get() % PLACES;
        if !self.is_free(place) {
            place = (place + 1) % PLACES;
            self.place.set(place);
        }
        let capacity = self.capacities[place].get();
        // One that is much longer would waste memory if the program kept it.
        let fits = capacity >= data.len() && capacity - data.len() <= capacity / 4;
        if fits && self.is_free(place) {
            // SAFETY: an exact bytes object with room for the contents and the NUL behind, which nobody
            // else refers to.
            unsafe {
                let object = self.objects[place].as_ptr();
                (*object.cast::<c::PyVarObject>()).ob_size = data.len().cast_signed();
                #[allow(deprecated, reason = "the field is what hash() keeps its result in")]
                {
                    (*object.cast::<c::PyBytesObject>()).ob_shash = -1;
                }
                let contents = c::PyBytes_AS_STRING(object).cast::<u8>().cast_mut();
                contents.copy_from_nonoverlapping(data.as_ptr(), data.len());
                contents.add(data.len()).write(0);
                return Ok(Obj::from_borrowed(object));
            }
        }
        let made = from_slice(data)?;
        self.capacities[place].set(data.len());
        self.objects[place].set(Some(made.clone()));
        Ok(made)
    }

    /// Whether only we refer to what is there.
    #[inline]
    fn is_free(&self, place: usize) -> bool {
        let object = self.objects[place].as_ptr();
        // SAFETY: a live object, or none.
        !object.is_null() && unsafe { c::Py_REFCNT(object) } == 1
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.objects.iter().try_for_each(|object| object.visit(visit))
    }

    pub(crate) fn clear(&self) {
        self.objects.iter().for_each(|object| object.set(None));
    }
}
