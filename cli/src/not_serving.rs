//! Why a server does not run.

use std::io::ErrorKind;

use strongroom_core::reason::Reason;
use strongroom_server::Error;
use strongroom_server::catalog::CatalogError;
use strongroom_server::keys::KeyError;

use crate::exit::Failure;

/// Why a server does not run, and what its operator can do.
pub(crate) fn failure(error: &Error) -> Failure {
    let advice = match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::AddrInUse => {
            "stop what listens there, or choose another address with --listen"
        }
        Error::Catalog(CatalogError::Unfinished { .. }) => {
            "run migrate-catalog again until it says that the catalog is copied"
        }
        Error::Catalog(CatalogError::BeingCopied) => "wait until migrate-catalog has ended",
        Error::Key(KeyError::Passphrase | KeyError::Pin(_)) => "give the right one; a token that counts locks itself",
        Error::Key(KeyError::Root(_)) => "look at [root] in strongroom.toml, and at what it names",
        Error::Config(_) => "correct strongroom.toml, or make a vault with init",
        _ => match error.reason() {
            Reason::Sealed => "give the passphrase or PIN: --passphrase-file, or STRONGROOM_ROOT_PASSPHRASE",
            Reason::NotFound => "name the folder that init made",
            Reason::LedgerDiverged => "do not go on before you know who put the catalog back",
            _ => "look at the vault's folder and its permissions",
        },
    };
    Failure::new(error.reason(), error.to_string(), advice)
}
