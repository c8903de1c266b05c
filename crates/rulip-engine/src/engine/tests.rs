//! Tests of the engine, turn by turn.

use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use super::*;
use crate::readiness::Interest;
use crate::sys::clock;

/// What these engines run: numbers, and readiness.
#[derive(Debug, PartialEq)]
enum Job {
    Number(i32),
    Io(Io),
}

impl From<Io> for Job {
    fn from(io: Io) -> Self {
        Self::Io(io)
    }
}

use Job::Number;

type TestEngine = Engine<Job, &'static str>;

fn engine() -> TestEngine {
    Engine::new().expect("the kernel gives an engine what it needs")
}

/// Plans, waits, collects; returns the plan and the whole turn's jobs.
fn turn(engine: &TestEngine, idle: Idle) -> (Plan, Vec<Job>) {
    let plan = engine.plan(idle);
    engine.wait(&plan).expect("a wait succeeds");
    engine.collect(clock::now());
    engine.begin_turn();
    let jobs = std::iter::from_fn(|| engine.next_job()).collect();
    engine.end_turn();
    (plan, jobs)
}

#[test]
fn without_registrations_work_needs_no_poll() {
    let engine = engine();
    engine.push(Number(1));
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Skip, vec![Number(1)]));
    assert_eq!(turn(&engine, Idle::MustNotBlock), (Plan::Skip, vec![]));
    engine.handle().push(Number(2)).unwrap();
    assert!(engine.has_foreign_jobs());
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Skip, vec![Number(2)]));
    assert!(!engine.has_foreign_jobs());
}

#[test]
fn with_registrations_work_polls_without_waiting() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let token = engine.register_level(reader.as_raw_fd(), Interest::READABLE, "pipe").unwrap();
    engine.push(Number(1));
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Check, vec![Number(1)]));
    rustix::io::write(&writer, b"x").unwrap();
    let (plan, jobs) = turn(&engine, Idle::MayBlock);
    assert_eq!(plan, Plan::Block(None));
    let [Job::Io(io)] = jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((io.token, io.readiness.is_readable()), (token, true));
    assert_eq!(engine.with_target(token, |target| *target), Some("pipe"));
    assert_eq!(engine.deregister(token), Some("pipe"));
    assert_eq!((engine.registrations(), engine.with_target(token, |_| ())), (0, None));
}

#[test]
fn ready_then_io_then_foreign_then_timers() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    engine.register_level(reader.as_raw_fd(), Interest::READABLE, "pipe").unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    engine.insert_timer(Deadline(2), Number(5));
    engine.insert_timer(Deadline(1), Number(4));
    engine.handle().push(Number(3)).unwrap();
    engine.push(Number(1));
    let (plan, jobs) = turn(&engine, Idle::MayBlock);
    assert_eq!(plan, Plan::Check);
    assert!(
        matches!(jobs[..], [Number(1), Job::Io(_), Number(3), Number(4), Number(5)]),
        "{jobs:?}"
    );
}

#[test]
fn a_wait_ends_at_the_deadline_and_not_before() {
    let engine = engine();
    let when = Deadline(clock::now().0 + 2_000_000);
    engine.insert_timer(when, Number(1));
    engine.insert_timer(Deadline::NEVER, Number(2));
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Block(Some(when)), vec![Number(1)]));
    assert!(clock::now() >= when);
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(None), "what never comes is not waited for");
    engine.abandon(plan);
}

#[test]
fn a_push_between_plan_and_wait_ends_the_wait() {
    let engine = engine();
    let handle = engine.handle();
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(None));
    handle.push(Number(1)).unwrap();
    engine.wait(&plan).unwrap();
    engine.collect(clock::now());
    assert_eq!(engine.ready_len(), 1);
}

#[test]
fn a_wake_forbids_or_ends_one_wait() {
    let engine = engine();
    engine.handle().wake();
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Skip, vec![]));
    let plan = engine.plan(Idle::MayBlock);
    engine.handle().wake();
    engine.wait(&plan).unwrap();
    engine.collect(clock::now());
    assert_eq!(engine.ready_len(), 0);
}

#[test]
fn a_doorbell_ends_a_wait_and_is_no_registration() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    engine.add_doorbell(reader.as_raw_fd()).unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    assert_eq!(turn(&engine, Idle::MayBlock), (Plan::Block(None), vec![]));
    assert!(engine.take_doorbell_rang());
    assert!(!engine.take_doorbell_rang());
    rustix::io::write(&writer, b"x").unwrap();
    assert_eq!(
        turn(&engine, Idle::MayBlock),
        (Plan::Block(None), vec![]),
        "unread bytes do not matter"
    );
    engine.push(Number(1));
    assert_eq!(turn(&engine, Idle::MayBlock).0, Plan::Skip);
    engine.remove_doorbell(reader.as_raw_fd()).unwrap();
}

#[test]
fn cancelled_timers_come_back_and_never_run() {
    let engine = engine();
    let first = engine.insert_timer(Deadline(1), Number(1));
    engine.insert_timer(Deadline(2), Number(2));
    let last = engine.insert_timer(Deadline(3), Number(3));
    assert_eq!((engine.timers_len(), engine.next_deadline()), (3, Some(Deadline(1))));
    assert_eq!(engine.cancel_timer(first), Some(Number(1)));
    assert_eq!(engine.cancel_timer(first), None);
    assert_eq!((engine.timers_len(), engine.next_deadline()), (2, Some(Deadline(2))));
    engine.collect(Deadline(9));
    assert_eq!((engine.ready_len(), engine.timers_len()), (2, 0));
    assert_eq!(engine.cancel_timer(last), None, "it is ready and no timer any more");
}

#[test]
fn a_cancelled_deadline_is_not_waited_for() {
    let engine = engine();
    let soon = Deadline(clock::now().0 + 1_000_000_000);
    let key = engine.insert_timer(soon, Number(1));
    let far = Deadline(soon.0 + 3_600_000_000_000);
    engine.insert_timer(far, Number(2));
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(Some(soon)));
    assert_eq!(engine.cancel_timer(key), Some(Number(1)));
    engine.abandon(plan);
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(Some(far)));
    engine.abandon(plan);
}

#[test]
fn an_aborted_turn_keeps_its_jobs_and_its_events() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    engine.add_doorbell(reader.as_raw_fd()).unwrap();
    let (edge, to_edge) = rustix::pipe::pipe().unwrap();
    engine.register_edge(edge.as_fd(), "edge").unwrap();
    rustix::io::write(&to_edge, b"x").unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    let plan = engine.plan(Idle::MayBlock);
    engine.wait(&plan).unwrap();
    // The caller was interrupted before it collected: the edge must not be lost.
    engine.push(Number(1));
    engine.push(Number(2));
    engine.begin_turn();
    assert_eq!(engine.next_job(), Some(Number(1)));
    engine.end_turn();
    assert_eq!(engine.next_job(), None);
    let (_, jobs) = turn(&engine, Idle::MayBlock);
    assert!(matches!(jobs[..], [Number(2), Job::Io(_)]), "{jobs:?}");
}

#[test]
fn a_turn_takes_few_events_while_they_bring_much() {
    const PIPES: usize = 2 * LEAST_EVENTS + 3;
    let engine = engine();
    let pipes: Vec<_> = (0..PIPES).map(|_| rustix::pipe::pipe().unwrap()).collect();
    let mut tokens: Vec<_> = pipes
        .iter()
        .map(|(reader, _)| engine.register_edge(reader.as_fd(), "pipe").unwrap())
        .collect();
    let events = |engine: &TestEngine| {
        let (_, jobs) = turn(engine, Idle::MustNotBlock);
        jobs.into_iter().filter_map(|job| if let Job::Io(io) = job { Some(io.token) } else { None })
    };
    let ring = || {
        for (_, writer) in &pipes {
            assert_eq!(rustix::io::write(writer, b"x").unwrap(), 1);
        }
    };
    ring();
    assert_eq!(events(&engine).count(), PIPES);

    // Much: the next turns take few.
    engine.note_received(PIPES * CACHED_BYTES);
    ring();
    let mut found = Vec::new();
    for expected in [LEAST_EVENTS, LEAST_EVENTS, 3, 0] {
        let before = found.len();
        found.extend(events(&engine));
        assert_eq!(found.len() - before, expected);
    }
    found.sort_by_key(|token| token.to_bits());
    tokens.sort_by_key(|token| token.to_bits());
    assert_eq!(found, tokens);

    // Unless many jobs are ready.
    ring();
    for number in 0..PIPES * JOBS_PER_EVENT {
        engine.push(Number(number as i32));
    }
    assert_eq!(events(&engine).count(), PIPES);

    // In between: as many as bring what is wanted.
    engine.note_received(PIPES * CACHED_BYTES / (LEAST_EVENTS + 2));
    ring();
    for expected in [LEAST_EVENTS + 2, PIPES - LEAST_EVENTS - 2, 0] {
        assert_eq!(events(&engine).count(), expected);
    }

    // Little: all of them again.
    engine.note_received(PIPES);
    ring();
    assert_eq!(events(&engine).count(), PIPES);
}

#[test]
fn an_event_of_an_ended_registration_is_dropped() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let token = engine.register_level(reader.as_raw_fd(), Interest::READABLE, "old").unwrap();
    rustix::io::write(&writer, b"x").unwrap();
    let plan = engine.plan(Idle::MayBlock);
    engine.wait(&plan).unwrap();
    assert_eq!(engine.deregister(token), Some("old"));
    let next = engine.register_level(reader.as_raw_fd(), Interest::NONE, "new").unwrap();
    assert_eq!(next.index(), token.index(), "the slot is used again");
    engine.collect(clock::now());
    assert_eq!(engine.ready_len(), 0);
}

#[test]
fn shutdown_moves_everything_out_and_repeats() {
    let engine = engine();
    let handle = engine.handle();
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    engine.register_level(reader.as_raw_fd(), Interest::READABLE, "pipe").unwrap();
    engine.insert_timer(Deadline(2), Number(4));
    engine.insert_timer(Deadline(1), Number(3));
    engine.push(Number(1));
    handle.push(Number(2)).unwrap();
    let (mut jobs, mut targets) = (vec![], vec![]);
    engine.visit_jobs(&mut |job| jobs.push(matches!(job, Number(1 | 3 | 4))));
    engine.visit_targets(&mut |target| targets.push(*target));
    assert_eq!((jobs, targets), (vec![true; 3], vec!["pipe"]));

    let (jobs, targets) = engine.shutdown();
    assert_eq!(jobs, [Number(1), Number(2), Number(3), Number(4)]);
    assert_eq!(targets, ["pipe"]);
    assert_eq!(handle.push(Number(5)), Err(Number(5)));
    let (jobs, targets) = engine.shutdown();
    assert!(jobs.is_empty() && targets.is_empty());
}

#[test]
fn no_job_is_dropped_or_cloned_inside() {
    struct Counted(#[allow(dead_code, reason = "held, not read")] Rc<()>);
    impl From<Io> for Counted {
        fn from(_: Io) -> Self {
            Self(Rc::new(()))
        }
    }
    let count = Rc::new(());
    let engine: Engine<Counted, Rc<()>> = Engine::new().unwrap();
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let make = || Counted(Rc::clone(&count));
    engine.push(make());
    engine.insert_timer(Deadline(1), make());
    engine.insert_timer(Deadline::NEVER, make());
    let key = engine.insert_timer(Deadline(2), make());
    let target = Rc::clone(&count);
    let token = engine.register_level(reader.as_raw_fd(), Interest::READABLE, target).unwrap();
    engine.collect(Deadline(1));
    let cancelled = engine.cancel_timer(key);
    assert!(cancelled.is_some());
    engine.begin_turn();
    let job = engine.next_job();
    let target = engine.deregister(token);
    let rest = engine.shutdown();
    assert_eq!(Rc::strong_count(&count), 6);
    drop((cancelled, job, target, rest));
    assert_eq!(Rc::strong_count(&count), 1);
}

#[test]
fn the_handle_crosses_threads() {
    fn crosses<T: Send + Sync + Clone>(_: &T) {}
    crosses(&engine().handle());
}

#[test]
fn a_forked_child_leaves_its_parents_registrations_alone() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let fd = reader.as_raw_fd();
    let first = engine.register_level(fd, Interest::READABLE, "first").unwrap();
    let told_the_kernel = |engine: &TestEngine| {
        let mut events = Events::with_capacity(4);
        engine.poller.wait(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        events.is_empty()
    };
    rustix::io::write(&writer, b"x").unwrap();
    // A child has its parent's memory and another number.
    engine.owner_pid.set(engine.owner_pid.get() + 1);
    assert!(engine.is_foreign_process());
    assert_eq!(engine.deregister(first), Some("first"));
    assert!(!told_the_kernel(&engine));
    assert_eq!(engine.shutdown().1, Vec::<&str>::new());
    assert!(!told_the_kernel(&engine));

    engine.owner_pid.set(engine.owner_pid.get() - 1);
    assert!(!engine.is_foreign_process());
    assert_eq!(engine.deregister(first), None);
    engine.register_level(fd, Interest::READABLE, "third").unwrap();
    assert_eq!(engine.shutdown().1, ["third"]);
    assert!(told_the_kernel(&engine));
}

#[test]
fn a_forked_child_that_uses_its_engine_has_a_poller_of_its_own() {
    let engine = engine();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (edges, _edge_writer) = rustix::pipe::pipe().unwrap();
    let level = engine.register_level(reader.as_raw_fd(), Interest::READABLE, "level").unwrap();
    let edge = engine.register_edge(edges.as_fd(), "edge").unwrap();
    let gone = rustix::pipe::pipe().unwrap();
    engine.register_level(gone.0.as_raw_fd(), Interest::READABLE, "gone").unwrap();
    drop(gone);
    rustix::io::write(&writer, b"x").unwrap();

    engine.owner_pid.set(engine.owner_pid.get() + 1);
    engine.wait(&engine.plan(Idle::MustNotBlock)).unwrap();
    assert!(!engine.is_foreign_process());
    engine.collect(Deadline(0));
    assert_eq!(engine.ready_len(), 1);
    assert_eq!(engine.with_target(edge, |target| *target), Some("edge"));

    // The kernel knows them: it can be told to forget, and wakes.
    assert_eq!(engine.deregister(level), Some("level"));
    engine.begin_turn();
    assert!(engine.next_job().is_some());
    engine.end_turn();
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(None));
    engine.handle().wake();
    engine.wait(&plan).unwrap();
}
