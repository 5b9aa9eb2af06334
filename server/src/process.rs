//! The process's own hygiene: what it holds in memory stays out of core dumps, debuggers and swap.
//!
//! None of it keeps root out. It keeps out the accidents: a crash reporter that ships a core, another process of the same
//! user that attaches, a page of keys that lands in a swap file and stays there for years.

use rustix::process::{Resource, Rlimit, setrlimit};

/// What could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hygiene {
    /// No core dump is written, and no process of the same user may attach.
    pub undumpable: bool,
    /// Memory is kept out of swap.
    pub locked: bool,
}

/// Does what the system permits. Call it first thing, before there are secrets and threads.
pub fn harden() -> Hygiene {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_ok();
    Hygiene { undumpable: no_core && undumpable(), locked: lock_memory() }
}

#[cfg(target_os = "linux")]
fn undumpable() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn undumpable() -> bool {
    false
}

/// Locks memory where that is not limited: under a limit, every allocation past it would fail, which is worse than swap.
#[cfg(target_os = "linux")]
fn lock_memory() -> bool {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::getrlimit;
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.maximum.is_some() || setrlimit(Resource::Memlock, raised).is_err() {
            return false;
        }
    }
    // Pages are locked as they are first used, so that what is only mapped costs nothing.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn lock_memory() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn no_core_is_dumped() {
        use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};
        assert!(harden().undumpable);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
