//! The one decision: may this key do this now.
//!
//! The server decides under the lock that assigns the entry's index and records what it decided; replay decides again, from
//! the ledger alone, and must come to the same. So the function is pure, and everything it looks at is an argument.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::grant::{Action, Authority, Blocked, Grant, Hit, Limit, Limits, Principal, Reset, Tally, Usage};
use crate::identity::Fingerprint;
use crate::ids::{GrantId, IncidentId, Millis};
use crate::names::{DatasetName, ObjectPath};
use crate::reason::Reason;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The key that asks.
    pub key: Fingerprint,
    /// The grant that the call names.
    pub grant: Option<GrantId>,
    /// The incident that the call names.
    pub incident: Option<IncidentId>,
    /// What is to be done to each of `places`.
    pub places: &'a [Place<'a>],
    /// What it would cost: zero for a repeat.
    pub charge: Usage,
    /// Where the key asks from.
    pub source: Source,
    /// What the state of the objects says against it; told only to those in scope.
    pub obstacle: Option<&'a Refusal>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This address, as the connection has it.
    Address(IpAddr),
    /// It is not said: in no network.
    Unknown,
    /// It was said and is erased, or is left open: networks are not looked at. For replay, which calls nothing proven that stands
    /// on it, and for questions that release nothing.
    Erased,
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip().to_canonical())
    }
}

/// An object as far as a decision looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What is to be done.
    pub action: Action,
    /// Its dataset.
    pub dataset: &'a DatasetName,
    /// Its path.
    pub path: &'a ObjectPath,
}

/// A grant and what has been charged to it.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// All charges so far.
    pub tally: Tally,
}

/// All that a decision stands on.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The time of the entry-to-be.
    pub now: Millis,
    /// The tenant's authority.
    pub authority: &'a Authority,
    /// The named grant first, then its parent, and so on up to one that has none; empty where none is named or the named one is
    /// not known. A chain that ends early allows nothing.
    pub chain: &'a [Held<'a>],
    /// The keys that operators blocked on the whole server, beside those that the tenant's own ledger notes; none for replay, which
    /// knows that ledger alone.
    pub blocked: &'a Blocked,
}

/// A yes: who acts, under which chain of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Who the key is.
    pub principal: Principal,
    /// The grants that the charge falls on, the named one first; empty for an admin.
    pub chain: Vec<GrantId>,
}

/// A no: the stable reason, and what is wrong in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// In words, without anything that the caller may not know.
    pub detail: Cow<'static, str>,
    /// The limit that stood against it, and when it no longer will.
    pub hit: Option<Hit>,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), hit: None }
    }

    /// The same, for a limit.
    #[must_use]
    pub fn with_hit(self, hit: Hit) -> Self {
        Self { hit: Some(hit), ..self }
    }

    /// What is told of everything outside a caller's scope, whether it exists or not.
    pub fn out_of_scope() -> Self {
        Self::new(Reason::OutOfScope, "no grant of this key covers it")
    }

    /// What is told of a tenant whose keys were all destroyed.
    pub fn tenant_shredded() -> Self {
        Self::new(Reason::Shredded, "the tenant was shredded: its keys are destroyed, its ledger can be read")
    }

    /// What is told of a dataset whose keys were all destroyed, to those who would see it otherwise.
    pub fn shredded(dataset: &DatasetName) -> Self {
        Self::new(Reason::Shredded, format!("{dataset} was shredded: its keys are destroyed"))
    }

    /// What is told of an object whose keys were destroyed, to those who would see it otherwise.
    pub fn object_shredded() -> Self {
        Self::new(Reason::Shredded, "the object was shredded: its keys are destroyed")
    }

    /// What is told of a frozen dataset to those who would see it otherwise.
    pub fn frozen(dataset: &DatasetName) -> Self {
        Self::new(Reason::Frozen, format!("{dataset} is frozen: nobody reads or writes in it"))
    }
}

/// Decides a request. Of several reasons against it, the first in this order is the answer: standing, then scope, then what
/// those in scope may know of the place (that it is frozen) and of the objects, then quota.
///
/// # Errors
/// The [`Refusal`].
pub fn decide(request: &Request<'_>, standing: &Standing<'_>) -> Result<Allowed, Refusal> {
    let principal = authenticate(request, standing)?;
    let chain = match request.grant {
        None if principal == Principal::Admin => &[][..],
        None => return Err(Refusal::out_of_scope()),
        Some(_) => authorise(request, standing)?,
    };
    standing.authority.admit_incident(request.incident.as_ref(), principal == Principal::Admin)?;
    frozen(request, standing.authority, principal)?;
    shredded(request, standing.authority)?;
    if let Some(obstacle) = request.obstacle {
        return Err(obstacle.clone());
    }
    check_limits(chain, &request.charge, standing.now)?;
    Ok(Allowed { principal, chain: chain.iter().map(|held| held.grant.id).collect() })
}

/// Who asks: unknown keys and suspended vendors go no further.
fn authenticate(request: &Request<'_>, standing: &Standing<'_>) -> Result<Principal, Refusal> {
    let authority = standing.authority;
    standing.blocked.admit_key(&request.key)?;
    authority.blocked().admit_key(&request.key)?;
    let principal = authority.principal(&request.key);
    let holds = standing.chain.first().is_some_and(|held| authority.is_holder(&held.grant.terms.holder, &request.key));
    if principal == Principal::Key && !holds {
        return Err(Refusal::new(Reason::Unauthenticated, "this tenant does not know the key"));
    }
    let own = crate::grant::Holder::Key(request.key);
    let holders = standing.chain.iter().filter(|_| holds).map(|held| &held.grant.terms.holder);
    if std::iter::once(&own).chain(holders).any(|holder| authority.suspended(holder).is_some()) {
        return Err(Refusal::new(Reason::VendorSuspended, "the vendor is suspended"));
    }
    Ok(principal)
}

/// Whether the chain covers all places, and lives.
fn authorise<'a>(request: &Request<'_>, standing: &Standing<'a>) -> Result<&'a [Held<'a>], Refusal> {
    let authority = standing.authority;
    let leaf = standing.chain.first().ok_or_else(Refusal::out_of_scope)?;
    // What was delegated stands on all above it: with one of them missing, there is nothing to decide on.
    let linked = standing.chain.windows(2).all(|pair| pair[0].grant.terms.parent == Some(pair[1].grant.id));
    if !linked || standing.chain.last().is_some_and(|held| held.grant.terms.parent.is_some()) {
        return Err(Refusal::out_of_scope());
    }
    let mine = authority.is_holder(&leaf.grant.terms.holder, &request.key);
    let covers = |place: &Place<'_>| {
        standing.chain.iter().all(|held| held.grant.covers(place.action, place.dataset, place.path))
    };
    if !mine || !request.places.iter().all(covers) {
        return Err(Refusal::out_of_scope());
    }
    for (at, held) in standing.chain.iter().enumerate() {
        let terms = &held.grant.terms;
        // A delegation lives only while the key that signed it may act as the parent's holder.
        let orphaned = standing
            .chain
            .get(at + 1)
            .is_some_and(|parent| !authority.is_holder(&parent.grant.terms.holder, &held.grant.issuer));
        let blocked = held.grant.terms.parent.is_some()
            && [standing.blocked, authority.blocked()].iter().any(|keys| keys.contains(&held.grant.issuer));
        if authority.revoked(&held.grant.id).is_some() || orphaned || blocked {
            return Err(Refusal::new(Reason::GrantRevoked, "the grant was revoked"));
        }
        if standing.now >= terms.expires {
            return Err(Refusal::new(Reason::GrantExpired, "the grant's time is over"));
        }
        if terms.not_before.is_some_and(|start| standing.now < start) {
            let resets = terms.not_before.map(|start| Reset::new(start, standing.now));
            let refusal = Refusal::new(Reason::OutOfScope, "the grant's time has not begun");
            return Err(refusal.with_hit(Hit { limit: Limit::NotBefore, resets }));
        }
        check_source(request.source, &terms.limits)?;
    }
    Ok(standing.chain)
}

/// Whether a freeze stops it. A freeze is to everything: an admin's key may be the one that was stolen. Only names are still
/// shown to admins, who have to find out what happened.
fn frozen(request: &Request<'_>, authority: &Authority, principal: Principal) -> Result<(), Refusal> {
    let looks = |place: &Place<'_>| principal == Principal::Admin && place.action == Action::List;
    if authority.frozen().is_some() && (request.grant.is_some() || !request.places.iter().all(looks)) {
        return Err(Refusal::new(Reason::Frozen, "the tenant is frozen: nobody reads or writes in it"));
    }
    match request.places.iter().find(|place| !looks(place) && authority.is_frozen(place.dataset)) {
        Some(place) => Err(Refusal::frozen(place.dataset)),
        None => Ok(()),
    }
}

/// Whether what is asked about was shredded whole. Of single objects, their state tells: [`Authority::shredded`].
fn shredded(request: &Request<'_>, authority: &Authority) -> Result<(), Refusal> {
    if authority.tenant_shredded().is_some() {
        return Err(Refusal::tenant_shredded());
    }
    let is_shredded = |name| authority.datasets().get(name).is_some_and(|dataset| dataset.shredded.is_some());
    match request.places.iter().find(|place| is_shredded(place.dataset)) {
        Some(place) => Err(Refusal::shredded(place.dataset)),
        None => Ok(()),
    }
}

fn check_source(source: Source, limits: &Limits) -> Result<(), Refusal> {
    let refusal = match source {
        Source::Address(address) if !limits.allow_source(address) => {
            let words = format!("the grant may not be used from {address}, but from other networks only");
            Refusal::new(Reason::OutOfScope, words)
        }
        Source::Unknown if !limits.sources.is_empty() => {
            Refusal::new(Reason::OutOfScope, "the grant may be used from some networks only")
        }
        _ => return Ok(()),
    };
    Err(refusal.with_hit(Hit { limit: Limit::Sources, resets: None }))
}

/// Whether a charge fits into every limit of the chain. What no waiting mends is told before what is over with the minute.
fn check_limits(chain: &[Held<'_>], charge: &Usage, now: Millis) -> Result<(), Refusal> {
    // Of a grant above, the caller may know that it is in the way, and no numbers.
    let of = |at: usize, what: &str| {
        if at == 0 { format!("the grant's {what}") } else { format!("the {what} of a grant above it") }
    };
    for (at, held) in chain.iter().enumerate() {
        if let Some((limit, allowed, used)) = held.grant.terms.limits.overrun_by(&held.tally.total.plus(*charge)) {
            let (what, more) = match limit {
                Limit::Objects => ("objects", charge.objects),
                Limit::Uses => ("uses", charge.uses),
                _ => ("bytes", charge.bytes),
            };
            let numbers =
                format!(": it allows {allowed}, {} are used, and this takes {more}", used.saturating_sub(more));
            let words = format!("{} are used up{}", of(at, what), if at == 0 { &numbers } else { "" });
            return Err(Refusal::new(Reason::QuotaExceeded, words).with_hit(Hit { limit, resets: None }));
        }
    }
    for (at, held) in chain.iter().enumerate() {
        let Some(hit) = held.grant.terms.limits.outpaced_by(&held.tally, charge.bytes, now) else { continue };
        let words = match hit.resets {
            Some(reset) => {
                let bytes = of(at, "bytes for this minute");
                format!("{bytes} are used up; the next begins in {} s", reset.after.div_ceil(1000))
            }
            None => format!("{} are fewer than the {} of this one step", of(at, "bytes a minute"), charge.bytes),
        };
        return Err(Refusal::new(Reason::QuotaExceeded, words).with_hit(hit));
    }
    Ok(())
}
