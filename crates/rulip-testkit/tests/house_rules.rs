//! The house rules hold in this repository, and each of them would notice if it did not.

use std::fs;
use std::path::PathBuf;

use rulip_testkit::exceptions::Exceptions;
use rulip_testkit::rules::{self, Violation};
use rulip_testkit::source::{self, Source};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn sources(ext: &str, dirs: &[&str]) -> Vec<Source> {
    let all = dirs.iter().flat_map(|dir| source::collect(&root(), dir, ext).expect("readable"));
    let all: Vec<_> = all.collect();
    assert!(!all.is_empty(), "no .{ext} below {dirs:?}: the rules look in the wrong place");
    all
}

fn rust() -> Vec<Source> {
    sources("rs", &["crates"])
}

fn exceptions() -> Exceptions {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/house_rules.toml");
    let text = fs::read_to_string(path).expect("house_rules.toml is readable");
    Exceptions::parse(&text).expect("house_rules.toml is well formed")
}

fn assert_none(violations: &[Violation]) {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

/// The rule finds exactly one fault in the bad sample and none in the good one.
fn assert_tells_apart(
    rule: impl Fn(&[Source]) -> Vec<Violation>,
    bad: (&str, &str),
    good: (&str, &str),
) {
    let found = rule(&[Source::new(bad.0, bad.1)]);
    assert_eq!(found.len(), 1, "{bad:?}: {found:?}");
    let found = rule(&[Source::new(good.0, good.1)]);
    assert!(found.is_empty(), "{good:?}: {found:?}");
}

#[test]
fn engine_modules_name_only_what_lies_below_them() {
    assert_none(&rules::layers(&rust()));
}

#[test]
fn the_layer_rule_reads_every_kind_of_path() {
    let stream = "crates/rulip-engine/src/transport/stream.rs";
    let good = "use crate::buf::WriteQueue; use crate::transport::flow; use super::flow;";
    for bad in [
        "use crate::sys::clock;",
        "use crate::{buf::WriteQueue, reactor::{Reactor, Token}, time};",
        "fn f() { crate::engine::run() }",
        "use super::super::sys;",
        "use crate::Engine;",
        "use crate::*;",
    ] {
        assert_tells_apart(rules::layers, (stream, bad), (stream, good));
    }
    let ready = "crates/rulip-engine/src/ready.rs";
    assert_tells_apart(rules::layers, (ready, "use super::time;"), (ready, "// crate::time"));
    let new = "crates/rulip-engine/src/novelty/mod.rs";
    assert_tells_apart(rules::layers, (new, ""), ("crates/rulip-engine/src/lib.rs", good));
    let sys = "crates/rulip-engine/src/sys/mod.rs";
    assert_tells_apart(rules::layers, (sys, "use super::reactor;"), (sys, "use super::time;"));
    let test = "crates/rulip-engine/src/transport/stream/tests.rs";
    assert_tells_apart(rules::layers, (stream, "use crate::sys;"), (test, "use crate::sys;"));
}

#[test]
fn manifests_keep_the_crates_apart() {
    assert_none(&rules::manifests(&sources("toml", &["crates"])));
    let engine = "crates/rulip-engine/Cargo.toml";
    assert_tells_apart(rules::manifests, (engine, "pyo3 = \"0\""), (engine, "slab = \"0\""));
    let border = "crates/rulip-py/Cargo.toml";
    assert_tells_apart(rules::manifests, (border, "libc = \"0\""), (border, "pyo3 = \"0\""));
}

#[test]
fn unsafe_code_stands_where_it_is_expected() {
    let exceptions = exceptions();
    assert_none(&rules::unsafe_places(&rust(), &exceptions));
}

#[test]
fn the_unsafe_rule_knows_places_and_promises() {
    let exceptions = Exceptions::parse(
        "[unsafe]\n\"crates/rulip-py/src/odd.rs\" = \"odd for a sample\"\n\
         [unsafe_impl]\n\"Native\" = \"a promise for a sample\"\n",
    )
    .unwrap();
    let rule = |sources: &[Source]| rules::unsafe_places(sources, &exceptions);
    let code = "fn f() { unsafe { g() } }";
    for (bad, good) in [
        ("crates/rulip-engine/src/ready.rs", "crates/rulip-engine/src/sys/poller/epoll.rs"),
        ("crates/rulip-engine/src/engine/mod.rs", "crates/rulip-engine/src/sync/inbox.rs"),
        ("crates/rulip-py/src/task/mod.rs", "crates/rulip-py/src/task/slots.rs"),
        ("crates/rulip-py/src/transport/ffi.rs", "crates/rulip-py/src/ffi/send.rs"),
        ("crates/rulip-py/src/even.rs", "crates/rulip-py/src/odd.rs"),
        ("crates/rulip-testkit/src/lib.rs", "crates/rulip-py/src/buffer.rs"),
    ] {
        assert_tells_apart(rule, (bad, code), (good, code));
    }
    let task = "crates/rulip-py/src/task/mod.rs";
    let promise = "unsafe impl Native for Task {}";
    assert_tells_apart(rule, (task, "unsafe impl Send for Task {}"), (task, promise));
    assert_tells_apart(
        rule,
        (task, "unsafe fn native() {}"),
        (task, "// unsafe\nlet unsafe_ = 1;"),
    );
}

#[test]
fn every_file_says_what_it_is() {
    assert_none(&rules::headers(&rust()));
    assert_none(&rules::headers(&sources("py", &["python"])));
    assert_tells_apart(rules::headers, ("a.rs", "use b;"), ("a.rs", "//! What a is.\nuse b;"));
    assert_tells_apart(rules::headers, ("a.py", "import b"), ("a.py", "\"\"\"What a is.\"\"\""));
}

#[test]
fn files_can_be_read_in_one_go() {
    let exceptions = exceptions();
    assert_none(&rules::sizes(&rust(), &exceptions));
}

#[test]
fn the_size_rule_counts_code_and_not_tests() {
    let long = "x\n".repeat(rules::MAX_LINES + 1);
    let tests = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}");
    let none = Exceptions::default();
    let rule = |sources: &[Source]| rules::sizes(sources, &none);
    assert_tells_apart(rule, ("a.rs", &long), ("a.rs", &"x\n".repeat(rules::MAX_LINES)));
    assert_tells_apart(rule, ("a.rs", &long), ("a.rs", &tests));
    assert_tells_apart(rule, ("a.rs", &long), ("a/tests.rs", &long));
    let excused = Exceptions::parse("[size]\n\"a.rs\" = \"long for a sample\"").unwrap();
    assert!(rules::sizes(&[Source::new("a.rs", &long)], &excused).is_empty());
}

#[test]
fn names_say_what_is_inside() {
    assert_none(&rules::names(&rust()));
    assert_none(&rules::names(&sources("py", &["python"])));
    assert_tells_apart(rules::names, ("src/utils.rs", ""), ("src/flow.rs", ""));
    assert_tells_apart(rules::names, ("src/common/flow.rs", ""), ("src/transport/flow.rs", ""));
    assert_tells_apart(rules::names, ("python/_helpers.py", ""), ("python/runners.py", ""));
    assert_tells_apart(rules::names, ("src/lib.rs", "pub mod misc {}"), ("src/lib.rs", "mod m;"));
}

#[test]
fn the_clock_has_one_reader() {
    assert_none(&rules::clock(&rust()));
    let flow = "crates/rulip-engine/src/transport/flow.rs";
    let clock = "crates/rulip-engine/src/sys/clock.rs";
    let good = "fn f(now: Instant) { now() }";
    assert_tells_apart(rules::clock, (flow, "let t = Instant::now();"), (flow, good));
    assert_tells_apart(rules::clock, (flow, "std::time::SystemTime::now()"), (flow, good));
    let border = "crates/rulip-py/src/loop_state.rs";
    assert_tells_apart(rules::clock, (border, "clock_gettime(id)"), (clock, "clock_gettime(id)"));
}

#[test]
fn system_calls_are_made_in_one_place() {
    assert_none(&rules::system_calls(&rust()));
    let reactor = "crates/rulip-engine/src/reactor/registration.rs";
    let sys = "crates/rulip-engine/src/sys/socket.rs";
    let good = "if errno == libc::ENOENT {} use libc::{EAGAIN, EINTR};";
    for bad in ["rustix::net::recv(fd)", "libc::read(fd)", "use libc::{EAGAIN, read};"] {
        assert_tells_apart(rules::system_calls, (reactor, bad), (reactor, good));
        assert_tells_apart(rules::system_calls, (reactor, bad), (sys, bad));
    }
}

#[test]
fn errors_become_python_errors_in_one_place() {
    assert_none(&rules::error_mapping(&rust()));
    let (other, error) = ("crates/rulip-py/src/future/mod.rs", "crates/rulip-py/src/error.rs");
    let bad = "impl From<Error> for PyErr { fn from(e: Error) -> Self {} }";
    assert_tells_apart(rules::error_mapping, (other, bad), (error, bad));
    let good = "impl From<PyErr> for Raised {} fn f() -> PyErr {}";
    assert_tells_apart(rules::error_mapping, (other, bad), (other, good));
    let generic = "impl<T: Into<Error>> From<Failure<T>> for pyo3::PyErr {}";
    assert_tells_apart(rules::error_mapping, (other, generic), (error, generic));
}

#[test]
fn no_exception_has_outlived_its_need() {
    let exceptions = exceptions();
    let rust = rust();
    rules::unsafe_places(&rust, &exceptions);
    rules::sizes(&rust, &exceptions);
    assert_eq!(exceptions.unused(), Vec::<String>::new());
}
