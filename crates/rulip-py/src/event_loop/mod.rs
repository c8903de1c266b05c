//! `_rulip.EventLoop`: the loop's hot half. Its cold half is Python (`python/rulip/event_loop`).
//!
//! `methods.rs` is the list of methods; `run.rs` runs turns; `schedule.rs` is `call_soon` and its kin,
//! `tasks.rs` is `create_task`, `watch_fd.rs` is `add_reader` and its kin. Connecting, resolving, serving
//! are orchestration that runs once per connection and must honour overridden methods: Python
//! coroutines over these primitives.

pub(crate) mod methods;
pub(crate) mod pidfd;
pub(crate) mod ring;
pub(crate) mod run;
pub(crate) mod schedule;
mod slow_jobs;
pub(crate) mod surroundings;
pub(crate) mod tasks;
pub(crate) mod watch_fd;
