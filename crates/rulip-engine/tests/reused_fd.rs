//! Descriptor numbers that are closed and used again, as user code does behind an engine's back.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rulip_engine::sys::clock;
use rulip_engine::{Engine, Idle, Interest, Io, Token};

type Jobs = Engine<Io, &'static str>;

/// One turn without waiting: which registrations are ready.
fn ready(engine: &Jobs) -> Vec<Token> {
    let plan = engine.plan(Idle::MustNotBlock);
    engine.wait(&plan).expect("a wait succeeds");
    engine.collect(clock::now());
    engine.begin_turn();
    let tokens = std::iter::from_fn(|| engine.next_job()).map(|io| io.token).collect();
    engine.end_turn();
    tokens
}

/// A connected pair whose first end gets the number of `old`, which is closed by it.
fn replace(old: &mut OwnedFd) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a pair can be made");
    rustix::io::dup2(&ours, old).expect("a number can be taken over");
    theirs
}

#[test]
fn interest_follows_the_number_to_its_new_owner() {
    let engine = Jobs::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut ours = OwnedFd::from(ours);
    let token = engine.register_level(ours.as_raw_fd(), Interest::READABLE, "user").unwrap();
    let mut theirs = replace(&mut ours);
    theirs.write_all(b"x").unwrap();
    assert!(ready(&engine).is_empty(), "the kernel dropped the old file");
    assert_eq!(engine.find_fd(ours.as_raw_fd()), Some(token));
    engine.set_interest(token, Interest::READABLE).unwrap();
    assert_eq!(ready(&engine), [token]);
}

#[test]
fn ending_a_registration_of_a_closed_number_is_quiet() {
    let engine = Jobs::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let token = engine.register_edge(ours.as_fd(), "stream").unwrap();
    drop(ours);
    assert_eq!(engine.deregister(token), Some("stream"));
    assert_eq!(engine.deregister(token), None);
    assert_eq!(engine.registrations(), 0);
}

#[test]
fn an_old_token_does_not_reach_the_new_owner() {
    let engine = Jobs::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut ours = OwnedFd::from(ours);
    let old = engine.register_edge(ours.as_fd(), "old").unwrap();
    let mut theirs = replace(&mut ours);
    let new = engine.register_edge(ours.as_fd(), "new").unwrap();
    assert_eq!(engine.find_fd(ours.as_raw_fd()), Some(new));
    assert_eq!(engine.deregister(old), Some("old"));
    theirs.write_all(b"x").unwrap();
    assert_eq!(ready(&engine), [new]);
    assert_eq!(engine.with_target(new, |target| *target), Some("new"));
}

#[test]
fn a_slot_used_again_between_wait_and_collect_gets_no_foreign_event() {
    let engine = Jobs::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (other, _other_peer) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    let token = engine.register_level(ours.as_raw_fd(), Interest::READABLE, "first").unwrap();
    let plan = engine.plan(Idle::MustNotBlock);
    engine.wait(&plan).unwrap();
    assert_eq!(engine.deregister(token), Some("first"));
    let second = engine.register_level(other.as_raw_fd(), Interest::READABLE, "second").unwrap();
    assert_eq!(second.index(), token.index());
    engine.collect(clock::now());
    assert_eq!(engine.ready_len(), 0);
}
