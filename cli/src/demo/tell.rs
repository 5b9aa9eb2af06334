//! How the demo speaks: numbered steps, facts beneath them.

use std::time::Duration;

use crate::amount::Size;
use crate::exit::Outcome;
use crate::output::line;

/// Says one step after the other.
#[derive(Debug, Default)]
pub(crate) struct Tell {
    steps: u32,
}

impl Tell {
    /// A new step.
    pub(crate) fn step(&mut self, title: &str) -> Outcome {
        self.steps += 1;
        line(&format!("\n{}. {title}", self.steps))
    }
}

/// Something that was seen.
pub(crate) fn fact(text: &str) -> Outcome {
    line(&format!("   {text}"))
}

/// `256 MiB in 0.31 s (826 MiB/s)`.
pub(crate) fn paced(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    // A rate of what took no time says nothing.
    let rate = if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { bytes };
    format!("{} in {seconds:.2} s ({}/s)", Size(bytes), Size(rate))
}
