//! Grants: issued, ended, read, and picked for each call.
//!
//! Nobody should have to know grant ids. An admin needs none; for anybody else the vault tells which grants are theirs, and of
//! those that cover what is asked the SDK names the one with the narrowest scope, then the latest expiry, then the smallest
//! id. Where only an ended one covers, that one is named, so that the answer is the exact reason (`GRANT_EXPIRED` rather than
//! `OUT_OF_SCOPE`).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::exact;
use strongroom_core::grant::{Action, Grant, Part, Policy, Prefix, Scope, Terms, Usage};
use strongroom_core::ids::{GrantId, Index, Millis};
use strongroom_core::names::{DatasetName, ObjectPath, TenantName, VendorName};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::grants_client::GrantsClient;
use tokio::time::Instant;

use crate::admin::{OrderDone, next_token, now, optional, parse};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// How long a caller's standing is believed before it is asked for again.
const FRESH: Duration = Duration::from_secs(10);
/// No honest answer holds longer terms.
const MAX_TERMS: usize = 32 * 1024;

/// How a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// It can be used.
    Live,
    /// Its time has not begun.
    NotYet,
    /// Its time is over.
    Expired,
    /// It was revoked, or one above it.
    Revoked,
    /// Its holder is suspended.
    Suspended,
    /// It is live, but not to be used from where the caller is. Told of the caller's own grants only.
    Elsewhere,
}

/// A grant, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantInfo {
    /// The grant as it was recorded.
    pub grant: Grant,
    /// The vendor that holds it, if a vendor does.
    pub vendor: Option<VendorName>,
    /// How it stands.
    pub state: GrantState,
    /// What has been charged to it.
    pub usage: Usage,
    /// When it was issued; none where the vault does not know any more.
    pub issued: Option<Millis>,
    /// When something was last charged to it, if ever.
    pub used: Option<Millis>,
}

impl Vault {
    /// Issues a grant; or delegates one, if it has a parent or the caller is no admin.
    ///
    /// For a caller who is no admin the parent is picked among the caller's own grants, unless one is named. Where a delegated
    /// grant has no limit of its own it gets the parent's; its holder is a key.
    ///
    /// # Errors
    /// `NOT_FOUND` if its holder or a dataset is not there; `INVALID_ARGUMENT` if it would never be live, or too long;
    /// `UNSUPPORTED` for terms that the vault does not enforce yet; `OUT_OF_SCOPE` if the caller may not issue it;
    /// `NOT_NARROWER` if it would be wider than its parent, or the parent may not be delegated.
    pub async fn issue_grant(&self, tenant: &TenantName, terms: Terms) -> Result<(GrantId, OrderDone)> {
        let terms = self.under_parent(tenant, terms).await?;
        let done = self.order(tenant, Instruction::IssueGrant(terms)).await?;
        Ok((done.id.into(), done))
    }

    /// Terms as they are signed: with a parent and its limits, where they delegate.
    async fn under_parent(&self, tenant: &TenantName, terms: Terms) -> Result<Terms> {
        if let Some(parent) = terms.parent {
            let parent = self.grant(tenant, parent).await?;
            return Ok(delegated(&parent.grant, &terms));
        }
        let standing = self.standing(tenant).await?;
        if standing.admin { Ok(terms) } else { standing.pick_parent(&terms, now()?) }
    }

    /// Moves a grant's end later. Its id stays, and so does what was charged to it. For an admin, or for the holder of the grant that
    /// it was delegated from.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `GRANT_EXPIRED` or `GRANT_REVOKED` if it ended; `INVALID_ARGUMENT` if it would not end later, or
    /// live longer than the tenant's policy allows; `NOT_NARROWER` if it would outlive its parent; `OUT_OF_SCOPE` if the caller
    /// may not.
    pub async fn renew_grant(&self, tenant: &TenantName, grant: GrantId, expires: Millis) -> Result<OrderDone> {
        let done = self.order(tenant, Instruction::RenewGrant { grant, expires }).await?;
        self.grant_cache().forget(tenant);
        Ok(done)
    }

    /// Ends a grant and its descendants: no key comes out under them after this returns.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; `PRECONDITION_FAILED` if it is revoked already; `OUT_OF_SCOPE` if the caller may not.
    pub async fn revoke_grant(&self, tenant: &TenantName, grant: GrantId, note: Option<String>) -> Result<OrderDone> {
        self.order(tenant, Instruction::RevokeGrant { grant, note }).await
    }

    /// Sets what the tenant asks of grants that are issued or renewed from now on.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if a life is under a minute or over 366 days, or a source is no network; `OUT_OF_SCOPE` if the caller is
    /// no admin.
    pub async fn set_policy(&self, tenant: &TenantName, policy: Policy) -> Result<OrderDone> {
        self.order(tenant, Instruction::SetPolicy(policy)).await
    }

    /// What the tenant asks of its grants, and the entry that set it; none if that is what holds where nothing was said. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn policy(&self, tenant: &TenantName) -> Result<(Policy, Option<Index>)> {
        let request = v1::PolicyRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { GrantsClient::new(channel).policy(request).await }
        });
        let v1::PolicyResponse { policy, set } = answer.await?.into_inner();
        if policy.len() > MAX_TERMS {
            return Err(Error::integrity("the vault tells of a policy over 32 KiB"));
        }
        let policy = exact::from_slice(&policy).map_err(|error| Error::integrity(format!("the policy is {error}")))?;
        Ok((policy, set.map(Index)))
    }

    /// One grant: to its holder, its issuer and admins.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none, or it is somebody else's.
    pub async fn grant(&self, tenant: &TenantName, grant: GrantId) -> Result<GrantInfo> {
        let request = v1::GetGrantRequest { tenant: tenant.to_string(), grant: grant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { GrantsClient::new(channel).get(request).await }
        });
        let info = info(&answer.await?.into_inner())?;
        if info.grant.id == grant { Ok(info) } else { Err(Error::integrity("the vault tells of another grant")) }
    }

    /// All grants of the tenant, newest first. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn grants(&self, tenant: &TenantName) -> Result<Vec<GrantInfo>> {
        self.grants_by(tenant, false).await
    }

    /// The caller's own grants, newest first; ended ones too, for a day.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if the tenant does not know the caller.
    pub async fn my_grants(&self, tenant: &TenantName) -> Result<Vec<GrantInfo>> {
        self.grants_by(tenant, true).await
    }

    /// What was delegated from a grant, newest first; to those who may see that grant.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none, or it is somebody else's.
    pub async fn delegated(&self, tenant: &TenantName, grant: GrantId) -> Result<Vec<GrantInfo>> {
        self.grant_pages(|page| {
            let request = v1::ListDelegatedRequest { tenant: tenant.to_string(), grant: grant.to_string(), page };
            self.with_channel(Safety::Idempotent, move |channel| {
                let request = request.clone();
                async move { GrantsClient::new(channel).delegated(request).await }
            })
        })
        .await
    }

    async fn grants_by(&self, tenant: &TenantName, mine: bool) -> Result<Vec<GrantInfo>> {
        self.grant_pages(|page| {
            let request = v1::ListGrantsRequest { tenant: tenant.to_string(), page };
            self.with_channel(Safety::Idempotent, move |channel| {
                let request = request.clone();
                async move {
                    let mut client = GrantsClient::new(channel);
                    if mine { client.mine(request).await } else { client.list(request).await }
                }
            })
        })
        .await
    }

    async fn grant_pages<F>(&self, ask: impl Fn(Option<v1::Page>) -> F) -> Result<Vec<GrantInfo>>
    where
        F: Future<Output = Result<tonic::Response<v1::ListGrantsResponse>>>,
    {
        let mut grants = Vec::new();
        let mut token = String::new();
        loop {
            let answer = ask(Some(v1::Page { limit: 0, token: token.clone() })).await?.into_inner();
            for grant in &answer.grants {
                grants.push(info(grant)?);
            }
            token = next_token(&token, answer.next)?;
            if token.is_empty() {
                return Ok(grants);
            }
        }
    }

    /// The grant to name for what is wanted: none for an admin, or where no grant covers it.
    pub(crate) async fn pick(&self, tenant: &TenantName, want: &Want<'_>) -> Result<Option<GrantId>> {
        Ok(self.standing(tenant).await?.pick(want))
    }

    /// The caller's standing with a tenant, at most [`FRESH`] old.
    pub(crate) async fn standing(&self, tenant: &TenantName) -> Result<Arc<OwnStanding>> {
        if let Some(standing) = self.grant_cache().fresh(tenant) {
            return Ok(standing);
        }
        let _turn = self.asking().await;
        if let Some(standing) = self.grant_cache().fresh(tenant) {
            return Ok(standing);
        }
        let admin = self.who_am_i(tenant).await?.admin;
        let grants = if admin { Vec::new() } else { self.my_grants(tenant).await? };
        let standing = Arc::new(OwnStanding { admin, grants });
        self.grant_cache().keep(tenant, standing.clone());
        Ok(standing)
    }

    /// Does `work` under the grant that was named, or else under the one that is picked; again if that was refused and the vault
    /// now tells of a better one.
    pub(crate) async fn under_grant<T, F>(
        &self,
        tenant: &TenantName,
        named: Option<GrantId>,
        want: &Want<'_>,
        work: impl Fn(Option<GrantId>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if named.is_some() {
            return work(named).await;
        }
        let grant = self.pick(tenant, want).await?;
        match work(grant).await {
            Err(error) if self.is_stale(tenant, &error) => match self.pick(tenant, want).await? {
                same if same == grant => Err(error),
                other => work(other).await,
            },
            done => done,
        }
    }

    /// Whether another grant might do better than the one that was picked: then the standing is asked for again.
    pub(crate) fn is_stale(&self, tenant: &TenantName, error: &Error) -> bool {
        let about_grants = matches!(
            error.reason(),
            Reason::OutOfScope
                | Reason::GrantExpired
                | Reason::GrantRevoked
                | Reason::QuotaExceeded
                // What stands at the path may be overwritten under a grant that was issued since.
                | Reason::PreconditionFailed
        );
        about_grants && self.grant_cache().forget(tenant)
    }
}

/// The caller's standing with some tenants.
#[derive(Default)]
pub(crate) struct GrantCache(HashMap<TenantName, (Instant, Arc<OwnStanding>)>);

impl GrantCache {
    fn fresh(&mut self, tenant: &TenantName) -> Option<Arc<OwnStanding>> {
        let (since, standing) = self.0.get(tenant)?;
        (since.elapsed() < FRESH).then(|| standing.clone())
    }

    fn keep(&mut self, tenant: &TenantName, standing: Arc<OwnStanding>) {
        self.0.insert(tenant.clone(), (Instant::now(), standing));
    }

    /// When one of the caller's grants ends, as far as it is known.
    pub(crate) fn expiry(&self, tenant: &TenantName, grant: &GrantId) -> Option<Millis> {
        let (_, standing) = self.0.get(tenant)?;
        let own = standing.grants.iter().find(|info| info.grant.id == *grant)?;
        Some(own.grant.terms.expires)
    }

    /// Forgets a tenant; says whether there was anything to forget, so that asking again may tell something new.
    pub(crate) fn forget(&mut self, tenant: &TenantName) -> bool {
        self.0.remove(tenant).is_some()
    }
}

/// Who the caller is to a tenant, and with which grants.
pub(crate) struct OwnStanding {
    pub(crate) admin: bool,
    pub(crate) grants: Vec<GrantInfo>,
}

/// What somebody wants to do where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) action: Action,
    /// An action that would be good to have besides: overwriting, where something may stand already.
    pub(crate) besides: Option<Action>,
    pub(crate) dataset: &'a DatasetName,
    pub(crate) place: WantPlace<'a>,
}

/// Where in a dataset.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WantPlace<'a> {
    Path(&'a ObjectPath),
    Prefix(&'a Prefix),
}

impl Want<'_> {
    fn covers(&self, scope: &Scope, action: Action) -> bool {
        match self.place {
            WantPlace::Path(path) => scope.covers(action, self.dataset, path),
            WantPlace::Prefix(prefix) => scope.covers_prefix(action, self.dataset, prefix),
        }
    }

    /// How narrow the narrowest scope is that covers `action`; `None` if none does.
    fn narrowness(&self, grant: &Grant, action: Action) -> Option<(bool, usize)> {
        let covering = grant.terms.scopes.iter().filter(|scope| self.covers(scope, action));
        covering.filter_map(|scope| narrowness(&scope.part)).max()
    }
}

/// Greater is narrower: one object before all prefixes, and a longer prefix before a shorter one.
fn narrowness(part: &Part) -> Option<(bool, usize)> {
    match part {
        Part::Prefix(prefix) => Some((matches!(prefix, Prefix::Exact(_)), prefix.start().len())),
        Part::Snapshot(_) => None,
    }
}

impl OwnStanding {
    /// The grants that read something of a dataset, live ones first and the widest of them first; for an admin, none at all.
    pub(crate) fn readers(&self, dataset: &DatasetName) -> Vec<Option<GrantId>> {
        if self.admin {
            return vec![None];
        }
        let widest = |info: &GrantInfo| {
            let scopes = info.grant.terms.scopes.iter();
            let reading = scopes.filter(|scope| scope.dataset == *dataset && scope.actions.contains(&Action::Read));
            reading.filter_map(|scope| narrowness(&scope.part)).min()
        };
        let rank = |info: &GrantInfo| Some((info.state != GrantState::Live, widest(info)?, Some(info.grant.id)));
        let mut found: Vec<_> = self.grants.iter().filter_map(rank).collect();
        found.sort_unstable();
        found.into_iter().map(|(.., id)| id).collect()
    }

    pub(crate) fn pick(&self, want: &Want<'_>) -> Option<GrantId> {
        if self.admin {
            return None;
        }
        let rank = |info: &&GrantInfo| {
            let narrow = want.narrowness(&info.grant, want.action)?;
            let besides = want.besides.is_none_or(|action| want.narrowness(&info.grant, action).is_some());
            let live = info.state == GrantState::Live;
            Some((live, besides, narrow, info.grant.terms.expires, Reverse(info.grant.id)))
        };
        let ranked = self.grants.iter().filter_map(|info| rank(&info).map(|rank| (rank, info.grant.id)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, id)| id).or_else(|| self.any_of_key())
    }

    /// The live grant that covers all of these, picked as for each of them alone by the one that it covers least narrowly.
    pub(crate) fn pick_for_all(&self, wants: &[Want<'_>]) -> Option<GrantId> {
        let live = self.grants.iter().filter(|info| info.state == GrantState::Live);
        let rank = |info: &GrantInfo| {
            let widest = wants.iter().map(|want| want.narrowness(&info.grant, want.action)).min()??;
            Some((widest, info.grant.terms.expires, Reverse(info.grant.id)))
        };
        live.filter_map(|info| rank(info).map(|rank| (rank, info.grant.id))).max().map(|(_, id)| id)
    }

    /// A grant to be known by: a key that is no vendor's stands with the tenant by its grants alone, so even what none of them
    /// covers is asked for under one, and refused as out of scope.
    fn any_of_key(&self) -> Option<GrantId> {
        let of_key = self.grants.iter().filter(|info| info.vendor.is_none());
        of_key.max_by_key(|info| (info.state == GrantState::Live, info.grant.id)).map(|info| info.grant.id)
    }

    /// These terms, delegated from the grant that allows them the longest.
    fn pick_parent(&self, terms: &Terms, now: Millis) -> Result<Terms> {
        let may = |info: &&GrantInfo| info.state == GrantState::Live && info.grant.terms.delegable;
        let mut parents: Vec<&Grant> = self.grants.iter().filter(may).map(|info| &info.grant).collect();
        parents.sort_by_key(|grant| (Reverse(grant.terms.expires), grant.id));
        let mut wider = None;
        for parent in parents {
            let child = delegated(parent, terms);
            match child.narrows(&parent.terms, now) {
                Ok(()) => return Ok(child),
                Err(dimension) => wider = wider.or(Some((parent.id, dimension))),
            }
        }
        Err(match wider {
            Some((id, wider)) => Error::new(Reason::NotNarrower, format!("{wider}, {id}")),
            None => Error::new(
                Reason::OutOfScope,
                "only an admin, or the holder of a live grant that may be delegated, may grant",
            ),
        })
    }
}

/// Terms as a child of this grant: it has the parent's limits where it has none.
fn delegated(parent: &Grant, terms: &Terms) -> Terms {
    Terms { parent: Some(parent.id), limits: terms.limits.or(&parent.terms.limits), ..terms.clone() }
}

pub(crate) fn info(message: &v1::Grant) -> Result<GrantInfo> {
    if message.terms.len() > MAX_TERMS {
        return Err(Error::integrity("the vault tells of a grant with terms over 32 KiB"));
    }
    let terms: Terms = exact::from_slice(&message.terms)
        .map_err(|error| Error::integrity(format!("the terms of a grant are {error}")))?;
    let state = match message.state() {
        v1::GrantState::Live => GrantState::Live,
        v1::GrantState::NotYet => GrantState::NotYet,
        v1::GrantState::Expired => GrantState::Expired,
        v1::GrantState::Revoked => GrantState::Revoked,
        v1::GrantState::Suspended => GrantState::Suspended,
        v1::GrantState::Elsewhere => GrantState::Elsewhere,
        v1::GrantState::Unspecified => return Err(Error::integrity("the vault does not say how a grant stands")),
    };
    Ok(GrantInfo {
        grant: Grant {
            id: parse("grant id", &message.id)?,
            issued: Index(message.issued),
            issuer: parse("fingerprint", &message.issuer)?,
            terms,
        },
        vendor: optional("vendor", &message.vendor)?,
        state,
        usage: Usage { bytes: message.used_bytes, objects: message.used_objects, uses: message.used_uses },
        issued: Some(Millis(message.issued_time)).filter(|time| time.0 > 0),
        used: Some(Millis(message.used_time)).filter(|time| time.0 > 0),
    })
}

#[cfg(test)]
mod tests {
    use strongroom_core::grant::{Holder, Limits};
    use strongroom_core::identity::Fingerprint;

    use super::*;

    const KEY: Fingerprint = Fingerprint::from_bytes([1; 32]);

    fn grant(id: u8, state: GrantState, expires: u64, scopes: &[(&[Action], &str)]) -> GrantInfo {
        let scope = |(actions, prefix): &(&[Action], &str)| Scope {
            actions: actions.to_vec(),
            dataset: "rlhf".parse().unwrap(),
            part: Part::Prefix(prefix.parse().unwrap()),
        };
        let terms = Terms {
            holder: Holder::Key(KEY),
            parent: None,
            scopes: scopes.iter().map(scope).collect(),
            not_before: None,
            expires: Millis(expires),
            delegable: false,
            limits: Limits::default(),
            purpose: None,
        };
        let grant = Grant { id: GrantId::from_bytes([id; 16]), issued: Index(0), issuer: KEY, terms };
        GrantInfo {
            grant,
            vendor: Some("labelco".parse().unwrap()),
            state,
            usage: Usage::default(),
            issued: None,
            used: None,
        }
    }

    #[test]
    fn the_picking_table() {
        use Action::{List, Overwrite, Read, Write};
        use GrantState::{Expired, Live, Revoked, Suspended};
        let r: &[Action] = &[Read];
        let cases: &[(&str, Vec<GrantInfo>, Option<u8>)] = &[
            ("none covers", vec![grant(1, Live, 9, &[(r, "labels/")])], None),
            ("a neighbour does not cover", vec![grant(1, Live, 9, &[(r, "math/7.json2")])], None),
            ("another action does not", vec![grant(1, Live, 9, &[(&[List, Write], "math/")])], None),
            ("the only one", vec![grant(1, Live, 9, &[(r, "math/")])], Some(1)),
            ("the narrower folder", vec![grant(1, Live, 99, &[(r, "")]), grant(2, Live, 9, &[(r, "math/")])], Some(2)),
            (
                "one object before a long beginning of it",
                vec![grant(1, Live, 99, &[(r, "math/7.json*")]), grant(2, Live, 9, &[(r, "math/7.json")])],
                Some(2),
            ),
            (
                "the narrowest scope that covers counts, not the narrowest of the grant",
                vec![
                    grant(1, Live, 9, &[(r, "")]),
                    grant(2, Live, 9, &[(r, "math/"), (r, "labels/x/y/z")]),
                    grant(3, Live, 9, &[(r, "math/7*"), (r, "")]),
                ],
                Some(3),
            ),
            (
                "then the latest expiry",
                vec![grant(1, Live, 9, &[(r, "math/")]), grant(2, Live, 10, &[(r, "math/")])],
                Some(2),
            ),
            (
                "then the smallest id",
                vec![grant(2, Live, 9, &[(r, "math/")]), grant(1, Live, 9, &[(r, "math/")])],
                Some(1),
            ),
            (
                "a live one before a narrower ended one",
                vec![grant(1, Revoked, 99, &[(r, "math/7.json")]), grant(2, Live, 9, &[(r, "")])],
                Some(2),
            ),
            ("an ended one if there is no other", vec![grant(1, Expired, 9, &[(r, "math/")])], Some(1)),
            ("a suspended one likewise", vec![grant(1, Suspended, 9, &[(r, "math/")])], Some(1)),
        ];
        let (dataset, path) = ("rlhf".parse().unwrap(), "math/7.json".parse().unwrap());
        let want = |action, besides| Want { action, besides, dataset: &dataset, place: WantPlace::Path(&path) };
        for (what, grants, expected) in cases {
            let standing = OwnStanding { admin: false, grants: grants.clone() };
            let expected = expected.map(|id| GrantId::from_bytes([id; 16]));
            assert_eq!(standing.pick(&want(Read, None)), expected, "{what}");
            let admin = OwnStanding { admin: true, grants: grants.clone() };
            assert_eq!(admin.pick(&want(Read, None)), None, "an admin needs none");
        }

        let writing = OwnStanding {
            admin: false,
            grants: vec![grant(1, Live, 9, &[(&[Write], "math/")]), grant(2, Live, 9, &[(&[Write, Overwrite], "")])],
        };
        assert_eq!(writing.pick(&want(Write, None)), Some(GrantId::from_bytes([1; 16])));
        assert_eq!(writing.pick(&want(Write, Some(Overwrite))), Some(GrantId::from_bytes([2; 16])));
        let other = "math".parse().unwrap();
        let elsewhere = Want { dataset: &other, ..want(Write, None) };
        assert_eq!(writing.pick(&elsewhere), None, "another dataset");
        let own = GrantInfo { vendor: None, ..grant(3, Live, 9, &[(r, "labels/")]) };
        let by_key = OwnStanding { admin: false, grants: vec![own] };
        assert_eq!(by_key.pick(&want(Read, None)), Some(GrantId::from_bytes([3; 16])), "a key is known by its grants");
    }

    #[test]
    fn a_parent_is_picked() {
        let read: &[Action] = &[Action::Read];
        let standing = |grants| OwnStanding { admin: false, grants };
        let wanted = |prefix: &str| grant(9, GrantState::Live, 50, &[(read, prefix)]).grant.terms;
        let delegable = |id, expires, prefix: &str, bytes| {
            let mut info = grant(id, GrantState::Live, expires, &[(read, prefix)]);
            (info.grant.terms.delegable, info.grant.terms.limits.bytes) = (true, bytes);
            info
        };
        let plain = grant(1, GrantState::Live, 99, &[(read, "math/")]);
        let pick = |grants: Vec<GrantInfo>, prefix| {
            let picked = standing(grants).pick_parent(&wanted(prefix), Millis(0));
            picked.map(|terms| (terms.parent.unwrap(), terms.limits.bytes)).map_err(|error| error.reason())
        };
        assert_eq!(pick(vec![plain.clone()], "math/"), Err(Reason::OutOfScope), "it may not be delegated");
        let parents = vec![plain, delegable(2, 60, "math/", Some(7)), delegable(3, 70, "math/0*", None)];
        assert_eq!(pick(parents.clone(), "math/0*"), Ok((GrantId::from_bytes([3; 16]), None)), "the longest");
        assert_eq!(pick(parents.clone(), "math/1"), Ok((GrantId::from_bytes([2; 16]), Some(7))), "with its limits");
        assert_eq!(pick(parents, "labels/"), Err(Reason::NotNarrower));
        assert_eq!(
            pick(vec![delegable(2, 49, "math/", None)], "math/1"),
            Err(Reason::NotNarrower),
            "it ends too early"
        );
    }

    #[test]
    fn a_prefix_must_be_covered_whole() {
        let list: &[Action] = &[Action::List];
        let standing = OwnStanding { admin: false, grants: vec![grant(1, GrantState::Live, 9, &[(list, "math/0*")])] };
        let dataset = "rlhf".parse().unwrap();
        for (prefix, covered) in
            [("math/0*", true), ("math/00*", true), ("math/01", true), ("math/", false), ("", false)]
        {
            let prefix: Prefix = prefix.parse().unwrap();
            let place = WantPlace::Prefix(&prefix);
            let want = Want { action: Action::List, besides: None, dataset: &dataset, place };
            assert_eq!(standing.pick(&want).is_some(), covered, "{prefix}");
        }
    }
}
