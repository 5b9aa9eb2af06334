//! Moving a vault's catalog from the file of one machine into a database of PostgreSQL, while no server runs.
//!
//! ```text
//! open the file alone ─► every ledger and every mark of it ─► copy ─► compare every row ─► every ledger of the copy ─► some
//! objects with their blobs ─► the copy is the catalog
//! ```
//!
//! What does the copying is [`crate::catalog`]'s; what is here decides whether it may be believed. Until the last step no server
//! takes the copy, and the file is as it was: whatever breaks it off, it can be done again, and goes on where it stopped.

mod check;
mod sample;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_core::ids::{Digest, Index, TenantId, VaultId};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::blobs::Blobs;
use crate::catalog::copy::{Begun, Copying, Unfinished};
use crate::catalog::{Catalog, CatalogError};
use crate::config::{CatalogUrl, Config};
use crate::error::Error;
use crate::keys::KeyError;
use crate::keys::root::ring::Roots;
use crate::keys::root::{self, RootKey, Secret};
use crate::keys::vault::VaultFile;
use crate::recorder::Shelf;
use crate::tenants::{Tenant, Tenants};

/// How a catalog is to be moved.
pub struct Options {
    /// The database, `postgres://…`.
    pub to: String,
    /// Clear an unfinished copy of this vault away and begin anew.
    pub restart: bool,
    /// How many objects of each tenant are checked with their blobs, at most.
    pub sample: u64,
    /// Rows that are copied in one transaction, at most.
    pub page: u32,
    /// What only a human can give to open the root key, if it needs that.
    pub secret: Option<Secret>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Ledgers and marks of the file are checked.
    Checking,
    /// Rows are copied.
    Copying,
    /// Rows are read back and compared.
    Comparing,
    /// The copy's ledgers are checked.
    CheckingCopy,
    /// Objects are checked with their blobs.
    Sampling,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A stage begins.
    Begins {
        /// Which.
        stage: Stage,
        /// What there is to do: rows, entries and objects.
        total: u64,
        /// How much of it was done before.
        done: u64,
    },
    /// So much more of it is done.
    More(u64),
}

/// A ledger, as it was found in the file and again in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedLedger {
    /// Whose.
    pub tenant: TenantName,
    /// How many entries it has.
    pub size: Index,
    /// Its root over them.
    pub tip: Digest,
}

/// A catalog that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The vault.
    pub vault: VaultId,
    /// The file, as it was.
    pub file: PathBuf,
    /// Where it is now, without a password.
    pub to: String,
    /// Rows that there are.
    pub rows: u64,
    /// Whether an unfinished copy was finished.
    pub resumed: bool,
    /// Whether all of it was there already, and was checked only.
    pub was_done: bool,
    /// Every ledger.
    pub ledgers: Vec<CheckedLedger>,
    /// Objects whose marks were checked: every generation.
    pub objects: u64,
    /// Those that were checked with their blobs.
    pub sampled: u64,
}

/// Why a catalog was not moved. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The vault's catalog is on a server already.
    #[error("the catalog of this vault is on PostgreSQL already")]
    NotEmbedded,
    /// There is no catalog, or nothing was ever in it.
    #[error("{path}: there is nothing to copy", path = .0.display())]
    Nothing(PathBuf),
    /// What was named is no database of PostgreSQL.
    #[error("what a catalog is copied to is a URL that begins with postgres:")]
    NotPostgres,
    /// The database is another vault's.
    #[error("the database holds vault {0}")]
    OtherVault(VaultId),
    /// The database is the vault's catalog, and its ledgers are not those of the file.
    #[error("the database is this vault's catalog already, and its ledgers are not those of the file any more")]
    WentOn,
    /// The file or the copy is not what it should be.
    #[error("tenant {tenant}, in the {place}: {why}")]
    Broken {
        /// Whose.
        tenant: TenantName,
        /// Which of the two.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// What serves a vault failed, or refused.
    #[error(transparent)]
    Server(#[from] Error),
    /// The catalog failed, or refused.
    #[error(transparent)]
    Catalog(CatalogError),
}

/// One of the two catalogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The vault's file.
    File,
    /// The database.
    Copy,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "catalog's file",
            Self::Copy => "copy",
        })
    }
}

impl From<CatalogError> for MigrateError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::OtherVault { found, .. } => Self::OtherVault(found),
            other => Self::Catalog(other),
        }
    }
}

impl MigrateError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotEmbedded | Self::OtherVault(_) | Self::WentOn => Reason::PreconditionFailed,
            Self::Nothing(_) => Reason::NotFound,
            Self::NotPostgres => Reason::InvalidArgument,
            Self::Broken { .. } => Reason::Integrity,
            Self::Server(error) => error.reason(),
            Self::Catalog(error) => error.reason(),
        }
    }
}

/// Who hears how far it has come.
type Tell<'a> = &'a (dyn Fn(Told) + Sync);

/// Copies the catalog of the vault in `folder` and says so only when it was checked. The blobs stay where they are.
///
/// # Errors
/// Each kind of [`MigrateError`]; what was copied stays, and the same call goes on there.
pub async fn migrate(folder: &Path, options: Options, tell: Tell<'_>) -> Result<Moved, MigrateError> {
    let config = Config::load(folder).map_err(Error::from)?;
    let CatalogUrl::Sqlite(file) = &config.catalog else { return Err(MigrateError::NotEmbedded) };
    let scheme = options.to.split_once(':').map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        return Err(MigrateError::NotPostgres);
    }
    let vault = VaultFile::read(folder).map_err(Error::from)?.vault;
    if !file.exists() {
        return Err(MigrateError::Nothing(file.clone()));
    }
    let source = Catalog::open_source(file).await?;
    let found = source.vault().await?.ok_or_else(|| MigrateError::Nothing(file.clone()))?;
    if found != vault {
        return Err(CatalogError::OtherVault { found, wanted: vault }.into());
    }
    if root::folder::next(folder).map_err(Error::from)?.is_some() {
        let why = "another root key is taking over: start the server, and let that come to its end first";
        return Err(Error::from(KeyError::Refused(why.to_owned())).into());
    }
    let root = root::open(&config.root, options.secret, config.limits.plugin).await.map_err(Error::from)?;
    let root: Arc<dyn RootKey> = Arc::new(Roots::new(root, None));
    let blobs = Blobs::open(&config.blobs).map_err(Error::from)?;
    blobs.probe().await.map_err(Error::from)?;
    let shelf = Shelf::new(blobs.logs());
    let target = Catalog::open(&options.to).await?;
    let of = Unfinished { vault, of: source.ledgers().await? };
    let copying = Copying { source: source.clone(), target: target.clone(), of, page: options.page.max(1) };

    let begun = copying.look(options.restart).await?;
    if begun == Begun::Whole && target.ledgers().await? != of.of {
        return Err(MigrateError::WentOn);
    }
    let names = names(&source).await?;
    let tenants_in = |catalog: &Catalog| Tenants::new(catalog.clone(), root.clone(), vault, config.name.clone());
    let here = load(&tenants_in(&source), &names).await?;
    let (entries, mut objects) = (sum(&names), 0);
    let marks = source.marked_rows().await?;
    tell(Told::Begins { stage: Stage::Checking, total: entries + marks, done: 0 });
    for (tenant, size) in &here {
        let check = check::Check { catalog: &source, shelf: &shelf, place: Place::File, tenant, tell };
        check.ledger(*size).await?;
        objects += check.marks().await?;
    }
    let rows = source.rows().await?;
    if begun != Begun::Whole {
        copying.begin(options.restart).await?;
        let more = |rows| tell(Told::More(rows));
        tell(Told::Begins { stage: Stage::Copying, total: rows, done: target.rows().await? });
        copying.tables(&more).await?;
        tell(Told::Begins { stage: Stage::Comparing, total: rows, done: 0 });
        copying.compare(&more).await?;
    }

    let there = load(&tenants_in(&target), &names).await?;
    tell(Told::Begins { stage: Stage::CheckingCopy, total: entries, done: 0 });
    let mut ledgers = Vec::with_capacity(there.len());
    for (tenant, size) in &there {
        let check = check::Check { catalog: &target, shelf: &shelf, place: Place::Copy, tenant, tell };
        let head = check.ledger(*size).await?;
        ledgers.push(CheckedLedger { tenant: tenant.name.clone(), size: head.size(), tip: head.tip() });
    }
    let counts = counts(&target, &there).await?;
    let total = counts.iter().map(|count| options.sample.min(*count)).sum();
    tell(Told::Begins { stage: Stage::Sampling, total, done: 0 });
    let mut sampled = 0;
    for ((tenant, size), count) in there.iter().zip(counts) {
        let sample = sample::Sample { catalog: &target, blobs: &blobs, shelf: &shelf, tenant, tell };
        sampled += sample.check(*size, count, options.sample).await?;
    }
    if begun != Begun::Whole {
        copying.finish().await?;
    }
    source.close().await;
    target.close().await;
    Ok(Moved {
        vault,
        file: file.clone(),
        to: crate::catalog::shown(&options.to)?,
        rows,
        resumed: begun == Begun::Resumed && !options.restart,
        was_done: begun == Begun::Whole,
        ledgers,
        objects,
        sampled,
    })
}

/// Every tenant's name with the size of its ledger.
async fn names(catalog: &Catalog) -> Result<Vec<(TenantId, TenantName, Index)>, CatalogError> {
    const PAGE: u32 = 1000;
    let mut names: Vec<(TenantId, TenantName, Index)> = Vec::new();
    loop {
        let page = catalog.list_tenants(names.last().map(|(_, name, _)| name), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        names.extend(page.into_iter().map(|(row, size)| (row.id, row.name, size)));
        if is_last {
            return Ok(names);
        }
    }
}

fn sum(names: &[(TenantId, TenantName, Index)]) -> u64 {
    names.iter().map(|(.., size)| size.0).sum()
}

/// Every tenant, its key opened by the root key out of the row that this catalog has.
async fn load(
    tenants: &Tenants,
    names: &[(TenantId, TenantName, Index)],
) -> Result<Vec<(Arc<Tenant>, Index)>, MigrateError> {
    let mut loaded = Vec::with_capacity(names.len());
    for (_, name, size) in names {
        loaded.push((tenants.find(name).await?, *size));
    }
    Ok(loaded)
}

/// How many objects of each tenant can be opened.
async fn counts(catalog: &Catalog, tenants: &[(Arc<Tenant>, Index)]) -> Result<Vec<u64>, CatalogError> {
    let mut counts = Vec::with_capacity(tenants.len());
    for (tenant, _) in tenants {
        counts.push(catalog.count_objects(&tenant.id).await?);
    }
    Ok(counts)
}
