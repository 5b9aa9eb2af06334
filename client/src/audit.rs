//! The ledger, read: who did what, in order.
//!
//! Each entry comes as its exact bytes, so that it can be kept and verified offline; here its form and the hash of its private
//! part are checked, and that entries come in their order. A broken connection is picked up after the last entry.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{GrantId, IncidentId, Index, Millis};
use strongroom_core::ledger::{Entry, Event, Outcome, Private};
use strongroom_core::names::{DatasetName, TenantName, VendorName};
use strongroom_proto::v1;
use strongroom_proto::v1::audit_client::AuditClient;
use tonic::Streaming;

use crate::admin::{next_token, optional, parse};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::{Attempts, Safety};

/// Which entries to read; the default is all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The first index to look at.
    pub from: Index,
    /// One past the last index to look at; the head if none.
    pub to: Option<Index>,
    /// No entry before this time.
    pub since: Option<Millis>,
    /// No entry at or after this time.
    pub until: Option<Millis>,
    /// Only these events; all if none.
    pub events: Vec<Event>,
    /// Only what this key did.
    pub key: Option<Fingerprint>,
    /// Only entries by this vendor, or about it.
    pub vendor: Option<VendorName>,
    /// Only what was charged to this grant, or concerns it.
    pub grant: Option<GrantId>,
    /// Only entries about objects of this dataset.
    pub dataset: Option<DatasetName>,
    /// And in it, under this prefix; it needs the dataset.
    pub prefix: Option<Prefix>,
    /// Only what was done, or only what was denied.
    pub outcome: Option<Outcome>,
    /// Only entries that belong to this incident: orders and calls that name it, that opened or closed it. `NOT_FOUND` if there is
    /// none.
    pub incident: Option<IncidentId>,
    /// At most so many; all if none.
    pub limit: Option<u64>,
    /// So many of those that pass are left out first.
    pub offset: u64,
}

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerLine {
    /// The public part.
    pub entry: Entry,
    /// The private part, whose hash was checked; none if it was erased.
    pub private: Option<Private>,
    /// `dataset/path` of each object that the entry names, in its order.
    pub names: Vec<String>,
    /// The exact bytes of the public part: a leaf of the log.
    pub public_bytes: Bytes,
    /// The exact bytes of the private part; empty if it was erased.
    pub private_bytes: Bytes,
}

/// A release to one of the caller's own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRelease {
    /// The entry.
    pub index: Index,
    /// Its time.
    pub time: Millis,
    /// The key that it was released to.
    pub key: Fingerprint,
    /// The grant that the call named.
    pub grant: Option<GrantId>,
    /// Whether the same request had the keys already.
    pub repeat: bool,
    /// What was released.
    pub parts: Vec<OwnPart>,
}

/// Segments of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPart {
    /// `dataset/path`.
    pub name: String,
    /// The first segment, and one past the last.
    pub segments: (u32, u32),
    /// Plaintext bytes of them.
    pub bytes: u64,
}

/// Own releases under way.
struct Owned {
    vault: Vault,
    request: v1::MineRequest,
    ready: VecDeque<v1::OwnRelease>,
    ended: bool,
}

/// A query under way.
struct Reading {
    vault: Vault,
    tenant: TenantName,
    query: Query,
    attempts: Attempts,
    frames: Option<Streaming<v1::QueryFrame>>,
    ready: VecDeque<v1::LedgerEntry>,
    ended: bool,
}

impl Vault {
    /// Entries of a tenant's ledger, in the order of their indices. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `INTEGRITY` if what comes is no ledger. The stream ends with its first error.
    pub fn query(&self, tenant: &TenantName, query: Query) -> BoxStream<'static, Result<LedgerLine>> {
        let reading = Reading {
            vault: self.clone(),
            tenant: tenant.clone(),
            query,
            attempts: self.attempts(),
            frames: None,
            ready: VecDeque::new(),
            ended: false,
        };
        try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|line| (line, reading))) }).boxed()
    }
}

impl Vault {
    /// What the caller's keys were released in a tenant, oldest first: the caller's own key and, for a vendor's, all keys that the
    /// vendor has or had there. `since` is the first moment to tell of, `until` the first not to.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` if the tenant does not know the caller. The stream ends with its first error.
    pub fn own_releases(
        &self,
        tenant: &TenantName,
        since: Option<Millis>,
        until: Option<Millis>,
    ) -> BoxStream<'static, Result<OwnRelease>> {
        let request = v1::MineRequest {
            tenant: tenant.to_string(),
            page: Some(v1::Page::default()),
            since: since.unwrap_or_default().0,
            until: until.unwrap_or_default().0,
        };
        let owned = Owned { vault: self.clone(), request, ready: VecDeque::new(), ended: false };
        try_unfold(owned, |mut owned| async move { Ok(owned.next().await?.map(|own| (own, owned))) }).boxed()
    }

    /// The tenants that this client has met, by name: those of its home.
    pub fn known_tenants(&self) -> Vec<TenantName> {
        self.memory().tenants()
    }
}

impl Owned {
    async fn next(&mut self) -> Result<Option<OwnRelease>> {
        loop {
            if let Some(release) = self.ready.pop_front() {
                return own(&release).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let answer = self.vault.with_channel(Safety::Idempotent, |channel| {
                let request = self.request.clone();
                async move { AuditClient::new(channel).mine(request).await }
            });
            let answer = answer.await?.into_inner();
            let token = self.request.page.take().unwrap_or_default().token;
            let token = next_token(&token, answer.next)?;
            self.ended = token.is_empty();
            self.request.page = Some(v1::Page { limit: 0, token });
            self.ready = answer.releases.into();
        }
    }
}

fn own(release: &v1::OwnRelease) -> Result<OwnRelease> {
    let part =
        |part: &v1::OwnPart| OwnPart { name: part.name.clone(), segments: (part.start, part.end), bytes: part.bytes };
    Ok(OwnRelease {
        index: Index(release.index),
        time: Millis(release.time),
        key: parse("fingerprint", &release.key)?,
        grant: optional("grant id", &release.grant)?,
        repeat: release.repeat,
        parts: release.parts.iter().map(part).collect(),
    })
}

impl Reading {
    async fn next(&mut self) -> Result<Option<LedgerLine>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                let line = self.line(entry)?;
                self.query.from = Index(line.entry.index.0 + 1);
                self.query.limit = self.query.limit.map(|limit| limit - 1);
                // They were left out before it.
                self.query.offset = 0;
                return Ok(Some(line));
            }
            if self.ended || self.query.limit == Some(0) {
                return Ok(None);
            }
            match self.frame().await {
                Ok(Some(frame)) => {
                    self.attempts.progressed();
                    if let Some(seen) = &frame.seen {
                        self.vault.observe(&self.tenant, Some(seen))?;
                        self.ended = true;
                    }
                    self.ready = frame.entries.into();
                }
                Ok(None) => return Err(Error::integrity("the ledger's entries end without saying that they do")),
                Err(error) => {
                    self.frames = None;
                    self.vault.pause(&mut self.attempts, error, Safety::Idempotent).await?;
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<v1::QueryFrame>> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => {
                let request = request(&self.tenant, &self.query);
                let opened = self.vault.with_channel(Safety::Idempotent, |channel| {
                    let request = request.clone();
                    let mut client = AuditClient::new(channel).max_decoding_message_size(strongroom_proto::MAX_MESSAGE);
                    async move { client.query(request).await }
                });
                none.insert(opened.await?.into_inner())
            }
        };
        Ok(frames.message().await?)
    }

    /// Checks an entry's form, place and private part.
    fn line(&self, line: v1::LedgerEntry) -> Result<LedgerLine> {
        let v1::LedgerEntry { public, private, names } = line;
        let (entry, secret) = parsed(&public, &private)?;
        let ended = self.query.to.is_some_and(|to| entry.index >= to) || self.query.limit == Some(0);
        if entry.index < self.query.from || ended {
            let what = format!("entry {} of the ledger came where it was not asked for", entry.index);
            return Err(Error::integrity(what));
        }
        Ok(LedgerLine { entry, private: secret, names, public_bytes: public, private_bytes: private })
    }
}

/// An entry by its bytes, with its private part.
pub(crate) fn parsed(public: &[u8], private: &[u8]) -> Result<(Entry, Option<Private>)> {
    let entry = Entry::from_bytes(public).map_err(|error| Error::integrity(error.to_string()))?;
    if private.is_empty() {
        return Ok((entry, None));
    }
    let wrong = |what: String| Error::integrity(format!("entry {} of the ledger {what}", entry.index));
    if Private::hash(private) != entry.private {
        return Err(wrong("has a private part that is not its own".to_owned()));
    }
    let private = Private::from_bytes(private);
    let private = private.map_err(|error| wrong(format!("has a private part that is none: {error}")))?;
    Ok((entry, Some(private)))
}

fn request(tenant: &TenantName, query: &Query) -> v1::QueryRequest {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    v1::QueryRequest {
        tenant: tenant.to_string(),
        from: query.from.0,
        to: query.to.unwrap_or_default().0,
        since: query.since.unwrap_or_default().0,
        until: query.until.unwrap_or_default().0,
        events: query.events.iter().map(|event| event.name().to_owned()).collect(),
        key: text(query.key.as_ref()),
        vendor: text(query.vendor.as_ref()),
        grant: text(query.grant.as_ref()),
        dataset: text(query.dataset.as_ref()),
        prefix: text(query.prefix.as_ref()),
        outcome: match query.outcome {
            None => String::new(),
            Some(Outcome::Done) => "done".to_owned(),
            Some(Outcome::Denied) => "denied".to_owned(),
        },
        limit: query.limit.unwrap_or_default(),
        offset: query.offset,
        incident: text(query.incident.as_ref()),
    }
}
