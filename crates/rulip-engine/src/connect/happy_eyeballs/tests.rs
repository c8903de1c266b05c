//! Tests of the race: by example, then against a list of outcomes in simulated time.

use super::*;
use proptest::prelude::*;

const DELAY: Duration = Duration::from_nanos(250);

#[test]
fn addresses_start_a_delay_apart() {
    let mut race = HappyEyeballs::new(3, Some(DELAY));
    assert_eq!(race.poll_action(Deadline(0)), Action::Start(0));
    assert_eq!(race.poll_action(Deadline(0)), Action::Wait(Deadline(250)));
    assert!(!race.handle_timeout(Deadline(249)) && race.handle_timeout(Deadline(250)));
    assert_eq!(race.poll_action(Deadline(250)), Action::Start(1));
    race.handle_failed(0);
    assert_eq!(race.poll_action(Deadline(260)), Action::Wait(Deadline(500)), "0 was overtaken");
    race.handle_failed(1);
    assert_eq!(race.poll_action(Deadline(270)), Action::Start(2));
    assert_eq!(race.poll_action(Deadline(270)), Action::Wait(Deadline::NEVER));
    race.handle_connected(2);
    assert_eq!(race.poll_action(Deadline(280)), Action::Done(2));
}

#[test]
fn the_first_to_connect_wins_and_the_others_are_given_up() {
    let mut race = HappyEyeballs::new(4, Some(DELAY));
    for i in 0..3u64 {
        assert_eq!(race.poll_action(Deadline(i * 250)), Action::Start(i as usize));
    }
    race.handle_connected(3);
    assert_eq!(race.poll_action(Deadline(500)), Action::Wait(Deadline(750)), "3 has not begun");
    race.handle_connected(1);
    race.handle_connected(0);
    race.handle_failed(1);
    assert_eq!(race.poll_action(Deadline(9999)), Action::Done(1));
    assert_eq!(race.losers().filter(|i| *i != 1).collect::<Vec<_>>(), [0, 2]);
    assert!(!race.handle_timeout(Deadline(9999)));
}

#[test]
fn without_a_delay_one_follows_the_failure_of_the_other() {
    let mut race = HappyEyeballs::new(2, None);
    assert_eq!(race.poll_action(Deadline(0)), Action::Start(0));
    assert_eq!(race.poll_action(Deadline(u64::MAX - 1)), Action::Wait(Deadline::NEVER));
    race.handle_failed(0);
    assert_eq!(race.poll_action(Deadline(1)), Action::Start(1));
    race.handle_failed(1);
    race.handle_failed(1);
    assert_eq!(race.poll_action(Deadline(1)), Action::Failed);
    assert_eq!(HappyEyeballs::new(0, None).poll_action(Deadline(0)), Action::Failed);
}

#[test]
fn families_take_turns() {
    assert_eq!(interleave(&[6, 6, 6, 4, 4], 1), [0, 3, 1, 4, 2]);
    assert_eq!(interleave(&[6, 6, 6, 4, 4], 2), [0, 1, 3, 2, 4]);
    assert_eq!(interleave(&[4, 6, 4, 1, 6], 0), [0, 1, 3, 2, 4]);
    assert_eq!(interleave(&[6, 4], 9), [0, 1]);
    assert!(interleave(&[], 3).is_empty());
}

/// What an address does: after so long it connects, or fails.
type Outcome = (u64, bool);

/// Who starts when and who wins, worked out address by address.
fn expected(outcomes: &[Outcome], delay: u64) -> (Vec<u64>, Option<usize>) {
    let mut starts: Vec<u64> = vec![];
    for (i, _) in outcomes.iter().enumerate() {
        let start = match i.checked_sub(1) {
            None => 0,
            Some(before) if outcomes[before].1 => starts[before] + delay,
            Some(before) => starts[before] + delay.min(outcomes[before].0),
        };
        let won = |(j, s): (usize, &u64)| outcomes[j].1 && s + outcomes[j].0 <= start;
        if starts.iter().enumerate().any(won) {
            break;
        }
        starts.push(start);
    }
    let wins = starts.iter().enumerate().filter(|(j, _)| outcomes[*j].1);
    let winner = wins.min_by_key(|(j, start)| (*start + outcomes[*j].0, *j)).map(|(j, _)| j);
    (starts, winner)
}

proptest! {
    #[test]
    fn agrees_with_a_timetable(
        outcomes in proptest::collection::vec((1..50u64, prop::bool::weighted(0.3)), 0..8),
        delay in 1..40u64,
    ) {
        let mut race = HappyEyeballs::new(outcomes.len(), Some(Duration::from_nanos(delay)));
        let mut starts: Vec<u64> = vec![];
        let mut winner = None;
        'race: for now in 0.. {
            for (i, start) in starts.iter().enumerate() {
                let (after, connects) = outcomes[i];
                if start + after == now {
                    if connects { race.handle_connected(i) } else { race.handle_failed(i) }
                }
            }
            loop {
                match race.poll_action(Deadline(now)) {
                    Action::Start(i) => { prop_assert_eq!(i, starts.len()); starts.push(now); }
                    Action::Wait(until) => { prop_assert!(until > Deadline(now)); break; }
                    Action::Done(i) => { winner = Some(i); break 'race; }
                    Action::Failed => break 'race,
                }
            }
        }
        prop_assert_eq!((starts, winner), expected(&outcomes, delay));
    }
}
