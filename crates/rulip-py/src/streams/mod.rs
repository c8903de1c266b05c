//! Streams: `StreamReader`, `StreamWriter`, `StreamReaderProtocol`, natively.
//!
//! The types here are what runs per message; each is the first base of a Python class (`rulip.streams`) whose
//! second base is asyncio's own, so that what runs once per connection, and every `isinstance`, is
//! asyncio's. `reader.rs` is the reader's state and how bytes get in, `reading.rs` takes them out, `read.rs`
//! is what a read method returns, `waiting.rs` how it waits; `protocol.rs` stands between a transport and the reader; `writer.rs`
//! and `drain.rs` are the way out. `buffer.rs` and `scan.rs` know nothing of Python.
//!
//! A transport of ours hands bytes to a reader directly, and a writer to a transport, so `transport` and this module
//! know each other. Owner thread. Invariant: a byte that was received is in the buffer, or in `ready`
//! in front of it, until somebody has it.

mod buffer;
pub(crate) mod drain;
pub(crate) mod protocol;
pub(crate) mod read;
pub(crate) mod reader;
mod reading;
mod scan;
pub(crate) mod slots;
mod waiting;
pub(crate) mod writer;

use std::ffi::CStr;

use crate::ffi::object::Attached;
use crate::ffi::{Obj, Res, call, value};

/// What of asyncio's streams is used here, found before anybody could replace it.
pub(crate) struct Stock {
    reader: Obj,
    writer: Obj,
    incomplete_read_error: Obj,
    limit_overrun_error: Obj,
    deque: Obj,
}

static STOCK: Attached<Stock> = Attached::new();

fn stock() -> &'static Stock {
    STOCK.get()
}

/// Imports what is needed; once, at module initialisation.
pub(crate) fn init() -> Res<()> {
    if STOCK.is_set() {
        return Ok(());
    }
    let streams = call::import(c"asyncio.streams")?;
    let exceptions = call::import(c"asyncio.exceptions")?;
    STOCK.set(Stock {
        reader: streams.attr(&value::str("StreamReader")?)?,
        writer: streams.attr(&value::str("StreamWriter")?)?,
        incomplete_read_error: exceptions.attr(&value::str("IncompleteReadError")?)?,
        limit_overrun_error: exceptions.attr(&value::str("LimitOverrunError")?)?,
        deque: call::import(c"collections")?.attr(&value::str("deque")?)?,
    });
    Ok(())
}

/// Whether a class has its own idea of one of these methods of a public class.
fn overrides(class: &Obj, public: Option<&Obj>, methods: &[&CStr]) -> Res<bool> {
    let Some(public) = public.filter(|public| !public.is(class)) else { return Ok(false) };
    for method in methods {
        let name = value::interned(method)?;
        if !class.attr(&name)?.is(&public.attr(&name)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
