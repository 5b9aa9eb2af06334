//! The versions of a tenant's key. All of it is for the tenant's admins.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use strongroom_core::ids::{Index, Millis};
use strongroom_core::names::TenantName;
use strongroom_core::order::{EVERY, Instruction};
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::keys_client::KeysClient;
use tonic::Streaming;

use crate::admin::OrderDone;
use crate::clock::now;
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

/// The versions of a tenant's key, and the last rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// What new objects are wrapped with.
    pub active: u32,
    /// Versions that are not destroyed, oldest first.
    pub versions: Vec<u32>,
    /// The last rotation; none if the key was never rotated.
    pub rotation: Option<Rotation>,
    /// How often the vault rotates by itself, and when next; none if it does not.
    pub schedule: Option<(Duration, Millis)>,
}

/// How far a rotation is: everything that was there is wrapped under its version, while reads and writes go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The version that it made.
    pub version: u32,
    /// Objects that were wrapped anew.
    pub done: u64,
    /// Objects that there were. What was put since is under the new version from the start.
    pub total: u64,
    /// Objects that were left, since their rows were changed or their keys do not open.
    pub skipped: u64,
    /// When it began.
    pub started: Millis,
    /// When nothing was left to do, if that is so.
    pub finished: Option<Millis>,
}

impl Vault {
    /// The versions of a tenant's key, and how far the last rotation is.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn key_status(&self, tenant: &TenantName) -> Result<KeyStatus> {
        let mut answer = self.statuses(tenant, false).await?;
        let none = || Error::integrity("the vault's answer holds no status");
        answer.message().await.map_err(Error::from)?.as_ref().map(status).ok_or_else(none)
    }

    /// The same as it goes on, up to the status that is finished.
    ///
    /// # Errors
    /// As [`Vault::key_status`]; also in the stream, if the connection breaks. It ends with its first error.
    pub async fn follow_rotation(&self, tenant: &TenantName) -> Result<BoxStream<'static, Result<KeyStatus>>> {
        let answer = self.statuses(tenant, true).await?;
        let next = async |mut answer: Streaming<v1::KeyStatus>| {
            Ok(answer.message().await.map_err(Error::from)?.map(|message| (status(&message), answer)))
        };
        Ok(try_unfold(answer, next).boxed())
    }

    async fn statuses(&self, tenant: &TenantName, follow: bool) -> Result<Streaming<v1::KeyStatus>> {
        let request = v1::KeyStatusRequest { tenant: tenant.to_string(), follow };
        let answer = self.with_channel(Safety::Idempotent, |channel| {
            let request = request.clone();
            async move { KeysClient::new(channel).status(request).await }
        });
        Ok(answer.await?.into_inner())
    }

    /// Makes the next version of the tenant's key the active one; returns it. Everything is wrapped under it in the background:
    /// [`Vault::follow_rotation`].
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if somebody else rotated at the same time; `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn rotate_key(&self, tenant: &TenantName) -> Result<(u32, OrderDone)> {
        let too_many = || Error::new(Reason::PreconditionFailed, "the key was rotated as often as can be counted");
        let version = self.key_status(tenant).await?.active.checked_add(1).ok_or_else(too_many)?;
        Ok((version, self.order(tenant, Instruction::RotateKey { version }).await?))
    }

    /// Has another key sign the ledger's checkpoints from here on. The vault makes it, and the one before signs it; whoever knows
    /// that one follows. The new one's version comes back. Of a tenant's ledger to its admins, of the operators' own to operators.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if somebody else rotated at the same time; `OUT_OF_SCOPE` if the caller is no admin, or no operator.
    pub async fn rotate_log_key(&self, tenant: &TenantName) -> Result<(u32, OrderDone)> {
        let keys = self.log_keys(tenant, Index(0)).await?;
        let version = u32::try_from(keys.all().count() + 1).unwrap_or(u32::MAX);
        Ok((version, self.order(tenant, Instruction::RotateLogKey { version }).await?))
    }

    /// Has the vault rotate the tenant's key by itself, every so often (an hour to ten years) from now on; none ends that.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the time is too short or too long; `PRECONDITION_FAILED` if there is nothing to end; `OUT_OF_SCOPE` if
    /// the caller is no admin.
    pub async fn rotate_every(&self, tenant: &TenantName, every: Option<Duration>) -> Result<OrderDone> {
        let every = every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        if let Some(every) = every.filter(|every| !EVERY.contains(every)) {
            let words = format!("a key is rotated every hour to every ten years, not every {} s", every / 1000);
            return Err(Error::new(Reason::InvalidArgument, words));
        }
        let first = Millis(now()?.0.saturating_add(every.unwrap_or(0)));
        self.order(tenant, Instruction::RotateEvery { every, first }).await
    }

    /// Destroys an older version of the tenant's key, for good: what was copied while it was in use no longer opens with what the
    /// vault has.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is the active one, or objects are still under it; `NOT_FOUND` if there is none such;
    /// `OUT_OF_SCOPE` if the caller is no admin.
    pub async fn destroy_key(&self, tenant: &TenantName, version: u32) -> Result<OrderDone> {
        self.order(tenant, Instruction::DestroyKey { version }).await
    }
}

fn status(message: &v1::KeyStatus) -> KeyStatus {
    let rotation = message.rewrap.map(|rewrap| Rotation {
        version: rewrap.version,
        done: rewrap.done,
        total: rewrap.total,
        skipped: rewrap.skipped,
        started: Millis(rewrap.started),
        finished: rewrap.finished.map(Millis),
    });
    let every = message.rotate_every.map(Duration::from_millis);
    let schedule = every.zip(message.rotate_next.map(Millis));
    KeyStatus { active: message.active, versions: message.versions.clone(), rotation, schedule }
}
