//! Whose a catalog is: the one row of `vault`.
//!
//! While a catalog is being copied into a database, the row there is longer than a vault's id: it says of what the copy is, and no
//! server takes it for its own, not even one that knows nothing of copies. The last step of a copy cuts it to the id.

use strongroom_core::ids::{Digest, VaultId};

use super::super::CatalogError;

/// What the row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Binding {
    /// It is this vault's.
    Whole(VaultId),
    /// It is a copy that is not finished.
    Copying(Unfinished),
}

/// A copy that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// The vault that it is a copy of.
    pub(crate) vault: VaultId,
    /// What the source's ledgers were when it began.
    pub(crate) of: Digest,
}

const ID: usize = 16;

impl Binding {
    pub(in super::super) fn read(bytes: &[u8]) -> Result<Self, CatalogError> {
        let unknown = || CatalogError::integrity("what binds the catalog to its vault has no form that is known");
        if let Ok(id) = <[u8; ID]>::try_from(bytes) {
            return Ok(Self::Whole(VaultId::from_bytes(id)));
        }
        let (id, of) = bytes.split_first_chunk::<ID>().ok_or_else(unknown)?;
        let of = Digest::try_from(of).map_err(|_| unknown())?;
        Ok(Self::Copying(Unfinished { vault: VaultId::from_bytes(*id), of }))
    }

    pub(in super::super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Whole(vault) => vault.as_bytes().to_vec(),
            Self::Copying(Unfinished { vault, of }) => [&vault.as_bytes()[..], of.as_bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let (vault, of) = (VaultId::from_bytes([1; 16]), Digest::from_bytes([2; 32]));
        for binding in [Binding::Whole(vault), Binding::Copying(Unfinished { vault, of })] {
            assert_eq!(Binding::read(&binding.bytes()).unwrap(), binding);
        }
        for len in [0, 15, 17, 47, 49] {
            assert!(Binding::read(&vec![1; len]).is_err(), "{len}");
        }
    }
}
