//! A histogram of latencies: logarithmic octaves, each cut into 64 equal steps, so a percentile is
//! right within 1.6 %.
//!
//! Not here: the clock. Thread: the owner's. Invariant: recording never allocates and never fails.

const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const SLOTS: usize = (STEPS as usize) * (64 - STEP_BITS as usize + 1);

/// Counts of latencies in nanoseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    greatest: u64,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; SLOTS], total: 0, greatest: 0 }
    }

    /// Adds one latency.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        if let Some(count) = self.counts.get_mut(slot(nanoseconds)) {
            *count += 1;
        }
        self.total += 1;
        self.greatest = self.greatest.max(nanoseconds);
    }

    /// How many latencies were recorded.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The greatest latency, exact.
    pub(crate) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// The least value that `fraction` of the latencies do not exceed (upper edge of its step); 0
    /// when empty.
    pub(crate) fn quantile(&self, fraction: f64) -> u64 {
        let wanted = (self.total as f64 * fraction).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_edge(index).min(self.greatest);
            }
        }
        self.greatest
    }
}

fn slot(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let octave = u64::from(value.ilog2() - STEP_BITS);
    (octave * STEPS + (value >> octave)) as usize
}

fn upper_edge(slot: usize) -> u64 {
    let slot = slot as u64;
    if slot < 2 * STEPS {
        return slot;
    }
    let octave = slot / STEPS - 1;
    let next = (slot % STEPS + STEPS + 1) as u128;
    u64::try_from((next << octave) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, SLOTS, slot, upper_edge};

    #[test]
    fn every_value_lies_in_its_step_and_near_its_edge() {
        for value in (0..100_000).chain([1 << 20, 1 << 40, u64::MAX - 1, u64::MAX]) {
            let index = slot(value);
            assert!(index < SLOTS);
            assert!(upper_edge(index) >= value);
            assert!(index == 0 || upper_edge(index - 1) < value);
            assert!((upper_edge(index) - value) as f64 <= value as f64 * 0.016);
        }
    }

    #[test]
    fn quantiles_of_a_ramp() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.99), 0);
        for value in 1..=1000 {
            histogram.record(value * 1000);
        }
        assert_eq!(histogram.total(), 1000);
        assert_eq!(histogram.greatest(), 1_000_000);
        for (fraction, exact) in [(0.5, 500_000_f64), (0.99, 990_000_f64)] {
            assert!((histogram.quantile(fraction) as f64 / exact - 1.0).abs() < 0.016);
        }
        assert_eq!(histogram.quantile(1.0), 1_000_000);
    }
}
