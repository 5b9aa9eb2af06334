//! Who is asked about: which entries and which grants are theirs.
//!
//! A vendor's are those of its keys, and those under its grants and whatever was delegated from them; a worker's likewise. What
//! callers claim about themselves narrows further. Where what would tell was erased, the answer is that it is unknown.

use std::collections::{HashMap, HashSet};

use super::exposure::{ExposureError, Question};
use super::roster::{Roster, Theirs};
use crate::grant::Holder;
use crate::identity::Fingerprint;
use crate::ids::{GrantId, Index, Millis, RequestId, SessionId, VendorId};
use crate::ledger::extract::Doers;
use crate::ledger::facts::Release;
use crate::ledger::{Actor, Entry, Private, Role};
use crate::session::Claims;

/// Something that was done, as far as it tells whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act<'a> {
    pub(super) index: Index,
    pub(super) time: Millis,
    pub(super) actor: &'a Actor,
    pub(super) session: Option<SessionId>,
    pub(super) grants: &'a [GrantId],
    pub(super) request: Option<RequestId>,
}

impl<'a> Act<'a> {
    /// What an entry tells.
    pub(super) fn of(entry: &'a Entry) -> Self {
        let Entry { index, time, actor, session, grants, request, .. } = entry;
        Self { index: *index, time: *time, actor, session: *session, grants, request: *request }
    }
}

impl<'a> From<&Release<'a>> for Act<'a> {
    fn from(release: &Release<'a>) -> Self {
        let Release { index, time, actor, session, grants, request, .. } = *release;
        Self { index, time, actor, session, grants, request }
    }
}

/// Somebody who is asked about, and of whom the ledger does not tell: a slip, most likely, and not somebody who had nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A grant that was not issued.
    Grant(GrantId),
    /// A key that no vendor, admin or grant has or had.
    Key(Fingerprint),
    /// A session that nobody opened.
    Session(SessionId),
}

/// A vendor or a worker, with the grants that are theirs.
#[derive(Debug)]
struct Side {
    who: Who,
    theirs: HashSet<GrantId>,
    /// Grants that may be theirs: an order that would tell was erased.
    perhaps: HashSet<GrantId>,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Vendor(VendorId),
    Worker(Fingerprint),
}

/// Who is asked about, and what sessions claimed.
#[derive(Debug)]
pub(super) struct Whose {
    key: Option<Fingerprint>,
    grant: Option<GrantId>,
    session: Option<SessionId>,
    /// Whether the opening of that session was seen.
    is_session_there: bool,
    since: Option<Millis>,
    until: Option<Millis>,
    claimed: [Option<String>; 3],
    sides: Vec<Side>,
    claims: Vec<Claims>,
    numbers: HashMap<Claims, u32>,
    /// By session, the place of its claims in [`Whose::claims`].
    sessions: HashMap<SessionId, u32>,
}

impl Whose {
    /// # Errors
    /// [`ExposureError::NoVendor`].
    pub(super) fn new(roster: &Roster, asked: &Question) -> Result<Self, ExposureError> {
        let mut sides = Vec::new();
        if let Some(name) = &asked.vendor {
            let id = roster.vendor_named(name).ok_or_else(|| ExposureError::NoVendor(name.clone()))?;
            sides.push(Side::of(roster, Who::Vendor(id)));
        }
        sides.extend(asked.worker.map(|key| Side::of(roster, Who::Worker(key))));
        Ok(Self {
            key: asked.key,
            grant: asked.grant,
            session: asked.session,
            is_session_there: false,
            since: asked.since,
            until: asked.until,
            claimed: [asked.sdk.clone(), asked.host.clone(), asked.job.clone()],
            sides,
            claims: Vec::new(),
            numbers: HashMap::new(),
            sessions: HashMap::new(),
        })
    }

    /// The vendor that is asked about.
    pub(super) fn vendor(&self) -> Option<VendorId> {
        self.sides.iter().find_map(|side| match side.who {
            Who::Vendor(id) => Some(id),
            Who::Worker(_) => None,
        })
    }

    /// The vendor that is asked about, or whose key, worker or grant is.
    pub(super) fn of_vendor(&self, roster: &Roster) -> Option<VendorId> {
        let of_key = || roster.vendor_of(&self.worker().or(self.key)?);
        let of_grant = || roster.vendor_of_grant(&self.grant?);
        self.vendor().or_else(of_key).or_else(of_grant)
    }

    /// The worker that is asked about.
    pub(super) fn worker(&self) -> Option<Fingerprint> {
        self.sides.iter().find_map(|side| match side.who {
            Who::Worker(key) => Some(key),
            Who::Vendor(_) => None,
        })
    }

    /// Takes in the opening of a session.
    pub(super) fn open(&mut self, entry: &Entry, private: Option<&Private>) {
        self.is_session_there |= entry.session.is_some() && entry.session == self.session;
        let claims = private.and_then(|private| private.claims.as_ref());
        if let (Some(session), Some(claims)) = (entry.session, claims) {
            // There are no more than sessions, and of these fewer than fit into memory.
            let new = self.claims.len() as u32;
            let no = *self.numbers.entry(claims.clone()).or_insert(new);
            if no == new {
                self.claims.push(claims.clone());
            }
            self.sessions.insert(session, no);
        }
    }

    /// Whom the orders do not know, of those who are asked about. Nobody, where an order that would tell was erased.
    pub(super) fn stranger(&self, roster: &Roster) -> Option<Stranger> {
        if let Some(grant) = self.grant.filter(|grant| !roster.grants.contains_key(grant)) {
            return Some(Stranger::Grant(grant));
        }
        let mut keys = self.key.into_iter().chain(self.worker());
        keys.find(|key| !roster.may_know(key)).map(Stranger::Key)
    }

    /// The session that is asked about, if its opening was not among the entries.
    pub(super) fn missing_session(&self) -> Option<Stranger> {
        self.session.filter(|_| !self.is_session_there).map(Stranger::Session)
    }

    /// What a session claimed.
    pub(super) fn claims(&self, session: Option<SessionId>) -> Option<u32> {
        self.sessions.get(&session?).copied()
    }

    /// Claims by their number.
    pub(super) fn claims_of(&self, no: u32) -> Option<&Claims> {
        self.claims.get(no as usize)
    }

    /// Whether something was done by somebody who is asked about.
    pub(super) fn is_theirs(&self, roster: &Roster, act: &Act<'_>) -> Theirs {
        if self.key.is_some_and(|key| key != act.actor.key)
            || self.session.is_some_and(|session| act.session != Some(session))
            || self.grant.is_some_and(|grant| !is_under(roster, act, grant))
        {
            return Theirs::No;
        }
        let sides = self.sides.iter().map(|side| side.is_theirs(roster, act));
        sides.chain([self.fits_claims(act)]).fold(Theirs::Yes, Theirs::and)
    }

    /// Who can have done what is theirs, or what counts against the grants that are `watched`: few enough to ask for what they did
    /// alone. And whether these are all keys that can have acted for them, so that their sessions are among those of the keys.
    pub(super) fn doers<'a>(
        &self,
        roster: &Roster,
        watched: impl Iterator<Item = &'a GrantId>,
    ) -> (Option<Doers>, bool) {
        let (mut doers, mut is_whole) = (Doers::default(), true);
        if let Some(key) = self.key {
            doers.keys.insert(key);
        } else if let Some(grant) = self.grant {
            doers.grants.insert(grant);
            let below = roster.grants.iter().filter(|(_, known)| known.chain.contains(&grant));
            below.for_each(|(id, _)| is_whole &= add_holder(&mut doers, roster, id));
            is_whole &= roster.grants.contains_key(&grant) && roster.erased() == 0;
        } else if let Some(side) = self.sides.first() {
            match side.who {
                Who::Vendor(vendor) => {
                    doers.vendors.insert(vendor);
                    doers.keys.extend(roster.keys_of(vendor));
                }
                Who::Worker(key) => drop(doers.keys.insert(key)),
            }
            for id in side.theirs.iter().chain(&side.perhaps) {
                doers.grants.insert(*id);
                is_whole &= add_holder(&mut doers, roster, id);
            }
            is_whole &= roster.erased() == 0;
        } else {
            return (None, false);
        }
        doers.grants.extend(watched);
        if doers.are_few() { (Some(doers), is_whole) } else { (None, false) }
    }

    /// Whether an entry lies in the time that is asked for.
    pub(super) fn is_in_time(&self, time: Millis) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    fn fits_claims(&self, act: &Act<'_>) -> Theirs {
        if self.claimed.iter().all(Option::is_none) {
            return Theirs::Yes;
        }
        let Some(claims) = self.claims(act.session).and_then(|no| self.claims_of(no)) else { return Theirs::Unknown };
        let told = [&claims.sdk, &claims.host, &claims.job];
        let fits =
            self.claimed.iter().zip(told).all(|(asked, told)| asked.as_ref().is_none_or(|asked| fits(asked, told)));
        if fits { Theirs::Yes } else { Theirs::No }
    }

    /// The grants of those who are asked about; `None` where these are not all that let them read: of a session, or an admin.
    pub(super) fn grants(&self, roster: &Roster) -> Option<Vec<GrantId>> {
        let is_admin = |key: Option<Fingerprint>| key.is_some_and(|key| roster.admins.contains(&key));
        let worker = self.worker();
        if self.session.is_some() || is_admin(self.key) || is_admin(worker) {
            return None;
        }
        let holds = |id: &GrantId| {
            let holder = roster.grants.get(id).and_then(|known| known.terms.as_ref()).map(|terms| terms.holder);
            self.key.is_none_or(|key| match holder {
                Some(Holder::Key(own)) => own == key,
                Some(Holder::Vendor(vendor)) => roster.vendor_of(&key) == Some(vendor),
                None => false,
            })
        };
        let below = |id: &GrantId| {
            self.grant.is_none_or(|grant| roster.grants.get(id).is_some_and(|known| known.chain.contains(&grant)))
        };
        let theirs = |id: &GrantId| self.sides.iter().all(|side| side.theirs.contains(id));
        Some(roster.grants.keys().filter(|id| theirs(id) && holds(id) && below(id)).copied().collect())
    }

    /// Grants that are or may be theirs and whose own order was erased.
    pub(super) fn erased_grants(&self, roster: &Roster) -> u64 {
        let may_be = |id: &GrantId| self.sides.iter().all(|side| side.theirs.contains(id) || side.perhaps.contains(id));
        roster.grants.iter().filter(|(id, known)| known.terms.is_none() && may_be(id)).count() as u64
    }
}

impl Side {
    fn of(roster: &Roster, who: Who) -> Self {
        let (mut theirs, mut perhaps) = (HashSet::new(), HashSet::new());
        for id in roster.grants.keys() {
            let is = match who {
                Who::Vendor(vendor) => roster.is_vendors(id, vendor),
                Who::Worker(key) => roster.is_workers(id, key),
            };
            match is {
                Theirs::Yes => drop(theirs.insert(*id)),
                Theirs::Unknown => drop(perhaps.insert(*id)),
                Theirs::No => {}
            }
        }
        Self { who, theirs, perhaps }
    }

    fn is_theirs(&self, roster: &Roster, act: &Act<'_>) -> Theirs {
        let actor = act.actor;
        let own = match self.who {
            Who::Vendor(vendor) => actor.role == Role::Vendor(vendor) || roster.vendor_of(&actor.key) == Some(vendor),
            Who::Worker(key) => actor.key == key,
        };
        if own || act.grants.iter().any(|grant| self.theirs.contains(grant)) {
            Theirs::Yes
        } else if act.grants.iter().any(|grant| self.perhaps.contains(grant)) {
            Theirs::Unknown
        } else {
            Theirs::No
        }
    }
}

/// Whether something was done under a grant, or one delegated from it. A refusal names no more than the grant that the call named.
fn is_under(roster: &Roster, act: &Act<'_>, grant: GrantId) -> bool {
    let below = |id: &GrantId| roster.grants.get(id).is_some_and(|known| known.chain.contains(&grant));
    act.grants.contains(&grant) || matches!(act.grants, [named] if below(named))
}

/// Adds whoever can act under a grant; says whether that is known.
fn add_holder(doers: &mut Doers, roster: &Roster, grant: &GrantId) -> bool {
    match roster.holder(grant) {
        Some(Holder::Key(key)) => drop(doers.keys.insert(key)),
        Some(Holder::Vendor(vendor)) => doers.keys.extend(roster.keys_of(vendor)),
        None => return false,
    }
    true
}

/// Whether a claim is the one asked for, or begins with what stands before a `*`.
fn fits(asked: &str, told: &str) -> bool {
    match asked.strip_suffix('*') {
        Some(start) => told.starts_with(start),
        None => asked == told,
    }
}
