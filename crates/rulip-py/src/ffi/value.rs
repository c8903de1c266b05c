//! Python values made from Rust values and read back.

use pyo3::ffi as c;

use super::error::{Raised, Res, status};
use super::object::Obj;

pub(crate) fn str(text: &str) -> Res<Obj> {
    // SAFETY: valid UTF-8; an owned result or an exception.
    unsafe {
        Obj::from_owned(c::PyUnicode_FromStringAndSize(
            text.as_ptr().cast(),
            text.len().cast_signed(),
        ))
    }
}

/// An interned name.
pub(crate) fn interned(text: &std::ffi::CStr) -> Res<Obj> {
    // SAFETY: NUL-terminated UTF-8; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyUnicode_InternFromString(text.as_ptr())) }
}

/// The text of a str object.
pub(crate) fn text(obj: &Obj) -> Res<String> {
    let mut len = 0;
    // SAFETY: raises unless it is a str; the text belongs to the live object.
    unsafe {
        let ptr = c::PyUnicode_AsUTF8AndSize(obj.as_ptr(), &mut len);
        if ptr.is_null() {
            return Err(Raised::assume_set());
        }
        let bytes = std::slice::from_raw_parts(ptr.cast::<u8>(), len.unsigned_abs());
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Whether a str object has exactly this text.
pub(crate) fn text_is(obj: &Obj, text: &std::ffi::CStr) -> bool {
    // SAFETY: keyword names are str objects.
    unsafe { c::PyUnicode_CompareWithASCIIString(obj.as_ptr(), text.as_ptr()) == 0 }
}

pub(crate) fn is_str(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyUnicode_Check(obj.as_ptr()) != 0 }
}

pub(crate) fn is_exact_str(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyUnicode_CheckExact(obj.as_ptr()) != 0 }
}

/// `str(obj)`.
pub(crate) fn str_of(obj: &Obj) -> Res<Obj> {
    // SAFETY: a live object; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyObject_Str(obj.as_ptr())) }
}

pub(crate) fn float(value: f64) -> Res<Obj> {
    // SAFETY: an owned result or an exception.
    unsafe { Obj::from_owned(c::PyFloat_FromDouble(value)) }
}

#[inline]
pub(crate) fn is_exact_float(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyFloat_CheckExact(obj.as_ptr()) != 0 }
}

/// A number as f64; raises `TypeError` for what is none.
#[inline]
pub(crate) fn as_f64(obj: &Obj) -> Res<f64> {
    // SAFETY: a live object; the two exact types are read without making a float of an int.
    unsafe {
        if c::PyFloat_CheckExact(obj.as_ptr()) != 0 {
            return Ok(c::PyFloat_AS_DOUBLE(obj.as_ptr()));
        }
        let value = if c::PyLong_CheckExact(obj.as_ptr()) != 0 {
            c::PyLong_AsDouble(obj.as_ptr())
        } else {
            c::PyFloat_AsDouble(obj.as_ptr())
        };
        if value == -1.0 && !c::PyErr_Occurred().is_null() {
            return Err(Raised::assume_set());
        }
        Ok(value)
    }
}

/// The value of a number that is exactly a float or an int; others have arithmetic of their own.
#[inline]
pub(crate) fn exact_number(obj: &Obj) -> Res<Option<f64>> {
    // SAFETY: a live object.
    let plain = unsafe {
        c::PyFloat_CheckExact(obj.as_ptr()) != 0 || c::PyLong_CheckExact(obj.as_ptr()) != 0
    };
    if plain { as_f64(obj).map(Some) } else { Ok(None) }
}

pub(crate) fn int(value: i64) -> Res<Obj> {
    // SAFETY: an owned result or an exception.
    unsafe { Obj::from_owned(c::PyLong_FromLongLong(value)) }
}

pub(crate) fn uint(value: u64) -> Res<Obj> {
    // SAFETY: an owned result or an exception.
    unsafe { Obj::from_owned(c::PyLong_FromUnsignedLongLong(value)) }
}

pub(crate) fn is_int(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyLong_Check(obj.as_ptr()) != 0 }
}

/// Whether it is exactly an int, and no bool.
pub(crate) fn is_exact_int(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyLong_CheckExact(obj.as_ptr()) != 0 }
}

pub(crate) fn as_i64(obj: &Obj) -> Res<i64> {
    // SAFETY: a live object.
    unsafe {
        let value = c::PyLong_AsLongLong(obj.as_ptr());
        if value == -1 && !c::PyErr_Occurred().is_null() {
            return Err(Raised::assume_set());
        }
        Ok(value)
    }
}

/// The int; one that does not fit is the nearest that does.
pub(crate) fn nearest_i64(obj: &Obj) -> Res<i64> {
    let mut overflow = 0;
    // SAFETY: a live object.
    unsafe {
        let value = c::PyLong_AsLongLongAndOverflow(obj.as_ptr(), &raw mut overflow);
        match overflow {
            0 if value == -1 && !c::PyErr_Occurred().is_null() => Err(Raised::assume_set()),
            0 => Ok(value),
            1 => Ok(i64::MAX),
            _ => Ok(i64::MIN),
        }
    }
}

/// A number of bytes to compare with, of any kind: a fraction of a byte makes no difference.
pub(crate) fn water_mark(obj: &Obj) -> Res<i64> {
    // SAFETY: a live object.
    if unsafe { c::PyFloat_Check(obj.as_ptr()) } == 0 {
        return nearest_i64(obj);
    }
    let mark = as_f64(obj)?;
    #[allow(clippy::cast_possible_truncation, reason = "it saturates")]
    Ok(if mark.is_nan() { -1 } else { mark.floor() as i64 })
}

/// An exact int that fits.
#[inline]
pub(crate) fn exact_i64(obj: &Obj) -> Option<i64> {
    // SAFETY: a live object; of an exact int nothing is called, and no exception is set.
    unsafe {
        if c::PyLong_CheckExact(obj.as_ptr()) == 0 {
            return None;
        }
        let mut overflow = 0;
        let value = c::PyLong_AsLongLongAndOverflow(obj.as_ptr(), &mut overflow);
        (overflow == 0).then_some(value)
    }
}

/// `one OPERATOR other`, for the comparison operators of the C API.
pub(crate) fn compare(one: &Obj, other: &Obj, operator: Comparison) -> Res<bool> {
    let code = match operator {
        Comparison::Less => c::Py_LT,
        Comparison::LessOrEqual => c::Py_LE,
        Comparison::Greater => c::Py_GT,
        Comparison::GreaterOrEqual => c::Py_GE,
    };
    // SAFETY: live objects; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyObject_RichCompare(one.as_ptr(), other.as_ptr(), code))? }
        .is_true()
}

/// Which comparison.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// `one + other`.
pub(crate) fn add(one: &Obj, other: &Obj) -> Res<Obj> {
    // SAFETY: live objects; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyNumber_Add(one.as_ptr(), other.as_ptr())) }
}

/// `sequence[i]`.
pub(crate) fn item(sequence: &Obj, i: usize) -> Res<Obj> {
    // SAFETY: a live object; an owned result or an exception.
    unsafe { Obj::from_owned(c::PySequence_GetItem(sequence.as_ptr(), i.cast_signed())) }
}

/// Whether `class` is a class that derives from `base`.
pub(crate) fn derives_from(class: *mut c::PyTypeObject, base: &Obj) -> bool {
    // SAFETY: a live type, and a class that was imported.
    unsafe { c::PyType_IsSubtype(class, base.as_ptr().cast()) != 0 }
}

/// The descriptor of an int or of an object with `fileno()`.
pub(crate) fn as_descriptor(obj: &Obj) -> Res<i32> {
    // SAFETY: a live object.
    let fd = unsafe { c::PyObject_AsFileDescriptor(obj.as_ptr()) };
    status(fd).map(|()| fd)
}

/// `one <= other`.
pub(crate) fn less_or_equal(one: &Obj, other: &Obj) -> Res<bool> {
    // SAFETY: live objects.
    let code = unsafe { c::PyObject_RichCompareBool(one.as_ptr(), other.as_ptr(), c::Py_LE) };
    status(code).map(|()| code != 0)
}

/// `len(obj)`.
pub(crate) fn len(obj: &Obj) -> Res<usize> {
    // SAFETY: a live object.
    let len = unsafe { c::PyObject_Length(obj.as_ptr()) };
    usize::try_from(len).map_err(|_| Raised::assume_set())
}

/// `hash(obj)`.
pub(crate) fn hash(obj: &Obj) -> Res<isize> {
    // SAFETY: a live object.
    let hash = unsafe { c::PyObject_Hash(obj.as_ptr()) };
    if hash == -1 { Err(Raised::assume_set()) } else { Ok(hash) }
}

pub(crate) fn tuple(items: &[&Obj]) -> Res<Obj> {
    // SAFETY: a new tuple whose places are filled, each with a reference of its own.
    unsafe {
        let made = Obj::from_owned(c::PyTuple_New(items.len().cast_signed()))?;
        for (i, item) in items.iter().enumerate() {
            c::PyTuple_SET_ITEM(made.as_ptr(), i.cast_signed(), (*item).clone().into_ptr());
        }
        Ok(made)
    }
}

/// A tuple of the objects in a slice.
pub(crate) fn tuple_of(items: &[Obj]) -> Res<Obj> {
    // SAFETY: as in `tuple`.
    unsafe {
        let made = Obj::from_owned(c::PyTuple_New(items.len().cast_signed()))?;
        for (i, item) in items.iter().enumerate() {
            c::PyTuple_SET_ITEM(made.as_ptr(), i.cast_signed(), item.clone().into_ptr());
        }
        Ok(made)
    }
}

pub(crate) fn list(items: Vec<Obj>) -> Res<Obj> {
    // SAFETY: a new list whose places are filled, each with the item's own reference.
    unsafe {
        let made = Obj::from_owned(c::PyList_New(items.len().cast_signed()))?;
        for (i, item) in items.into_iter().enumerate() {
            c::PyList_SET_ITEM(made.as_ptr(), i.cast_signed(), item.into_ptr());
        }
        Ok(made)
    }
}

/// Whether it is exactly a tuple.
pub(crate) fn is_exact_tuple(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyTuple_CheckExact(obj.as_ptr()) != 0 }
}

/// A frozenset of the objects in a slice.
#[cfg(Py_3_14)]
pub(crate) fn frozenset(items: &[Obj]) -> Res<Obj> {
    let items = tuple_of(items)?;
    // SAFETY: a live iterable; an owned result or an exception.
    unsafe { Obj::from_owned(c::PyFrozenSet_New(items.as_ptr())) }
}

/// A set of the objects in a slice.
pub(crate) fn set(items: &[Obj]) -> Res<Obj> {
    let items = tuple_of(items)?;
    // SAFETY: a live iterable; an owned result or an exception.
    unsafe { Obj::from_owned(c::PySet_New(items.as_ptr())) }
}

/// The distinct items of what is exactly a set, frozenset, list or tuple.
pub(crate) fn distinct(collection: &Obj) -> Res<Option<Vec<Obj>>> {
    // SAFETY: a live object; a new set is owned, or an exception is set.
    unsafe {
        let ptr = collection.as_ptr();
        if c::PyAnySet_CheckExact(ptr) != 0 {
            return iterate(collection).map(Some);
        }
        if c::PyList_CheckExact(ptr) == 0 && c::PyTuple_CheckExact(ptr) == 0 {
            return Ok(None);
        }
        iterate(&Obj::from_owned(c::PySet_New(ptr))?).map(Some)
    }
}

/// `list.append(item)`.
pub(crate) fn append(list: &Obj, item: &Obj) -> Res<()> {
    // SAFETY: checks that it is a list; a live item.
    status(unsafe { c::PyList_Append(list.as_ptr(), item.as_ptr()) })
}

/// Whether it is a tuple.
pub(crate) fn is_tuple(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe { c::PyTuple_Check(obj.as_ptr()) != 0 }
}

/// The items of a tuple, as new references.
pub(crate) fn tuple_items(tuple: &Obj) -> Vec<Obj> {
    // SAFETY: only called on tuples.
    unsafe {
        let len = c::PyTuple_GET_SIZE(tuple.as_ptr());
        (0..len).map(|i| Obj::from_borrowed(c::PyTuple_GET_ITEM(tuple.as_ptr(), i))).collect()
    }
}

pub(crate) fn dict() -> Res<Obj> {
    // SAFETY: an owned result or an exception.
    unsafe { Obj::from_owned(c::PyDict_New()) }
}

pub(crate) fn dict_set(dict: &Obj, key: &Obj, value: &Obj) -> Res<()> {
    // SAFETY: a dict and live objects.
    status(unsafe { c::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) })
}

/// `dict.get(key)`.
pub(crate) fn dict_get(dict: &Obj, key: &Obj) -> Res<Option<Obj>> {
    // SAFETY: a dict and a live key; the borrowed result gets a reference of its own.
    unsafe {
        let found = c::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if found.is_null() {
            if !c::PyErr_Occurred().is_null() {
                return Err(Raised::assume_set());
            }
            return Ok(None);
        }
        Ok(Some(Obj::from_borrowed(found)))
    }
}

/// Removes a key; a missing one is no error.
pub(crate) fn dict_remove(dict: &Obj, key: &Obj) -> Res<()> {
    if dict_get(dict, key)?.is_some() {
        // SAFETY: a dict and a live key.
        return status(unsafe { c::PyDict_DelItem(dict.as_ptr(), key.as_ptr()) });
    }
    Ok(())
}

/// Copies one dict into another.
pub(crate) fn dict_update(dict: &Obj, other: &Obj) -> Res<()> {
    // SAFETY: two dicts.
    status(unsafe { c::PyDict_Update(dict.as_ptr(), other.as_ptr()) })
}

/// A dict's pairs, as new references.
pub(crate) fn dict_items(dict: &Obj) -> Vec<(Obj, Obj)> {
    let mut items = Vec::new();
    let (mut pos, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: a dict that nothing changes while we walk it.
    unsafe {
        while c::PyDict_Next(dict.as_ptr(), &mut pos, &mut key, &mut value) != 0 {
            items.push((Obj::from_borrowed(key), Obj::from_borrowed(value)));
        }
    }
    items
}

/// Reads memory of an object that supports the buffer protocol while `f` runs.
pub(crate) fn with_buffer<R>(obj: &Obj, f: impl FnOnce(&[u8]) -> R) -> Res<R> {
    // SAFETY: the view is filled by CPython, contiguous (PyBUF_SIMPLE), and released after use.
    unsafe {
        let mut view = std::mem::MaybeUninit::<c::Py_buffer>::uninit();
        status(c::PyObject_GetBuffer(obj.as_ptr(), view.as_mut_ptr(), c::PyBUF_SIMPLE))?;
        let mut view = view.assume_init();
        let len = view.len.unsigned_abs();
        let data =
            if len == 0 { &[][..] } else { std::slice::from_raw_parts(view.buf.cast::<u8>(), len) };
        let result = f(data);
        c::PyBuffer_Release(&mut view);
        Ok(result)
    }
}

/// Whether it is bytes, a bytearray or a memoryview, or derives from one of them.
pub(crate) fn is_bytes_like(obj: &Obj) -> bool {
    // SAFETY: a live object.
    unsafe {
        c::PyBytes_Check(obj.as_ptr()) != 0
            || c::PyByteArray_Check(obj.as_ptr()) != 0
            || c::PyMemoryView_Check(obj.as_ptr()) != 0
    }
}

/// A writable buffer exported by an object, held until dropped.
pub(crate) struct WritableBuffer(Box<c::Py_buffer>);

impl WritableBuffer {
    pub(crate) fn new(obj: &Obj) -> Res<Self> {
        // SAFETY: filled by CPython or raises; released in drop.
        unsafe {
            let mut view = Box::<c::Py_buffer>::new_uninit();
            status(c::PyObject_GetBuffer(obj.as_ptr(), view.as_mut_ptr(), c::PyBUF_WRITABLE))?;
            Ok(Self(view.assume_init()))
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len.unsigned_abs()
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        if self.len() == 0 {
            return &mut [];
        }
        // SAFETY: exported writable memory of this length, held for as long as `self`; with the
        // GIL held and no Python code run meanwhile, nobody else writes it.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast::<u8>(), self.len()) }
    }
}

impl Drop for WritableBuffer {
    fn drop(&mut self) {
        // SAFETY: acquired in `new`, released once.
        unsafe { c::PyBuffer_Release(&mut *self.0) }
    }
}

/// `memoryview(obj).cast("B")`.
pub(crate) fn bytes_view(obj: &Obj) -> Res<Obj> {
    // SAFETY: a live object; an owned result or an exception.
    let view = unsafe { Obj::from_owned(c::PyMemoryView_FromObject(obj.as_ptr()))? };
    view.method1(&interned(c"cast")?, &str("B")?)
}

/// `sequence[from:to]`.
pub(crate) fn slice(sequence: &Obj, from: usize, to: usize) -> Res<Obj> {
    // SAFETY: a live object; an owned result or an exception.
    unsafe {
        Obj::from_owned(c::PySequence_GetSlice(
            sequence.as_ptr(),
            from.cast_signed(),
            to.cast_signed(),
        ))
    }
}

/// A path as the file system's encoding reads it.
pub(crate) fn fs_decoded(path: &[u8]) -> Res<Obj> {
    // SAFETY: a valid range; an owned result or an exception.
    unsafe {
        Obj::from_owned(c::PyUnicode_DecodeFSDefaultAndSize(
            path.as_ptr().cast(),
            path.len().cast_signed(),
        ))
    }
}

/// Everything an iterable yields.
pub(crate) fn iterate(iterable: &Obj) -> Res<Vec<Obj>> {
    // SAFETY: an owned iterator or an exception; each item is owned.
    unsafe {
        let iterator = Obj::from_owned(c::PyObject_GetIter(iterable.as_ptr()))?;
        let mut items = Vec::new();
        loop {
            let item = c::PyIter_Next(iterator.as_ptr());
            if item.is_null() {
                return if c::PyErr_Occurred().is_null() {
                    Ok(items)
                } else {
                    Err(Raised::assume_set())
                };
            }
            items.push(Obj::from_owned_unchecked(item));
        }
    }
}
