//! Signatures of calls, checked before their entries are replayed: most of a replay's time, and no entry's depends on another's.
//!
//! What holds is kept with the signature that was checked. Whatever is not here, an entry's own turn checks: so the first finding is
//! the same, and nothing is believed that was not checked.

use std::collections::HashSet;
use std::num::NonZero;
use std::thread;

use super::Replay;
use crate::identity::Signature;
use crate::ids::CallDigest;
use crate::ledger::{Entry, Private};

/// Fewer entries for a thread are not worth it.
const LEAST: usize = 16;

/// Calls whose signatures hold.
#[derive(Debug, Default)]
pub(super) struct Foreseen(HashSet<(CallDigest, Signature)>);

impl Foreseen {
    pub(super) fn holds(&self, digest: &CallDigest, signature: &Signature) -> bool {
        self.0.contains(&(*digest, *signature))
    }
}

impl Replay {
    /// Checks the signatures of calls in the entries that come next, on all cores. Each entry stands with its private part.
    pub fn foresee(&mut self, entries: &[(&[u8], &[u8])]) {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let share = entries.len().div_ceil(cores).max(LEAST);
        self.foreseen.0.clear();
        if cores == 1 || share >= entries.len() {
            return;
        }
        let replay = &*self;
        let held: Vec<_> = thread::scope(|scope| {
            let check = |share: &[(&[u8], &[u8])]| share.iter().filter_map(|parts| replay.holds(parts)).collect();
            let threads: Vec<_> = entries.chunks(share).map(|share| scope.spawn(move || check(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Vec::new())).collect()
        });
        self.foreseen.0.extend(held.into_iter().flatten());
    }

    /// The call of an entry of a session that is known, if its signature holds.
    fn holds(&self, (public, private): &(&[u8], &[u8])) -> Option<(CallDigest, Signature)> {
        let session = Entry::from_bytes(public).ok()?.session?;
        let call_key = self.sessions.get(&session)?.call_key.as_ref()?;
        let signed = Private::from_bytes(private).ok()?.call?;
        let digest = signed.verify(&session, &self.origin, call_key).ok()?;
        Some((digest, signed.signature))
    }
}
