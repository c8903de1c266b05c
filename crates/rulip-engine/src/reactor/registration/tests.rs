//! Tests of the registrations, on pipes; tokens against a naive table.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::readiness::Readiness;
use crate::sys::poller::Events;

fn ready(poller: &Poller) -> Vec<(Token, Readiness)> {
    let mut events = Events::with_capacity(16);
    poller.wait(&mut events, Some(Duration::ZERO)).expect("a wait succeeds");
    events.iter().map(|event| (event.token, event.readiness)).collect()
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().expect("a pipe can be made")
}

fn write(fd: &OwnedFd) {
    rustix::io::write(fd, b"x").expect("a pipe takes a byte");
}

#[test]
fn an_edge_comes_once_and_a_level_stays() {
    let poller = Poller::new().unwrap();
    let mut reactor = Reactor::new();
    let ((edge, to_edge), (level, to_level)) = (pipe(), pipe());
    let edge_token = reactor.register_edge(&poller, edge.as_fd(), "edge").unwrap();
    let level_token =
        reactor.register_level(&poller, level.as_raw_fd(), Interest::READABLE, "level").unwrap();
    write(&to_edge);
    write(&to_level);
    assert_eq!(ready(&poller).len(), 2);
    assert_eq!(ready(&poller), [(level_token, Readiness::READABLE)]);
    assert_eq!(reactor.interest(edge_token), Some(Interest::BOTH));
    let error = reactor.set_interest(&poller, edge_token, Interest::READABLE).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "edges are for good");
    assert_eq!(reactor.deregister(&poller, edge_token), Some("edge"));
    assert_eq!(reactor.deregister(&poller, level_token), Some("level"));
    assert!(ready(&poller).is_empty() && reactor.is_empty());
}

#[test]
fn interest_comes_and_goes_while_the_slot_stays() {
    let poller = Poller::new().unwrap();
    let mut reactor = Reactor::new();
    let (reader, writer) = pipe();
    write(&writer);
    let fd = reader.as_raw_fd();
    let token = reactor.register_level(&poller, fd, Interest::NONE, ()).unwrap();
    assert!(ready(&poller).is_empty());
    for _ in 0..2 {
        reactor.set_interest(&poller, token, Interest::READABLE).unwrap();
        assert_eq!(ready(&poller), [(token, Readiness::READABLE)]);
        reactor.set_interest(&poller, token, Interest::READABLE).unwrap();
        reactor.set_interest(&poller, token, Interest::NONE).unwrap();
        reactor.set_interest(&poller, token, Interest::NONE).unwrap();
        assert!(ready(&poller).is_empty());
    }
    assert_eq!((reactor.find_fd(fd), reactor.fd(token)), (Some(token), Some(fd)));
    assert_eq!(reactor.deregister(&poller, token), Some(()));
    let stale = reactor.set_interest(&poller, token, Interest::READABLE).unwrap_err();
    assert_eq!(stale.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_refused_registration_gives_the_target_back() {
    let poller = Poller::new().unwrap();
    let mut reactor = Reactor::new();
    let (error, target) =
        reactor.register_level(&poller, -1, Interest::READABLE, "target").unwrap_err();
    assert_eq!((error.raw_os_error(), target), (Some(libc::EBADF), "target"));
    let file = std::fs::File::open("/").unwrap();
    let (error, target) = reactor.register_edge(&poller, file.as_fd(), "target").unwrap_err();
    assert_eq!((error.raw_os_error(), target), (Some(libc::EPERM), "target"));
    let (reader, _writer) = pipe();
    reactor.register_edge(&poller, reader.as_fd(), "first").unwrap();
    let (error, target) = reactor.register_edge(&poller, reader.as_fd(), "second").unwrap_err();
    assert_eq!((error.raw_os_error(), target), (Some(libc::EEXIST), "second"));
    assert_eq!(reactor.len(), 1);
}

#[test]
fn a_forgotten_descriptor_can_be_registered_again() {
    let poller = Poller::new().unwrap();
    let mut reactor = Reactor::new();
    let (reader, writer) = pipe();
    write(&writer);
    let first = reactor.register_edge(&poller, reader.as_fd(), 1).unwrap();
    assert_eq!(reactor.forget(first), Some(1));
    let second = reactor.register_edge(&poller, reader.as_fd(), 2).unwrap();
    assert_ne!(first, second);
    assert_eq!(ready(&poller), [(second, Readiness::READABLE)]);
}

#[test]
fn a_stale_registration_leaves_the_new_owner_of_its_number_alone() {
    let poller = Poller::new().unwrap();
    let mut reactor = Reactor::new();
    let (reader, writer) = pipe();
    let fd = reader.as_raw_fd();
    let stale = reactor.register_level(&poller, fd, Interest::READABLE, "stale").unwrap();
    // The number passes to another pipe without anybody saying so.
    let (other, other_writer) = pipe();
    let mut reader = reader;
    rustix::io::dup2(&other, &mut reader).unwrap();
    drop((other, writer));
    write(&other_writer);
    let owner = reactor.register_level(&poller, fd, Interest::READABLE, "owner").unwrap();
    let error = reactor.set_interest(&poller, stale, Interest::NONE).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert_eq!(reactor.deregister(&poller, stale), Some("stale"));
    assert_eq!(reactor.find_fd(fd), Some(owner));
    assert_eq!(ready(&poller), [(owner, Readiness::READABLE)]);
}

#[derive(Debug, Clone)]
enum Op {
    Register(usize),
    Deregister(usize),
    Forget(usize),
    Close(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..4usize).prop_map(Op::Register),
        3 => any::<usize>().prop_map(Op::Deregister),
        1 => any::<usize>().prop_map(Op::Forget),
        1 => (0..4usize).prop_map(Op::Close),
    ]
}

proptest! {
    /// The model: every token ever given out, with its target while it lives. Pipes are replaced
    /// under live registrations, so numbers are reused.
    #[test]
    fn a_token_names_one_registration_for_ever(ops in proptest::collection::vec(op(), 0..60)) {
        let poller = Poller::new().unwrap();
        let mut reactor = Reactor::new();
        let mut pipes: Vec<_> = (0..4).map(|_| pipe()).collect();
        let mut live: HashMap<Token, usize> = HashMap::new();
        let mut given: Vec<Token> = vec![];
        for (target, op) in ops.into_iter().enumerate() {
            match op {
                Op::Register(which) => {
                    match reactor.register_edge(&poller, pipes[which].0.as_fd(), target) {
                        Ok(token) => {
                            prop_assert!(!given.contains(&token));
                            given.push(token);
                            live.insert(token, target);
                        }
                        Err((error, back)) => {
                            prop_assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
                            prop_assert_eq!(back, target);
                        }
                    }
                }
                Op::Deregister(pick) if !given.is_empty() => {
                    let token = given[pick % given.len()];
                    prop_assert_eq!(reactor.deregister(&poller, token), live.remove(&token));
                }
                Op::Forget(pick) if !given.is_empty() => {
                    let token = given[pick % given.len()];
                    prop_assert_eq!(reactor.forget(token), live.remove(&token));
                }
                Op::Deregister(_) | Op::Forget(_) => {}
                Op::Close(which) => pipes[which] = pipe(),
            }
            for token in &given {
                prop_assert_eq!(reactor.get(*token), live.get(token));
            }
            prop_assert_eq!(reactor.len(), live.len());
            prop_assert_eq!(reactor.iter().map(|(t, v)| (t, *v)).collect::<HashMap<_, _>>(), live.clone());
        }
        let mut drained = reactor.drain();
        drained.sort_unstable();
        let mut expected: Vec<_> = live.into_values().collect();
        expected.sort_unstable();
        prop_assert_eq!(drained, expected);
    }
}
