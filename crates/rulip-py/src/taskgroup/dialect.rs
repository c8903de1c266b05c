//! How this Python's task groups behave: they changed from release to release.
//!
//! Each difference has a name here and is found by looking at asyncio's own class, so that a bug-fix
//! release is followed too. Not here: behaviour. Attached threads; found once.

use crate::ffi::object::Attached;
use crate::ffi::{Obj, Res, call, value};

/// The differences.
#[allow(clippy::struct_excessive_bools, reason = "each is one question")]
pub(crate) struct Dialect {
    /// `create_task()` closes the coroutine that it refuses.
    pub(crate) closes_refused: bool,
    /// A task that is done when it is made is counted at once, without a callback.
    pub(crate) counts_done_at_once: bool,
    /// `create_task()` cancels what it made if the group aborts by then.
    pub(crate) cancels_late_comers: bool,
    /// `create_task()` hands all keywords on.
    pub(crate) hands_keywords_on: bool,
    /// `create_task()` hands the name on, instead of setting it afterwards.
    pub(crate) hands_name_on: bool,
    /// The parent's own cancellation is taken back before the group waits, not after.
    pub(crate) uncancels_early: bool,
    /// A parent that is cancelled besides is cancelled again when the group raises.
    pub(crate) cancels_again: bool,
    /// A cancellation that came while waiting and is not the group's own is raised.
    pub(crate) keeps_cancellation: bool,
    /// A lone `GeneratorExit` from the block is raised as it is.
    pub(crate) knows_generator_exit: bool,
    /// What was raised is forgotten when the block is left.
    pub(crate) forgets: bool,
    /// The block's exception is suppressed, unless another one is raised.
    pub(crate) suppresses: bool,
    /// `cancel()` is there.
    pub(crate) has_cancel: bool,
}

/// The names a function's code uses, in order.
fn names_of(function: &Obj, field: &str) -> Res<Vec<String>> {
    let code = function.attr(&value::str("__code__")?)?;
    let names = value::tuple_items(&code.attr(&value::str(field)?)?);
    names.iter().map(value::text).collect()
}

impl Dialect {
    fn new() -> Res<Self> {
        let class = call::import(c"asyncio.taskgroups")?.attr(&value::str("TaskGroup")?)?;
        let create = names_of(&class.attr(&value::str("create_task")?)?, "co_names")?;
        let keywords = names_of(&class.attr(&value::str("create_task")?)?, "co_varnames")?;
        let inner = class.attr_opt(&value::str("_aexit")?)?;
        let forgets = inner.is_some();
        let exit = match inner {
            Some(inner) => inner,
            None => class.attr(&value::str("__aexit__")?)?,
        };
        let leave = names_of(&exit, "co_names")?;
        let leave_locals = names_of(&exit, "co_varnames")?;
        let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
        let place = |name: &str| leave.iter().position(|known| known == name);
        let has_cancel = class.attr_opt(&value::str("cancel")?)?.is_some();
        Ok(Self {
            closes_refused: has(&create, "close"),
            counts_done_at_once: has(&create, "done") && !has(&create, "cancel"),
            cancels_late_comers: has(&create, "done") && has(&create, "cancel"),
            hands_keywords_on: has(&keywords, "kwargs"),
            hands_name_on: !has(&create, "_set_task_name"),
            uncancels_early: place("uncancel") < place("_abort"),
            cancels_again: has(&leave, "cancelling"),
            keeps_cancellation: has(&leave_locals, "pending_cancellation_error"),
            knows_generator_exit: has(&leave, "GeneratorExit"),
            forgets,
            suppresses: has_cancel,
            has_cancel,
        })
    }
}

static DIALECT: Attached<Dialect> = Attached::new();

/// Finds them; once, at module initialisation.
pub(crate) fn init() -> Res<()> {
    if !DIALECT.is_set() {
        DIALECT.set(Dialect::new()?);
    }
    Ok(())
}

#[inline]
pub(crate) fn get() -> &'static Dialect {
    DIALECT.get()
}
