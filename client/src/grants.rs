//! Grants: issued, renewed, ended and read. `picking` has which one a call is made under.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::exact;
use strongroom_core::grant::{Grant, Policy, Terms, Usage};
use strongroom_core::ids::{GrantId, Index, Millis};
use strongroom_core::names::{DatasetName, TenantName, VendorName};
use strongroom_core::order::Instruction;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::grants_client::GrantsClient;
use tokio::time::Instant;

use crate::admin::{OrderDone, next_token, optional, parse};
use crate::clock::now;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::name::PrefixName;
use crate::picking::{OwnStanding, Want, delegated};
use crate::retry::Safety;

/// How long a caller's standing is believed before it is asked for again.
const FRESH: Duration = Duration::from_secs(10);
/// Of how many of the caller's own grants, the newest, one is picked.
const MAX_PICKED_FROM: usize = 10_000;
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
    /// All that it is for is frozen: see [`GrantInfo::frozen`].
    Frozen,
    /// An operator of the server blocked the key that holds it, or one that passed it on.
    Blocked,
}

impl GrantState {
    /// Whether nothing about the grant itself stands in the way: what is frozen is frozen to everybody.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Frozen)
    }
}

/// What of a grant's places is frozen: nobody reads or writes there until it is unfrozen, whatever they were granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The whole tenant.
    pub tenant: bool,
    /// Datasets that the grant has scopes in.
    pub datasets: Vec<DatasetName>,
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
    /// What of it is frozen, also where it is not all.
    pub frozen: Frozen,
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
        self.grants_by(tenant, false, None, usize::MAX).await
    }

    /// The grants that allow something in a place, newest first: who could touch what lies there. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn grants_touching(&self, place: &PrefixName) -> Result<Vec<GrantInfo>> {
        self.grants_by(&place.tenant, false, Some(place), usize::MAX).await
    }

    /// The caller's own grants, newest first; ended ones too, for a day.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if the tenant does not know the caller.
    pub async fn my_grants(&self, tenant: &TenantName) -> Result<Vec<GrantInfo>> {
        self.grants_by(tenant, true, None, usize::MAX).await
    }

    /// What was delegated from a grant, newest first; to those who may see that grant.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none, or it is somebody else's.
    pub async fn delegated(&self, tenant: &TenantName, grant: GrantId) -> Result<Vec<GrantInfo>> {
        self.grant_pages(usize::MAX, |page| {
            let request = v1::ListDelegatedRequest { tenant: tenant.to_string(), grant: grant.to_string(), page };
            self.with_channel(Safety::Idempotent, move |channel| {
                let request = request.clone();
                async move { GrantsClient::new(channel).delegated(request).await }
            })
        })
        .await
    }

    async fn grants_by(
        &self,
        tenant: &TenantName,
        mine: bool,
        place: Option<&PrefixName>,
        most: usize,
    ) -> Result<Vec<GrantInfo>> {
        let dataset = place.map(|place| place.dataset.to_string()).unwrap_or_default();
        let prefix = place.map(|place| place.prefix.to_string()).unwrap_or_default();
        self.grant_pages(most, |page| {
            let (dataset, prefix) = (dataset.clone(), prefix.clone());
            let request = v1::ListGrantsRequest { tenant: tenant.to_string(), page, dataset, prefix };
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

    async fn grant_pages<F>(&self, most: usize, ask: impl Fn(Option<v1::Page>) -> F) -> Result<Vec<GrantInfo>>
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
            if token.is_empty() || grants.len() >= most {
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
        let grants = if admin { Vec::new() } else { self.grants_by(tenant, true, None, MAX_PICKED_FROM).await? };
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
        v1::GrantState::Frozen => GrantState::Frozen,
        v1::GrantState::Blocked => GrantState::Blocked,
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
        frozen: Frozen {
            tenant: message.frozen_tenant,
            datasets: message.frozen_datasets.iter().map(|name| parse("dataset", name)).collect::<Result<_>>()?,
        },
        usage: Usage { bytes: message.used_bytes, objects: message.used_objects, uses: message.used_uses },
        issued: Some(Millis(message.issued_time)).filter(|time| time.0 > 0),
        used: Some(Millis(message.used_time)).filter(|time| time.0 > 0),
    })
}
