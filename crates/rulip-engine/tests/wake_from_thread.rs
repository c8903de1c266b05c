//! Other threads push into an engine that sleeps.

use std::thread;

use rulip_engine::sys::clock;
use rulip_engine::{Engine, Idle, Io, Plan};

#[derive(Debug, PartialEq)]
struct Job(usize, usize);

impl From<Io> for Job {
    fn from(_: Io) -> Self {
        Self(usize::MAX, usize::MAX)
    }
}

/// Sleeps and takes until `wanted` jobs came; returns them, and how often it slept.
fn take(engine: &Engine<Job, ()>, wanted: usize) -> (Vec<Job>, usize) {
    let (mut taken, mut sleeps) = (vec![], 0);
    while taken.len() < wanted {
        let plan = engine.plan(Idle::MayBlock);
        sleeps += usize::from(matches!(plan, Plan::Block(_)));
        engine.wait(&plan).expect("a wait succeeds");
        engine.collect(clock::now());
        engine.begin_turn();
        taken.extend(std::iter::from_fn(|| engine.next_job()));
        engine.end_turn();
    }
    (taken, sleeps)
}

#[test]
fn every_job_arrives_in_its_threads_order() {
    const THREADS: usize = 4;
    const JOBS: usize = 5_000;
    let engine: Engine<Job, ()> = Engine::new().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = engine.handle();
            thread::spawn(move || (0..JOBS).for_each(|n| handle.push(Job(thread, n)).unwrap()))
        })
        .collect();
    let (taken, _) = take(&engine, THREADS * JOBS);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for thread in 0..THREADS {
        let order: Vec<_> = taken.iter().filter(|job| job.0 == thread).map(|job| job.1).collect();
        assert_eq!(order, (0..JOBS).collect::<Vec<_>>());
    }
}

#[test]
fn two_engines_that_wake_each_other_never_sleep_for_good() {
    const ROUNDS: usize = 2_000;
    let engine: Engine<Job, ()> = Engine::new().unwrap();
    let here = engine.handle();
    let (send_handle, receive_handle) = std::sync::mpsc::channel();
    let other = thread::spawn(move || {
        let engine: Engine<Job, ()> = Engine::new().unwrap();
        send_handle.send(engine.handle()).unwrap();
        for round in 0..ROUNDS {
            assert_eq!(take(&engine, 1).0, [Job(0, round)]);
            here.push(Job(1, round)).unwrap();
        }
    });
    let there = receive_handle.recv().unwrap();
    for round in 0..ROUNDS {
        there.push(Job(0, round)).unwrap();
        assert_eq!(take(&engine, 1).0, [Job(1, round)]);
    }
    other.join().unwrap();
}

#[test]
fn an_engine_that_was_shut_down_gives_jobs_back() {
    let engine: Engine<Job, ()> = Engine::new().unwrap();
    let handle = engine.handle();
    let pusher = thread::spawn(move || {
        let mut accepted = 0;
        while handle.push(Job(0, accepted)).is_ok() {
            accepted += 1;
        }
        accepted
    });
    let (taken, _) = take(&engine, 1);
    let (rest, _) = engine.shutdown();
    assert_eq!(pusher.join().unwrap(), taken.len() + rest.len());
}

#[test]
fn a_wait_without_a_wake_up_is_one_sleep() {
    let engine: Engine<Job, ()> = Engine::new().unwrap();
    let handle = engine.handle();
    let plan = engine.plan(Idle::MayBlock);
    assert_eq!(plan, Plan::Block(None));
    let pusher = thread::spawn(move || (0..100).for_each(|n| handle.push(Job(0, n)).unwrap()));
    engine.wait(&plan).unwrap();
    pusher.join().unwrap();
    let (taken, sleeps) = take(&engine, 100);
    assert_eq!((taken.len(), sleeps), (100, 0), "a hundred pushes owe one wake-up");
}
