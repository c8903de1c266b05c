//! Flow control: high and low water marks with hysteresis.
//!
//! What lives here: when a writer is told to pause and to resume. What does not: the bytes
//! (`buf::write_queue`). The owner thread runs it.
//!
//! | state | size grows past `high` | size falls to `low` |
//! |---|---|---|
//! | flowing | -> paused, PauseWriting | - |
//! | paused | - | -> flowing, ResumeWriting |
//!
//! Invariants: `low <= high`; the two events alternate, beginning with PauseWriting.

use std::fmt;

/// The high mark where the caller names none.
const DEFAULT_HIGH: i64 = 64 * 1024;

/// What the writer must be told.
#[must_use = "a protocol that is not told writes on, or waits for ever"]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FlowEvent {
    /// The buffer is over its high mark.
    PauseWriting,
    /// The buffer has fallen to its low mark.
    ResumeWriting,
}

/// Marks that are out of order: not `high >= low >= 0`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LimitsError {
    /// The high mark, given or derived.
    pub high: i64,
    /// The low mark, given or derived.
    pub low: i64,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "high ({}) must be >= low ({}) must be >= 0", self.high, self.low)
    }
}

impl std::error::Error for LimitsError {}

/// The water marks of one writer.
#[derive(Copy, Clone, Debug)]
pub struct Flow {
    high: usize,
    low: usize,
    paused: bool,
}

impl Default for Flow {
    fn default() -> Self {
        let high = DEFAULT_HIGH as usize;
        Self { high, low: high / 4, paused: false }
    }
}

impl Flow {
    /// Flowing, with the default marks.
    pub fn new() -> Self {
        Self::default()
    }

    /// The low and the high mark.
    pub fn limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// True between PauseWriting and ResumeWriting.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Sets the marks. One that is missing follows from the other: high is four times low, low a
    /// quarter of high. On an error nothing changes.
    pub fn set_limits(&mut self, high: Option<i64>, low: Option<i64>) -> Result<(), LimitsError> {
        let high = high.unwrap_or_else(|| low.map_or(DEFAULT_HIGH, |low| low.saturating_mul(4)));
        let low = low.unwrap_or_else(|| high.div_euclid(4));
        let error = LimitsError { high, low };
        if low > high {
            return Err(error);
        }
        self.low = usize::try_from(low).map_err(|_| error)?;
        self.high = usize::try_from(high).map_err(|_| error)?;
        Ok(())
    }

    /// The buffer holds `size` bytes after growing, or after a change of the marks.
    pub fn handle_growth(&mut self, size: usize) -> Option<FlowEvent> {
        if self.paused || size <= self.high {
            return None;
        }
        self.paused = true;
        Some(FlowEvent::PauseWriting)
    }

    /// The buffer holds `size` bytes after some were sent.
    pub fn handle_drain(&mut self, size: usize) -> Option<FlowEvent> {
        if !self.paused || size > self.low {
            return None;
        }
        self.paused = false;
        Some(FlowEvent::ResumeWriting)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
