//! The arguments of a fast call, and binding them to parameters as Python would.
//!
//! Errors are Python's: too many, missing, unknown, given twice.

use std::ffi::CStr;

use pyo3::ffi as c;

use super::error::{Raised, Res};
use super::object::{Borrowed, Obj};
use super::value;

/// The arguments of a fast call, borrowed from the caller's stack.
pub(crate) struct Args<'a> {
    positional: &'a [Obj],
    keyword: &'a [Obj],
    names: *mut c::PyObject,
    first: *const *mut c::PyObject,
}

impl<'a> Args<'a> {
    /// # Safety
    /// The vectorcall contract: `nargs` positional arguments, then one per name in `names`.
    #[inline]
    pub(super) unsafe fn new(
        args: *const *mut c::PyObject,
        nargs: isize,
        names: *mut c::PyObject,
    ) -> Self {
        let count = usize::try_from(nargs).unwrap_or(0);
        // SAFETY: Obj is a transparent pointer and these outlive the call; they are only borrowed.
        unsafe {
            let named = if names.is_null() { 0 } else { c::PyTuple_GET_SIZE(names) };
            let named = usize::try_from(named).unwrap_or(0);
            let slice = |from: *const *mut c::PyObject, len: usize| {
                if len == 0 { &[][..] } else { std::slice::from_raw_parts(from.cast::<Obj>(), len) }
            };
            Self {
                positional: slice(args, count),
                keyword: slice(args.wrapping_add(count), named),
                names,
                first: args,
            }
        }
    }

    /// Calls something else with the same arguments.
    pub(crate) fn pass_to(&self, callable: &Obj) -> Res<Obj> {
        // SAFETY: the vectorcall contract, as it was kept towards us; the arguments still live.
        unsafe {
            Obj::from_owned(c::PyObject_Vectorcall(
                callable.as_ptr(),
                self.first,
                self.positional.len(),
                self.names,
            ))
        }
    }

    #[inline]
    pub(crate) fn positional(&self) -> &'a [Obj] {
        self.positional
    }

    #[inline]
    pub(crate) fn has_keywords(&self) -> bool {
        !self.keyword.is_empty()
    }

    /// Keyword names with their values.
    pub(crate) fn keywords(&self) -> impl Iterator<Item = (Borrowed<'a>, &'a Obj)> {
        let names = self.names;
        self.keyword.iter().enumerate().map(move |(i, value)| {
            // SAFETY: `names` is a tuple of as many names as there are keyword values.
            let name = unsafe { Borrowed::new(c::PyTuple_GET_ITEM(names, i.cast_signed())) };
            (name, value)
        })
    }

    /// Binds parameters that may come by position or by name; the first `required` must come.
    #[inline(always)]
    pub(crate) fn bind<const N: usize>(
        &self,
        function: &str,
        names: [&CStr; N],
        required: usize,
    ) -> Res<[Option<&'a Obj>; N]> {
        if let ([first], false, true) = (self.positional, self.has_keywords(), required <= 1) {
            let mut found = [None; N];
            if let Some(place) = found.first_mut() {
                *place = Some(first);
                return Ok(found);
            }
        }
        // As in `bind_leading`.
        let Self { positional, keyword, names: given, first } = *self;
        any(positional, keyword, given, first, function, names, required)
    }

    /// As [`Args::bind`], but those from `by_position` on come by name only (0: none of them).
    pub(crate) fn bind_after<const N: usize>(
        &self,
        function: &str,
        names: [&CStr; N],
        required: usize,
        by_position: usize,
    ) -> Res<[Option<&'a Obj>; N]> {
        let most = if by_position == 0 { N } else { by_position };
        if self.positional.len() > most {
            return Err(Raised::type_error(&format!(
                "{function}() takes at most {most} positional arguments ({} given)",
                self.positional.len()
            )));
        }
        let mut found = [None; N];
        for (place, value) in found.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        if self.has_keywords() {
            self.bind_keywords(function, &names, &mut found)?;
        }
        match found.iter().take(required).position(Option::is_none) {
            Some(i) => Err(missing(function, names[i])),
            None => Ok(found),
        }
    }

    fn bind_keywords(
        &self,
        function: &str,
        names: &[&CStr],
        found: &mut [Option<&'a Obj>],
    ) -> Res<()> {
        for (name, value) in self.keywords() {
            let Some(i) = names.iter().position(|wanted| value::text_is(&name, wanted)) else {
                return Err(unexpected(function, &name));
            };
            if found[i].replace(value).is_some() {
                return Err(given_twice(function, names[i]));
            }
        }
        Ok(())
    }

    /// Binds the first parameters of a function that goes on with `*args, context=None`.
    #[inline(always)]
    pub(crate) fn bind_leading<const N: usize>(
        &self,
        function: &str,
        names: [&CStr; N],
    ) -> Res<Leading<'a, N>> {
        if let (false, Some((leading, rest))) =
            (self.has_keywords(), self.positional.split_first_chunk::<N>())
        {
            return Ok(Leading { leading: leading.each_ref(), rest, context: None });
        }
        // Field by field: arguments without keywords never need to stand in memory.
        let Self { positional, keyword, names: given, first } = *self;
        leading_keywords(positional, keyword, given, first, function, names)
    }

    #[inline]
    fn bind_leading_keywords<const N: usize>(
        &self,
        function: &str,
        names: [&CStr; N],
    ) -> Res<Leading<'a, N>> {
        let (first, rest) = self.positional.split_at(self.positional.len().min(N));
        let mut found: Vec<Option<&'a Obj>> = first.iter().map(Some).collect();
        found.resize(N + 1, None);
        let mut all = names.to_vec();
        all.push(c"context");
        self.bind_keywords(function, &all, &mut found)?;
        let context = found.pop().flatten();
        let mut leading = Vec::with_capacity(N);
        for (place, name) in found.into_iter().zip(names) {
            leading.push(place.ok_or_else(|| missing(function, name))?);
        }
        let leading = leading.try_into().map_err(|_| missing(function, c"callback"))?;
        Ok(Leading {
            leading,
            rest,
            context: context.filter(|context| !context.is_none()).cloned(),
        })
    }
}

#[inline(never)]
fn any<'a, const N: usize>(
    positional: &'a [Obj],
    keyword: &'a [Obj],
    given: *mut c::PyObject,
    first: *const *mut c::PyObject,
    function: &str,
    names: [&CStr; N],
    required: usize,
) -> Res<[Option<&'a Obj>; N]> {
    Args { positional, keyword, names: given, first }.bind_after(function, names, required, 0)
}

#[cold]
#[inline(never)]
fn leading_keywords<'a, const N: usize>(
    positional: &'a [Obj],
    keyword: &'a [Obj],
    given: *mut c::PyObject,
    first: *const *mut c::PyObject,
    function: &str,
    names: [&CStr; N],
) -> Res<Leading<'a, N>> {
    Args { positional, keyword, names: given, first }.bind_leading_keywords(function, names)
}

/// Binds the arguments of a call to a class; the first `required` must come.
pub(crate) fn bind_call<const N: usize>(
    function: &str,
    names: [&CStr; N],
    required: usize,
    args: &Obj,
    kwargs: Option<&Obj>,
) -> Res<[Option<Obj>; N]> {
    let positional = value::tuple_items(args);
    if positional.len() > N {
        return Err(Raised::type_error(&format!(
            "{function}() takes at most {N} positional arguments ({} given)",
            positional.len()
        )));
    }
    let mut found = [const { None }; N];
    for (place, value) in found.iter_mut().zip(positional) {
        *place = Some(value);
    }
    for (name, value) in kwargs.map(value::dict_items).unwrap_or_default() {
        let Some(i) = names.iter().position(|wanted| value::text_is(&name, wanted)) else {
            return Err(unexpected(function, &name));
        };
        if found[i].replace(value).is_some() {
            return Err(given_twice(function, names[i]));
        }
    }
    match found.iter().take(required).position(Option::is_none) {
        Some(i) => Err(missing(function, names[i])),
        None => Ok(found),
    }
}

/// What [`Args::bind_leading`] found.
pub(crate) struct Leading<'a, const N: usize> {
    pub(crate) leading: [&'a Obj; N],
    /// `*args`.
    pub(crate) rest: &'a [Obj],
    /// `context`, unless None.
    pub(crate) context: Option<Obj>,
}

#[cold]
fn missing(function: &str, name: &CStr) -> Raised {
    Raised::type_error(&format!(
        "{function}() missing 1 required positional argument: '{}'",
        name.to_string_lossy()
    ))
}

#[cold]
fn given_twice(function: &str, name: &CStr) -> Raised {
    Raised::type_error(&format!(
        "{function}() got multiple values for argument '{}'",
        name.to_string_lossy()
    ))
}

/// `TypeError: NAME() got an unexpected keyword argument '...'`.
#[cold]
pub(crate) fn unexpected(function: &str, name: &Obj) -> Raised {
    match value::text(name) {
        Ok(name) => {
            Raised::type_error(&format!("{function}() got an unexpected keyword argument '{name}'"))
        }
        Err(raised) => raised,
    }
}

/// Binds the arguments of a `tp_init` call; the first `required` must come.
pub(crate) fn bind_init<const N: usize>(
    function: &str,
    names: [&CStr; N],
    required: usize,
    args: &Obj,
    kwargs: Option<&Obj>,
) -> Res<[Option<Obj>; N]> {
    let given = value::tuple_items(args);
    if given.len() > N {
        return Err(Raised::type_error(&format!(
            "{function}() takes at most {N} positional arguments ({} given)",
            given.len()
        )));
    }
    let mut found = [const { None }; N];
    for (place, value) in found.iter_mut().zip(given) {
        *place = Some(value);
    }
    for (name, value) in kwargs.map(value::dict_items).unwrap_or_default() {
        let Some(i) = names.iter().position(|wanted| value::text_is(&name, wanted)) else {
            return Err(unexpected(function, &name));
        };
        if found[i].replace(value).is_some() {
            return Err(Raised::type_error(&format!(
                "{function}() got multiple values for argument '{}'",
                names[i].to_string_lossy()
            )));
        }
    }
    match found.iter().take(required).position(Option::is_none) {
        Some(i) => Err(missing(function, names[i])),
        None => Ok(found),
    }
}
