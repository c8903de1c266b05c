//! Tests, in builds for loom only: models of the inbox, every interleaving of a few threads.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;

/// A descriptor that counts its rings, and on which the consumer can sleep.
#[derive(Default)]
struct Bell {
    rings: Mutex<usize>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_one();
    }

    /// Sleeps until it has been rung. If it never is, loom reports the deadlock.
    fn sleep(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.rung.wait(rings).unwrap();
        }
        *rings -= 1;
    }

    fn rings_left(&self) -> usize {
        *self.rings.lock().unwrap()
    }
}

fn produce(inbox: &Inbox<u32>, bell: &Bell, item: u32) {
    if inbox.push(item).map(|pushed| pushed.wake) == Ok(Wake::Needed) {
        bell.ring();
    }
}

/// Takes until `wanted` items came, sleeping whenever the inbox allows it.
fn consume(inbox: &Inbox<u32>, bell: &Bell, wanted: usize) -> Vec<u32> {
    let mut taken = vec![];
    while taken.len() < wanted {
        if inbox.prepare_park() {
            bell.sleep();
            inbox.unpark();
        }
        inbox.take(&mut taken);
    }
    taken
}

#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(), Bell::default()));
        let theirs = Arc::clone(&shared);
        let producer = thread::spawn(move || {
            produce(&theirs.0, &theirs.1, 1);
            produce(&theirs.0, &theirs.1, 2);
        });
        assert_eq!(consume(&shared.0, &shared.1, 2), [1, 2]);
        producer.join().unwrap();
    });
}

#[test]
fn two_producers_owe_one_wake_up_per_park() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(), Bell::default()));
        let producers: Vec<_> = [1, 2]
            .into_iter()
            .map(|item| {
                let theirs = Arc::clone(&shared);
                thread::spawn(move || produce(&theirs.0, &theirs.1, item))
            })
            .collect();
        let mut taken = consume(&shared.0, &shared.1, 2);
        for producer in producers {
            producer.join().unwrap();
        }
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        assert_eq!(shared.1.rings_left(), 0, "every ring ended a sleep");
    });
}

#[test]
fn close_loses_nothing() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let theirs = Arc::clone(&inbox);
        let producer = thread::spawn(move || {
            let mut refused = vec![];
            for item in [1, 2] {
                if let Err(item) = theirs.push(item) {
                    refused.push(item);
                }
            }
            refused
        });
        let mut seen = vec![];
        inbox.take(&mut seen);
        seen.extend(inbox.close());
        seen.extend(producer.join().unwrap());
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn a_notification_wakes_like_a_push() {
    loom::model(|| {
        let shared = Arc::new((Inbox::<u32>::new(), Bell::default()));
        let theirs = Arc::clone(&shared);
        let notifier = thread::spawn(move || {
            if theirs.0.notify() == Wake::Needed {
                theirs.1.ring();
            }
        });
        while !shared.0.has_items() {
            if shared.0.prepare_park() {
                shared.1.sleep();
                shared.0.unpark();
            }
        }
        notifier.join().unwrap();
    });
}
