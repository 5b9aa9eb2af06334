//! For tests alone (feature `failpoints`): places where a process dies if it is told to.
//!
//! What a crash leaves behind depends on the moment, and the moments that matter are a few instructions wide: between a commit
//! and its answer, between a blob and its row. So they have names here, and `STRONGROOM_TEST_FAILPOINT` names the one at which
//! the process is killed, as by `kill -9`. A server that is built without the feature has no such places.

/// The variable that names the place to die at.
#[cfg(feature = "failpoints")]
const VARIABLE: &str = "STRONGROOM_TEST_FAILPOINT";

/// Dies here, if this is the place.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    if std::env::var(VARIABLE).is_ok_and(|wanted| wanted == name) {
        tracing::warn!(name, "killed at a fail point");
        // Nothing runs after it: no destructor, no flush. If the signal is refused, aborting comes closest.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_: &str) {}
