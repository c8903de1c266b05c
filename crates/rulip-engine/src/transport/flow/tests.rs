//! Tests of the water marks.

use super::*;
use proptest::prelude::*;

#[test]
fn missing_marks_are_derived() {
    let mut flow = Flow::new();
    assert_eq!(flow.limits(), (16 * 1024, 64 * 1024));
    for (high, low, expected) in [
        (None, None, (16 * 1024, 64 * 1024)),
        (Some(100), None, (25, 100)),
        (None, Some(100), (100, 400)),
        (Some(0), None, (0, 0)),
        (Some(7), Some(7), (7, 7)),
        (None, Some(i64::MAX), (i64::MAX as usize, i64::MAX as usize)),
    ] {
        flow.set_limits(high, low).unwrap();
        assert_eq!(flow.limits(), expected, "{high:?} {low:?}");
    }
}

#[test]
fn marks_out_of_order_are_refused_and_change_nothing() {
    let mut flow = Flow::new();
    let before = flow.limits();
    for (high, low, seen) in [
        (Some(1), Some(2), (1, 2)),
        (Some(-1), None, (-1, -1)),
        (None, Some(-1), (-4, -1)),
        (Some(1), Some(-1), (1, -1)),
    ] {
        let error = flow.set_limits(high, low).unwrap_err();
        assert_eq!((error.high, error.low), seen);
        assert_eq!(flow.limits(), before);
    }
    let error = LimitsError { high: 1, low: 2 };
    assert_eq!(error.to_string(), "high (1) must be >= low (2) must be >= 0");
}

#[derive(Debug, Clone)]
enum Op {
    Grow(usize),
    Drain(usize),
    SetLimits(i64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..60usize).prop_map(Op::Grow),
        4 => (0..60usize).prop_map(Op::Drain),
        1 => (-5..80i64, -5..80i64).prop_map(|(high, low)| Op::SetLimits(high, low)),
    ]
}

proptest! {
    /// The model says it in one line per direction; the events must also alternate.
    #[test]
    fn pauses_above_high_and_resumes_at_low(ops in proptest::collection::vec(op(), 0..100)) {
        let mut flow = Flow::new();
        flow.set_limits(Some(40), Some(10)).unwrap();
        let (mut size, mut high, mut low, mut paused) = (0usize, 40, 10, false);
        for op in ops {
            let event = match op {
                Op::Grow(by) => { size += by; flow.handle_growth(size) }
                Op::Drain(by) => { size = size.saturating_sub(by); flow.handle_drain(size) }
                Op::SetLimits(h, l) => {
                    if flow.set_limits(Some(h), Some(l)).is_ok() {
                        prop_assert!(h >= l && l >= 0);
                        (high, low) = (h as usize, l as usize);
                    } else {
                        prop_assert!(h < l || l < 0);
                    }
                    flow.handle_growth(size)
                }
            };
            match event {
                Some(FlowEvent::PauseWriting) => {
                    prop_assert!(!paused && size > high);
                    paused = true;
                }
                Some(FlowEvent::ResumeWriting) => {
                    prop_assert!(paused && size <= low);
                    paused = false;
                }
                None => {}
            }
            prop_assert_eq!(flow.is_paused(), paused);
        }
    }
}
