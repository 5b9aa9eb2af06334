//! What somebody had: the core's fold, over the ledger as the vault tells it.
//!
//! It is computed here, from what follows from the same entries that an export holds, so that an auditor without the vault comes to
//! the same. Who is whose is read first, then what was put, deleted and released, as far as it is about those who are asked about; both
//! up to one size of the ledger. That nothing is left out of what comes is the vault's word: an export that was verified proves it.

use futures::TryStreamExt;
use strongroom_core::audit::exposure::{Exposure, ExposureError, Fold, Question};
use strongroom_core::audit::report::Report;
use strongroom_core::audit::roster::RosterError;
use strongroom_core::ids::{Index, Millis};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::audit_client::AuditClient;

use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// An index that no ledger reaches: numbers in entries are below 2⁵³.
const BEYOND: u64 = 1 << 53;

impl Vault {
    /// What somebody was released and what they wrote, with what was in scope, and what became of it since. Grants are told as they
    /// stand at `now`. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin; `NOT_FOUND` if there is no such vendor; `INTEGRITY` if what comes is no ledger.
    pub async fn exposure(&self, tenant: &TenantName, question: Question, now: Millis) -> Result<Exposure> {
        let size = self.ledger_size(tenant).await?;
        Ok(self.folded(tenant, question, size).await?.finish(size, now))
    }

    /// The exposure with what could be taken from now on. To admins.
    ///
    /// # Errors
    /// As [`Vault::exposure`].
    pub async fn report(&self, tenant: &TenantName, question: Question, now: Millis) -> Result<Report> {
        let size = self.ledger_size(tenant).await?;
        Ok(self.folded(tenant, question, size).await?.report(size, now))
    }

    /// The fold of a tenant's first `size` entries.
    async fn folded(&self, tenant: &TenantName, question: Question, size: Index) -> Result<Fold> {
        let mut fold = Fold::new(self.roster(tenant, Some(size)).await?, question)?;
        let mut extracts = self.extracts(tenant, &fold.needs(), Index(0), Some(size));
        while let Some(extracted) = extracts.try_next().await? {
            fold.feed_extract(&extracted.facts, &extracted.entries)?;
        }
        Ok(fold)
    }

    /// How many entries a tenant's ledger has. To admins.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn ledger_size(&self, tenant: &TenantName) -> Result<Index> {
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = v1::QueryRequest { tenant: tenant.to_string(), from: BEYOND, ..v1::QueryRequest::default() };
            async move { AuditClient::new(channel).query(request).await }
        });
        let frame = answer.await?.into_inner().message().await?;
        let seen =
            frame.and_then(|frame| frame.seen).ok_or_else(|| Error::integrity("the vault does not tell its size"))?;
        self.observe(tenant, Some(&seen))?;
        Ok(Index(seen.size))
    }
}

impl From<RosterError> for Error {
    fn from(error: RosterError) -> Self {
        Self::integrity(error.to_string())
    }
}

impl From<ExposureError> for Error {
    fn from(error: ExposureError) -> Self {
        match error {
            ExposureError::NoVendor(_) => Self::new(Reason::NotFound, error.to_string()),
            ExposureError::Broken(..) => Self::integrity(error.to_string()),
        }
    }
}
