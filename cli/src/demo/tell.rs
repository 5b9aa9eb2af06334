//! How the demo speaks: numbered steps, facts beneath them. To programs: one JSON object a line.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::amount::Size;
use crate::exit::{Failure, Outcome};
use crate::output::{Format, line, write_json};

/// Says one step after the other.
#[derive(Debug)]
pub(crate) struct Tell {
    output: Format,
    steps: u32,
}

/// What is told, to programs: the step that it belongs to, and one of the others.
#[derive(Debug, Default, Serialize)]
struct Told<'a> {
    /// From 1; 0 before the first step.
    step: u32,
    /// A new step.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    /// Something that was seen in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    fact: Option<&'a str>,
    /// An entry of the ledger, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a str>,
    /// What is said around the story.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

impl Tell {
    /// To people or to programs.
    pub(crate) fn new(output: Format) -> Self {
        Self { output, steps: 0 }
    }

    /// A new step.
    pub(crate) fn step(&mut self, title: &str) -> Outcome {
        self.steps += 1;
        self.say(&format!("\n{}. {title}", self.steps), Told { title: Some(title), ..Told::default() })
    }

    /// Something that was seen.
    pub(crate) fn fact(&self, text: &str) -> Outcome {
        self.say(&format!("   {text}"), Told { fact: Some(text), ..Told::default() })
    }

    /// A line of the ledger.
    pub(crate) fn entry(&self, text: &str) -> Outcome {
        self.say(text, Told { entry: Some(text.trim_start()), ..Told::default() })
    }

    /// Something around the story.
    pub(crate) fn note(&self, text: &str) -> Outcome {
        self.say(text, Told { note: Some(text.trim()), ..Told::default() })
    }

    fn say(&self, words: &str, told: Told<'_>) -> Outcome {
        match self.output {
            Format::Table => line(words),
            Format::Json => write_json(&mut io::stdout().lock(), &Told { step: self.steps, ..told })
                .map_err(|error| Failure::stdio(&error)),
        }
    }
}

/// `256 MiB in 0.31 s (826 MiB/s)`.
pub(crate) fn paced(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    // A rate of what took no time says nothing.
    let rate = if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { bytes };
    format!("{} in {seconds:.2} s ({}/s)", Size(bytes), Size(rate))
}
