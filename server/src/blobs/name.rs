//! The names of blobs: `blobs/<tenant id>/<2 hex>/<uuid>`, random, so that they tell nothing.

use std::fmt;

use object_store::path::Path;
use strongroom_core::ids::TenantId;
use strongroom_core::keys::secret::{RandomError, random_bytes};
use uuid::{Builder, Uuid};

use super::BlobError;

/// A blob's name. The two digits are the uuid's first, so that no folder grows too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobName {
    tenant: TenantId,
    uuid: Uuid,
}

impl BlobName {
    /// A fresh one.
    pub(super) fn draw(tenant: &TenantId) -> Result<BlobName, RandomError> {
        Ok(BlobName { tenant: *tenant, uuid: Builder::from_random_bytes(random_bytes()?).into_uuid() })
    }

    /// From exactly the text that [`BlobName`] writes: nothing else becomes a path.
    pub(super) fn parse(text: &str) -> Result<BlobName, BlobError> {
        let parse = || {
            let (tenant, rest) = text.strip_prefix("blobs/")?.split_once('/')?;
            let (_, uuid) = rest.split_once('/')?;
            Some(BlobName { tenant: tenant.parse().ok()?, uuid: uuid.parse().ok()? })
        };
        let name = parse().filter(|name| name.to_string() == text);
        name.ok_or_else(|| BlobError::Name(text.chars().take(128).collect()))
    }

    /// Where it stands in the store.
    pub(super) fn path(&self) -> Path {
        Path::from(self.to_string())
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blobs/{}/{:02x}/{}", self.tenant, self.uuid.as_bytes()[0], self.uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_text_form() {
        let name = BlobName::draw(&TenantId::from_bytes([7; 16])).unwrap();
        let text = name.to_string();
        assert_eq!(BlobName::parse(&text).unwrap(), name);
        assert_eq!(name.path().as_ref(), text);
        let uuid = name.uuid.to_string();
        for bad in [
            "",
            "../root.identity",
            "blobs/../../root.identity",
            &text.to_uppercase(),
            &format!("{text}/"),
            &format!("/{text}"),
            &text.replace(&uuid, &name.uuid.simple().to_string()),
            &text.replacen(&format!("/{}/", &uuid[..2]), "/zz/", 1),
            &text.replacen("07", "..", 1),
        ] {
            assert!(matches!(BlobName::parse(bad), Err(BlobError::Name(_))), "{bad}");
        }
    }
}
