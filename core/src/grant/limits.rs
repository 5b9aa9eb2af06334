//! How much a grant allows, and how much of it is used.

use serde::{Deserialize, Serialize};

/// The most that may be charged to a grant in its life; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Plaintext bytes of released (or written) segments, re-reads included.
    pub bytes: Option<u64>,
    /// Objects named per call, counted on their first window.
    pub objects: Option<u64>,
    /// Calls.
    pub uses: Option<u64>,
    /// Plaintext bytes in one UTC minute of the entries' time.
    pub bytes_per_minute: Option<u64>,
    /// Source networks in CIDR notation (RFC 4632); none is anywhere.
    pub sources: Vec<String>,
}

/// What has been charged to a grant, or is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Plaintext bytes.
    pub bytes: u64,
    /// Objects.
    pub objects: u64,
    /// Calls.
    pub uses: u64,
}

/// The limit that a charge would overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    /// [`Limits::bytes`].
    Bytes,
    /// [`Limits::objects`].
    Objects,
    /// [`Limits::uses`].
    Uses,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            objects: self.objects.saturating_add(more.objects),
            uses: self.uses.saturating_add(more.uses),
        }
    }
}

impl Limits {
    /// The first limit that `usage` overruns.
    pub fn overrun_by(&self, usage: &Usage) -> Option<LimitHit> {
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used > limit);
        if over(self.bytes, usage.bytes) {
            Some(LimitHit::Bytes)
        } else if over(self.objects, usage.objects) {
            Some(LimitHit::Objects)
        } else if over(self.uses, usage.uses) {
            Some(LimitHit::Uses)
        } else {
            None
        }
    }
}
