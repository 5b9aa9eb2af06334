//! Ledgers looked after: how one stands, and everything that the vault holds of it read back. For admins and operators, also of one
//! that is stopped.
//!
//! What is told here is the vault's word about itself. Whoever does not take it verifies: [`crate::log`], [`crate::monitor`].

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::ids::{Digest, Index, Millis};
use strongroom_core::names::TenantName;
use strongroom_proto::v1;
use strongroom_proto::v1::audit_client::AuditClient;

use crate::admin::bytes as digest;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// How a ledger stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerStatus {
    /// Whose.
    pub tenant: String,
    /// Its origin; empty if the tenant's keys do not open.
    pub origin: String,
    /// What its checkpoints are verified with, oldest first; none if the tenant's keys do not open.
    pub log_keys: Vec<String>,
    /// Entries, the root over them, and the time of the newest; none if that could not be read.
    pub head: Option<(Index, Digest, Millis)>,
    /// Now, by the node's clock.
    pub now: Millis,
    /// The newest checkpoint in the database: entries, and the root over them.
    pub checkpoint: Option<(Index, Digest)>,
    /// Its copy in the object store.
    pub copy: Option<(Index, Digest)>,
    /// Witnesses, by their public keys, and the note that each cosigned. They are not checked.
    pub cosigned: Vec<(String, Bytes)>,
    /// Why it goes no further, if it does not.
    pub stopped: Option<String>,
    /// What could not be read, or does not fit.
    pub problems: Vec<String>,
}

/// What is told while a ledger is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// So much of so much was read.
    Progress(u64, u64),
    /// Something does not fit.
    Fault {
        /// A row's or a file's name.
        place: String,
        /// What is wrong.
        what: String,
        /// What can be done.
        advice: String,
    },
}

impl Vault {
    /// How a tenant's ledger stands. To its admins, and to operators.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` or `UNAUTHENTICATED` if the caller is neither.
    pub async fn ledger_status(&self, tenant: &TenantName) -> Result<LedgerStatus> {
        let request = v1::LedgerRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).ledger(request).await }
        });
        status(answer.await?.into_inner())
    }

    /// Has the vault read back everything that it holds of a ledger: database and object store. The stream ends when it did; with
    /// an error, nothing is known about what was not told.
    ///
    /// # Errors
    /// As [`Vault::ledger_status`]; `UNAVAILABLE` if something could not be read.
    pub async fn check_ledger(&self, tenant: &TenantName) -> Result<BoxStream<'static, Result<Told>>> {
        let request = v1::LedgerRequest { tenant: tenant.to_string() };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { AuditClient::new(channel).check_ledger(request).await }
        });
        let frames = answer.await?.into_inner();
        let next = async |mut frames: tonic::Streaming<v1::CheckFrame>| {
            let frame = frames.message().await?;
            let frame = frame.ok_or_else(|| Error::transport("the look at the ledger ends before its end"))?;
            let told = match frame {
                v1::CheckFrame { ended: true, .. } => return Ok(None),
                v1::CheckFrame { fault: Some(v1::LedgerFault { place, what, advice }), .. } => {
                    Told::Fault { place, what, advice }
                }
                v1::CheckFrame { done, total, .. } => Told::Progress(done, total),
            };
            Ok(Some((told, frames)))
        };
        Ok(try_unfold(frames, next).boxed())
    }
}

fn status(message: v1::LedgerStatus) -> Result<LedgerStatus> {
    let tree = |tree: Option<v1::SignedTree>| {
        tree.map(|tree| Ok::<_, Error>((Index(tree.size), digest("root", &tree.root)?))).transpose()
    };
    let head =
        message.head.map(|head| Ok::<_, Error>((Index(head.size), digest("tip", &head.tip)?, Millis(head.time))));
    Ok(LedgerStatus {
        head: head.transpose()?,
        checkpoint: tree(message.checkpoint)?,
        copy: tree(message.copy)?,
        tenant: message.tenant,
        origin: message.origin,
        log_keys: message.log_keys,
        now: Millis(message.now),
        cosigned: message.cosigned.into_iter().map(|cosigned| (cosigned.witness, cosigned.note)).collect(),
        stopped: Some(message.stopped).filter(|stopped| !stopped.is_empty()),
        problems: message.problems,
    })
}
