//! The tree of grants: who holds what, how it is given and passed on, and what is known of it outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use strongroom_client::{Action, Error, GrantId, Holder, Limits, Millis, Terms, Vault};
use strongroom_core::grant::MAX_DEPTH;
use strongroom_server::recorder::Clock;
use strongroom_tests::chance::Chance;
use strongroom_tests::{GRANT_LIFE, TestClock, scope};

use super::field::Field;

/// What a grant reaches: the prefix of each dataset that it lets read, and whether labels may be written.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// In the order of [`super::field::DATASETS`].
    pub(super) reads: [Option<String>; 2],
    pub(super) writes: bool,
}

/// A grant that is known to be there.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) id: GrantId,
    pub(super) parent: Option<Arc<Given>>,
    /// The number of who holds it.
    pub(super) holder: usize,
    /// The vendor that it comes from.
    pub(super) side: usize,
    pub(super) reach: Reach,
    pub(super) delegable: bool,
    limits: Limits,
    /// When it ends, as last acknowledged.
    expires: AtomicU64,
    /// Set once its revocation has been answered.
    is_over: AtomicBool,
    /// Set once a limit on its whole life was hit.
    is_used_up: AtomicBool,
    /// Bytes that were got under it.
    pub(super) got: AtomicU64,
}

impl Given {
    /// It, and those above it.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |given| given.parent.as_deref())
    }

    /// How often it was delegated.
    pub(super) fn depth(&self) -> usize {
        self.chain().count() - 1
    }

    /// Whether its end, or that of one above it, has been answered.
    pub(super) fn is_over(&self) -> bool {
        self.chain().any(|given| given.is_over.load(SeqCst))
    }

    /// Whether something may come of using it, as far as is known.
    pub(super) fn is_live(&self) -> bool {
        let now = now();
        self.chain().all(|given| given.expires() > now && !given.is_over.load(SeqCst) && !given.is_used_up.load(SeqCst))
    }

    /// When it ends, as last acknowledged.
    pub(super) fn expires(&self) -> u64 {
        self.expires.load(SeqCst)
    }

    pub(super) fn renewed(&self, expires: Millis) {
        self.expires.fetch_max(expires.0, SeqCst);
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, SeqCst);
    }

    pub(super) fn use_up(&self) {
        self.is_used_up.store(true, SeqCst);
    }
}

/// The machine's clock.
pub(super) fn now() -> u64 {
    TestClock::default().now().0
}

/// Every grant that there was, the oldest first.
#[derive(Default)]
pub(super) struct Tree {
    all: Mutex<Vec<Arc<Given>>>,
}

impl Tree {
    pub(super) fn all(&self) -> Vec<Arc<Given>> {
        self.all.lock().unwrap().clone()
    }

    /// Those that `keep` keeps.
    pub(super) fn some(&self, keep: impl Fn(&Given) -> bool) -> Vec<Arc<Given>> {
        self.all.lock().unwrap().iter().filter(|given| keep(given)).cloned().collect()
    }

    /// How many can be used.
    pub(super) fn live(&self) -> usize {
        self.all.lock().unwrap().iter().filter(|given| given.is_live()).count()
    }
}

/// What is to be given to whom.
pub(super) struct Gift {
    pub(super) parent: Option<Arc<Given>>,
    pub(super) holder: usize,
    pub(super) side: usize,
    reach: Reach,
    delegable: bool,
    limits: Limits,
    expires: u64,
}

impl Gift {
    /// A vendor's: large, and mostly long.
    pub(super) fn root(side: usize, chance: &mut Chance) -> Self {
        let limits = Limits {
            // Odd numbers, so that they are hit in the middle of something.
            bytes: (!chance.once_in(3)).then(|| 300_003 + chance.below(3_000_000)),
            objects: chance.once_in(2).then(|| 101 + chance.below(400)),
            uses: chance.once_in(3).then(|| 101 + chance.below(300)),
            bytes_per_minute: chance.once_in(4).then(|| 200_001 + chance.below(900_000)),
            ..Limits::default()
        };
        let life = if chance.once_in(4) { 6_000 + chance.below(6_000) } else { GRANT_LIFE };
        let reach = Reach { reads: [Some(String::new()), Some(String::new())], writes: true };
        Self { parent: None, holder: side, side, reach, delegable: true, limits, expires: now() + life }
    }

    /// A part of a grant.
    pub(super) fn part(parent: &Arc<Given>, holder: usize, chance: &mut Chance) -> Self {
        let mut reach = parent.reach.clone();
        for prefix in reach.reads.iter_mut().flatten() {
            if !chance.once_in(5) {
                continue;
            }
            *prefix = match prefix.strip_suffix('*') {
                None if prefix.is_empty() => format!("{}*", chance.below(4)),
                Some(stem) => format!("{stem}{}", chance.below(10)),
                None => continue,
            };
        }
        if chance.once_in(8) {
            reach.reads[chance.below(2) as usize] = None;
        }
        if reach.reads.iter().all(Option::is_none) {
            reach.reads = parent.reach.reads.clone();
        }
        reach.writes &= !chance.once_in(8);
        let outer = &parent.limits;
        let limit = |wanted: Option<u64>, outer: Option<u64>| match (wanted, outer) {
            (Some(wanted), Some(outer)) => Some(wanted.min(outer)),
            (wanted, _) => wanted,
        };
        let limits = Limits {
            bytes: limit(chance.once_in(2).then(|| 5_001 + chance.below(150_000)), outer.bytes),
            objects: limit(chance.once_in(4).then(|| 2 + chance.below(20)), outer.objects),
            uses: limit(chance.once_in(4).then(|| 2 + chance.below(12)), outer.uses),
            bytes_per_minute: limit(chance.once_in(4).then(|| 10_001 + chance.below(90_000)), outer.bytes_per_minute),
            ..Limits::default()
        };
        let life = if chance.once_in(2) { 1_500 + chance.below(8_000) } else { GRANT_LIFE };
        let expires = parent.expires().min(now() + life);
        let delegable = !chance.once_in(8);
        Self { parent: Some(parent.clone()), holder, side: parent.side, reach, delegable, limits, expires }
    }

    /// Without what would end it soon: for the beginning.
    pub(super) fn lasting(mut self) -> Self {
        let outer = self.parent.as_ref().map(|parent| parent.limits.clone()).unwrap_or_default();
        self.limits = Limits { bytes: outer.bytes, ..Limits::default() };
        self.expires = self.parent.as_ref().map_or_else(|| now() + GRANT_LIFE, |parent| parent.expires());
        self.delegable = true;
        self
    }

    /// Gives it: an admin a vendor's, the holder of its parent any other.
    pub(super) async fn give(self, field: &Field, vault: &Vault) -> Result<Arc<Given>, Error> {
        let reads = super::field::DATASETS.iter().zip(&self.reach.reads);
        let reads = reads.filter_map(|(dataset, prefix)| {
            Some(scope(&[Action::List, Action::Read], &format!("{dataset}/{}", prefix.as_ref()?)))
        });
        let writes = self.reach.writes.then(|| scope(&[Action::Write], "labels/"));
        let terms = Terms {
            holder: match self.parent {
                None => field.vendor(self.side),
                Some(_) => Holder::Key(field.identity(self.holder).fingerprint()),
            },
            parent: self.parent.as_ref().map(|parent| parent.id),
            scopes: reads.chain(writes).collect(),
            not_before: None,
            expires: Millis(self.expires),
            delegable: self.delegable,
            limits: self.limits.clone(),
            purpose: None,
        };
        let (id, _) = vault.issue_grant(field.tenant(), terms).await?;
        let above = self.parent.as_ref().map(|parent| parent.limits.clone()).unwrap_or_default();
        let given = Arc::new(Given {
            id,
            parent: self.parent,
            holder: self.holder,
            side: self.side,
            reach: self.reach,
            delegable: self.delegable,
            limits: self.limits.or(&above),
            expires: AtomicU64::new(self.expires),
            is_over: AtomicBool::new(false),
            is_used_up: AtomicBool::new(false),
            got: AtomicU64::new(0),
        });
        field.tree.all.lock().unwrap().push(given.clone());
        Ok(given)
    }
}

/// Whether it can be passed on at all.
pub(super) fn may_pass_on(given: &Given) -> bool {
    given.delegable && given.depth() < MAX_DEPTH
}
