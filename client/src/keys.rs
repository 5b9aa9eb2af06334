//! Keys on the whole server: what operators block, in a ledger of their own.

use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Index, TenantId};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_proto::v1;
use strongroom_proto::v1::admin_client::AdminClient;

use crate::admin::{OrderDone, next_token, parse};
use crate::connect::Vault;
use crate::error::{Error, Result};
use crate::retry::Safety;

impl Vault {
    /// Stops a key on the whole server, in every tenant: its sessions and streams end, and what it delegated is worth nothing. To
    /// operators; the first who blocks a key makes the operators' own ledger.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is blocked already; `INVALID_ARGUMENT` if it is the caller's own; `OUT_OF_SCOPE` if the caller is
    /// no operator.
    pub async fn block_key(&self, key: Fingerprint, note: Option<String>) -> Result<OrderDone> {
        let ledger = self.operators_ledger().await?;
        self.order(&ledger, Instruction::BlockKey { key, note }).await
    }

    /// Lets a blocked key be again what it was. To operators.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED` if it is not blocked; `OUT_OF_SCOPE` if the caller is no operator.
    pub async fn unblock_key(&self, key: Fingerprint, note: Option<String>) -> Result<OrderDone> {
        let ledger = self.operators_ledger().await?;
        self.order(&ledger, Instruction::UnblockKey { key, note }).await
    }

    /// The keys that are blocked, each with the entry of the operators' ledger that did it. To operators.
    ///
    /// # Errors
    /// `OUT_OF_SCOPE` if the caller is no operator.
    pub async fn blocked_keys(&self) -> Result<Vec<(Fingerprint, Index)>> {
        let mut keys = Vec::new();
        let mut token = String::new();
        loop {
            let request = v1::ListBlockedKeysRequest { page: Some(v1::Page { limit: 0, token: token.clone() }) };
            let answer = self.with_channel(Safety::Idempotent, |channel| {
                let request = request.clone();
                async move { AdminClient::new(channel).list_blocked_keys(request).await }
            });
            let answer = answer.await?.into_inner();
            for blocked in &answer.keys {
                keys.push((parse("fingerprint", &blocked.key)?, Index(blocked.index)));
            }
            token = next_token(&token, answer.next)?;
            if token.is_empty() {
                return Ok(keys);
            }
        }
    }

    /// The name of the operators' own ledger, which is made if there is none yet.
    async fn operators_ledger(&self) -> Result<TenantName> {
        if !self.who_am_i(None).await?.operator {
            return Err(Error::new(Reason::OutOfScope, "only an operator of this vault may block keys"));
        }
        let status = self.status().await?;
        let name = TenantName::of_operators(&status.vault_id);
        match self.who_am_i(&name).await {
            Ok(_) => return Ok(name),
            Err(error) if error.reason() == Reason::Unauthenticated => {}
            Err(error) => return Err(error),
        }
        let id = TenantId::of_operators(&status.vault_id);
        let origin = Origin::new(&status.vault_name, status.vault_id, id);
        let origin = origin.map_err(|error| Error::integrity(error.to_string()))?;
        match self.create_ledger(&name, origin, &[self.fingerprint()]).await {
            // Another operator may have made it meanwhile.
            Err(error) if error.reason() != Reason::PreconditionFailed => Err(error),
            _ => Ok(name),
        }
    }
}
