//! The public halves of tenants' log keys, as they are shown: from the row, without a question to the root key.
//!
//! Who verifies a ledger goes by this key, so whoever can write the database must not be able to exchange it: beside it stands a
//! mark that only the vault key makes. Where it is missing or does not fit, the log key itself is unwrapped, and the row mended.
//!
//! ```text
//! row = public key (32) ‖ HKDF-Expand(vault key's seed, "strongroom/v1/log-public" ‖ tenant id ‖ public key, 32)
//! ```

use strongroom_core::ed25519::{SigningKey, VerifyingKey};
use strongroom_core::ids::TenantId;
use strongroom_core::ledger::checkpoint::VerifierKey;

use crate::catalog::tenants::TenantRow;
use crate::error::Error;
use crate::tenants::Tenant;
use crate::vault::Vault;

/// What others verify this tenant's checkpoints with.
pub(crate) async fn verifier(vault: &Vault, row: &TenantRow) -> Result<VerifierKey, Error> {
    if let Some(key) = row.log_public.as_deref().and_then(|bytes| read(&vault.vault_key, row.id, bytes)) {
        return Ok(VerifierKey::new(&vault.tenants.origin(row.id)?.to_string(), key));
    }
    let tenant = vault.tenants.find(&row.name).await?;
    note(vault, &tenant).await;
    Ok(tenant.verifier())
}

/// Keeps the public half in the tenant's row. That it is there saves work, and no more.
pub(crate) async fn note(vault: &Vault, tenant: &Tenant) {
    let bytes = marked(&vault.vault_key, tenant.id, &tenant.log_key.public_key());
    if let Err(error) = vault.catalog.set_log_public(&tenant.id, &bytes).await {
        tracing::warn!(tenant = %tenant.name, %error, "the public half of a log key is not kept");
    }
}

fn marked(vault_key: &SigningKey, tenant: TenantId, key: &VerifyingKey) -> Vec<u8> {
    let mark = vault_key.seed().expand(&[b"strongroom/v1/log-public", tenant.as_bytes(), key.as_bytes()]);
    [&key.as_bytes()[..], mark.expose()].concat()
}

fn read(vault_key: &SigningKey, tenant: TenantId, bytes: &[u8]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(*bytes.first_chunk()?);
    (marked(vault_key, tenant, &key) == bytes).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_vault_key_marked_for_this_tenant_is_shown() {
        let [vault, other, log] = [(); 3].map(|()| SigningKey::generate().unwrap());
        let (tenant, key) = (TenantId::from_bytes([1; 16]), log.public_key());
        let row = marked(&vault, tenant, &key);
        assert_eq!(read(&vault, tenant, &row), Some(key));
        assert_eq!(read(&other, tenant, &row), None);
        assert_eq!(read(&vault, TenantId::from_bytes([2; 16]), &row), None);
        for at in 0..row.len() {
            let mut changed = row.clone();
            changed[at] ^= 1;
            assert_eq!(read(&vault, tenant, &changed), None, "byte {at}");
        }
        assert_eq!(read(&vault, tenant, &row[..63]), None);
        assert_eq!(read(&vault, tenant, &row[..31]), None);
    }
}
