//! Where a ledger is read: from the vault, or from a folder that `audit export` wrote. Both come to the same answers.

mod folder;
mod taken;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures::TryStreamExt;
use strongroom_client::Vault;
use strongroom_client::audit::Query;
use strongroom_client::log::Cover;
use strongroom_core::audit::Stranger;
use strongroom_core::audit::called::{Called, Calls};
use strongroom_core::audit::exposure::{Fold, Question};
use strongroom_core::audit::roster::Roster;
use strongroom_core::ids::{Digest, IncidentId, Index};
use strongroom_core::ledger::checkpoint::{Checkpoint, VerifierKey};
use strongroom_core::ledger::extract::Needs;
use strongroom_core::ledger::facts::Facts;
use strongroom_core::ledger::log_keys::LogKeys;
use strongroom_core::ledger::{Entry, Event, Private};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::connection::block_on;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::progress::Progress;
use folder::{Folder, no_ledger, not_answered};

/// A tenant's ledger in the vault, or its export: `acme`, `./acme-ledger/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the vault.
    Tenant(TenantName),
    /// In a folder.
    Folder(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    /// Whatever has a `/` in it, or is no tenant's name, is a folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        match text.parse() {
            Ok(tenant) if !text.contains('/') => Ok(Self::Tenant(tenant)),
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

impl Source {
    /// Does something with the ledger.
    ///
    /// # Errors
    /// What came in the way.
    pub(crate) fn read<T>(
        &self,
        globals: &Globals,
        work: impl AsyncFnOnce(&mut Ledger<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        match self {
            Self::Tenant(tenant) => {
                globals.with_vault(async |vault| work(&mut Ledger::vault(vault, tenant.clone(), globals)).await)
            }
            Self::Folder(path) => {
                let mut ledger = Ledger::folder(path, globals)?;
                block_on(async { work(&mut ledger).await })
            }
        }
    }
}

/// What a fold is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer alone.
    Answer,
    /// The answer, and the entries that it stands on.
    Evidence,
}

/// A ledger that is read, more than once and up to one size.
pub(crate) enum Ledger<'a> {
    /// As the vault tells it.
    Vault {
        /// Who is asked.
        vault: &'a Vault,
        /// Whose ledger.
        tenant: TenantName,
        /// Whether a bar is shown.
        globals: &'a Globals,
    },
    /// As it lies in a folder.
    Folder(Folder<'a>),
}

/// A checkpoint, the key that signed it, and the signed note.
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) key: VerifierKey,
    /// All keys of the log.
    pub(crate) keys: LogKeys,
    pub(crate) note: Vec<u8>,
}

impl<'a> Ledger<'a> {
    /// The one in the vault.
    pub(crate) fn vault(vault: &'a Vault, tenant: TenantName, globals: &'a Globals) -> Self {
        Self::Vault { vault, tenant, globals }
    }

    /// The one in a folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub(crate) fn folder(path: &Path, globals: &'a Globals) -> Outcome<Self> {
        if let Err(error) = fs::read_dir(path) {
            return Err(Failure::file(path, &error));
        }
        Ok(Self::Folder(Folder::at(path, globals)))
    }

    /// How many entries it has; an export's form is checked for it: signature, hashes and files.
    pub(crate) async fn size(&mut self) -> Outcome<Index> {
        match self {
            Self::Vault { vault, tenant, .. } => Ok(vault.ledger_size(tenant).await?),
            Self::Folder(folder) => folder.check(false),
        }
    }

    /// As [`Ledger::size`], where a fold follows: an export is read once for both.
    pub(crate) async fn size_to_fold(&mut self) -> Outcome<Index> {
        match self {
            Self::Vault { vault, tenant, .. } => Ok(vault.ledger_size(tenant).await?),
            Self::Folder(folder) => folder.check(true),
        }
    }

    /// The fold of its first `size` entries.
    ///
    /// # Errors
    /// The ledger cannot be read; it tells of nobody who is asked about.
    pub(crate) async fn fold(&mut self, question: Question, size: Index, purpose: Purpose) -> Outcome<Fold> {
        let mut fold = Fold::new(self.roster(size).await?, question).map_err(not_answered)?;
        if let Some(stranger) = fold.stranger() {
            return Err(nobody(&stranger));
        }
        if matches!(purpose, Purpose::Evidence) {
            fold = fold.for_evidence();
        }
        let needs = fold.needs();
        self.extract(size, &needs, |facts, entries| fold.feed_extract(facts, entries).map_err(not_answered)).await?;
        fold.missing().map_or(Ok(fold), |stranger| Err(nobody(&stranger)))
    }

    /// Who is who by its first `size` entries.
    pub(crate) async fn roster(&mut self, size: Index) -> Outcome<Roster> {
        match self {
            Self::Vault { vault, tenant, .. } => Ok(vault.roster(tenant, Some(size)).await?),
            Self::Folder(folder) => {
                let mut roster = Roster::default();
                folder.orders(|shown| {
                    let fed = roster.feed(&shown.entry, shown.private.as_ref());
                    fed.map_err(|error| no_ledger(error.to_string()))
                })?;
                Ok(roster)
            }
        }
    }

    /// Shows what a fold needs of its first `size` entries: releases, and entries, each in their order.
    pub(crate) async fn extract(
        &mut self,
        size: Index,
        needs: &Needs,
        mut each: impl FnMut(&Facts, &[(Entry, Option<Private>)]) -> Outcome,
    ) -> Outcome {
        match self {
            Self::Vault { vault, tenant, globals } => {
                let bar = Progress::of(globals, "reading", size.0, "entries");
                let mut extracts = vault.extracts(tenant, needs, Index(0), Some(size));
                while let Some(found) = extracts.try_next().await? {
                    each(&found.facts, &found.entries)?;
                    bar.set(found.end.0, size.0);
                }
                Ok(())
            }
            Self::Folder(folder) => folder.extract(needs, each),
        }
    }

    /// Shows entries by their indices, which are sorted and below the checkpoint's size, each with the proof that it is under it.
    pub(crate) async fn pick(
        &mut self,
        indices: Vec<Index>,
        checkpoint: &Checkpoint,
        mut each: impl FnMut(Shown<'_>, &[Digest]) -> Outcome,
    ) -> Outcome {
        match self {
            Self::Vault { vault, tenant, .. } => {
                let mut picked = vault.picked(tenant, indices, checkpoint.clone());
                while let Some(found) = picked.try_next().await? {
                    let (public, secret) = (&found.public_bytes[..], &found.private_bytes[..]);
                    each(Shown { entry: found.entry, private: found.private, public, secret }, &found.proof)?;
                }
                Ok(())
            }
            Self::Folder(folder) => folder.pick(&indices, checkpoint, each),
        }
    }

    /// Shows its first `size` entries, those with one of these events, in their order; all if none is named.
    pub(crate) async fn walk(
        &mut self,
        size: Index,
        events: &[Event],
        mut each: impl FnMut(Shown<'_>) -> Outcome,
    ) -> Outcome {
        match self {
            Self::Vault { vault, tenant, .. } => {
                let query = Query { to: Some(size), events: events.to_vec(), ..Query::default() };
                let mut lines = vault.query(tenant, query);
                while let Some(line) = lines.try_next().await? {
                    let (public, secret) = (&line.public_bytes[..], &line.private_bytes[..]);
                    each(Shown { entry: line.entry, private: line.private, public, secret })?;
                }
                Ok(())
            }
            Self::Folder(folder) => folder.walk(size, events, each),
        }
    }

    /// What was done for an incident in calls, in its first `size` entries.
    pub(crate) async fn incident_calls(&mut self, incident: IncidentId, size: Index) -> Outcome<Vec<Called>> {
        match self {
            Self::Vault { vault, tenant, .. } => Ok(vault.incident_calls(tenant, incident, Some(size)).await?),
            Self::Folder(folder) => {
                let mut calls = Calls::new(incident);
                folder.walk(size, &Calls::EVENTS, |shown| {
                    calls.feed(&shown.entry, shown.private.as_ref());
                    Ok(())
                })?;
                Ok(calls.finish())
            }
        }
    }

    /// Its checkpoint, of at least `size` entries.
    pub(crate) async fn checkpoint(&mut self, size: Index) -> Outcome<Signed> {
        match self {
            Self::Vault { vault, tenant, .. } => {
                let found = vault.checkpoint(tenant, Cover::Entries(size)).await?;
                Ok(Signed { checkpoint: found.checkpoint, key: found.key, keys: found.keys, note: found.note.to_vec() })
            }
            Self::Folder(folder) => folder.checkpoint(),
        }
    }
}

fn nobody(stranger: &Stranger) -> Failure {
    let (what, advice) = match stranger {
        Stranger::Grant(grant) => {
            (format!("the ledger tells of no grant {grant}"), "strongroom grant list TENANT names them")
        }
        Stranger::Session(session) => (
            format!("the ledger tells of no session {session}"),
            "strongroom audit log TENANT --event session.open --output json names them",
        ),
        Stranger::Key(key) => (
            format!("no vendor, admin or grant in the ledger has or had the key {key}"),
            "strongroom vendor show TENANT/VENDOR and grant list TENANT name keys",
        ),
    };
    Failure::new(Reason::NotFound, what, advice)
}

/// An entry as it is shown: read, and as it lies there.
pub(crate) struct Shown<'a> {
    pub(crate) entry: Entry,
    pub(crate) private: Option<Private>,
    pub(crate) public: &'a [u8],
    /// The private part's exact bytes; empty if it was erased.
    pub(crate) secret: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_a_folder() {
        let source = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(source("acme"), Source::Tenant("acme".parse().unwrap()));
        for folder in ["./acme", "acme/", "acme-ledger/", "/tmp/acme", ".", "..", "Acme"] {
            assert_eq!(source(folder), Source::Folder(folder.into()), "{folder}");
        }
    }
}
