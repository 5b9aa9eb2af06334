//! Progress bars: on a terminal only, on stderr, and never in the way of an error.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::globals::Globals;
use crate::output::Format;

/// A bar that counts bytes, or objects; or nothing, where nobody looks. Clones move the same bar.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Bar>);

#[derive(Debug)]
struct Bar(ProgressBar);

impl Progress {
    /// Counts bytes, up to `total` where that is known.
    pub fn bytes(globals: &Globals, what: &str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        Self::styled(globals, what, total, template)
    }

    /// Counts objects, up to `total` where that is known.
    pub fn objects(globals: &Globals, what: &str, total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} objects {rate} {eta}",
            None => "{msg} {spinner} {human_pos} objects {rate}",
        };
        Self::styled(globals, what, total, template)
    }

    /// Counts up to `total` of something.
    pub fn of(globals: &Globals, what: &str, total: u64, unit: &str) -> Self {
        let template = format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{eta}}");
        Self::styled(globals, what, Some(total), &template)
    }

    /// So many of so many.
    pub fn set(&self, done: u64, of: u64) {
        self.0.0.set_length(of);
        self.0.0.set_position(done);
    }

    fn styled(globals: &Globals, what: &str, total: Option<u64>, template: &str) -> Self {
        if globals.output == Format::Json || !std::io::stderr().is_terminal() {
            return Self(Arc::new(Bar(ProgressBar::hidden())));
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        // A template that does not parse leaves indicatif's own style.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Whole numbers: indicatif's own rate has four places behind the point.
        let style = style.with_key("rate", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
        });
        Self(Arc::new(Bar(bar.with_style(style).with_message(what.to_owned()))))
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.0.inc(count);
    }

    /// As the SDK wants to tell it: bytes of one object so far.
    pub fn of_sdk(&self) -> strongroom_client::Progress {
        let this = self.clone();
        Arc::new(move |bytes| this.0.0.set_position(bytes))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
