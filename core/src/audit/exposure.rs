//! What somebody had: the segments whose keys were released to them, and what became of the objects since.
//!
//! ```text
//! orders ─► Roster: who is whose ─┐
//!            Question ────────────┴─► Fold ◄─ puts, deletes, releases, in order ─► Exposure
//! ```
//!
//! A release counts from its entry on, whether its bytes arrived or not, and a repeat counts again: this is what can have leaked.
//! What somebody wrote they had too, and is told apart from what they read.
//!
//! What was erased is never guessed. An object whose put was erased has no name, and is inside of any dataset and prefix that is
//! asked for. A release under a grant whose order was erased, and which may so have been theirs, is counted as unattributed.
//!
//! Memory holds the objects that there are (about 100 bytes each, and the paths that are asked for), what was exposed, what sessions
//! claimed, and the calls to put and the requests of the last 15 minutes of the ledger's time; not the releases, however many.

mod answer;
pub(super) mod fold;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ranges::Ranges;
use super::roster::{GrantStanding, Happening, Moment};
use crate::grant::{Holder, Prefix};
use crate::identity::Fingerprint;
use crate::ids::{Generation, GrantId, Index, Millis, SessionId, VendorId};
use crate::names::{DatasetName, ObjectPath, TenantName, VendorName};
use crate::session::Claims;

pub use fold::Fold;

/// Whose exposure, to what, and when; all that is given must hold, and what is not given is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Question {
    /// A vendor: its keys, those that it has and had, and whoever acts under a grant of theirs or one delegated from it.
    pub vendor: Option<VendorName>,
    /// A key: what it did itself.
    pub key: Option<Fingerprint>,
    /// A worker: a key, and whoever acts under a grant of its own or one that it, or those below it, delegated.
    pub worker: Option<Fingerprint>,
    /// A grant, and those delegated from it.
    pub grant: Option<GrantId>,
    /// A session.
    pub session: Option<SessionId>,
    /// A dataset.
    pub dataset: Option<DatasetName>,
    /// A prefix, in the dataset or in any.
    pub prefix: Option<Prefix>,
    /// What the caller's session claimed to be its SDK and its version: exactly, or from its start if this ends in `*`.
    pub sdk: Option<String>,
    /// What it claimed to be its host, likewise.
    pub host: Option<String>,
    /// What it claimed to be its job, likewise.
    pub job: Option<String>,
    /// No release before this time.
    pub since: Option<Millis>,
    /// No release at or after this time.
    pub until: Option<Millis>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExposureError {
    /// No order that can be read names such a vendor.
    #[error("no such vendor: {0}")]
    NoVendor(VendorName),
    /// The entries are no ledger's.
    #[error("entry {0} does not fit those before it ({1}): verify the ledger before anything in it is believed")]
    Broken(Index, &'static str),
}

/// What became of an object since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// It is what a reader of its path gets.
    Current,
    /// A newer generation stands at its path, since then. It can still be asked for by its generation.
    Overwritten(Moment),
    /// The same content stands at its path under a new key, since then. This generation's key is destroyed after a grace.
    Rekeyed(Moment),
    /// It was deleted, or its dataset was.
    Deleted(Moment),
    /// Its keys were destroyed: nobody can open it any more who had not opened it before.
    Shredded(Moment),
    /// Its path was erased, and with it what happened there; if it was deleted itself, it says so.
    Unknown,
}

/// An object that was exposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// The entry that put it.
    pub put: Index,
    /// Its place in there.
    pub ordinal: u32,
    /// Where it lies; `None` if that was erased.
    pub name: Option<(DatasetName, ObjectPath)>,
    /// Which writing of its path.
    pub generation: Generation,
    /// Its plaintext's size in bytes.
    pub size: u64,
    /// The segments that were released.
    pub read: Ranges,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// In how many entries.
    pub releases: u64,
    /// The first of them; `None` if it was only written.
    pub first: Option<Moment>,
    /// The last of them.
    pub last: Option<Moment>,
    /// To whom.
    pub keys: BTreeSet<Fingerprint>,
    /// Under which grants: the ones that the calls named.
    pub grants: BTreeSet<GrantId>,
    /// From which addresses, without ports, as far as that was not erased.
    pub sources: BTreeSet<String>,
    /// Releases whose source was erased.
    pub sources_erased: u64,
    /// What the sessions claimed that it was released in: places in [`Exposure::claims`].
    pub claims: BTreeSet<u32>,
    /// The key that wrote it, if that was one of those asked for.
    pub written: Option<Fingerprint>,
    /// What became of it.
    pub since: Since,
}

/// What one key was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByKey {
    /// The key.
    pub key: Fingerprint,
    /// The vendor that it belongs or belonged to.
    pub vendor: Option<VendorId>,
    /// Entries.
    pub releases: u64,
    /// Plaintext bytes, each as often as it was released.
    pub bytes_total: u64,
    /// The first entry.
    pub first: Moment,
    /// The last entry.
    pub last: Moment,
}

/// What the grants of those who are asked about let them read while they lived: the bound that the exposure stays under.
/// Suspensions, freezes and limits are not taken off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct InScope {
    /// Objects, whatever was released of them. What was released and got a new key since is one object.
    pub objects: u64,
    /// Of these, objects of which nothing was released.
    pub unreleased: u64,
    /// Plaintext bytes of those.
    pub unreleased_bytes: u64,
    /// Objects whose path was erased: in scope or not.
    pub unnamed: u64,
    /// Grants whose order was erased: theirs or not, over whatever there was.
    pub erased_grants: u64,
}

/// A grant that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenGrant {
    /// The grant.
    pub id: GrantId,
    /// Who holds it.
    pub holder: Holder,
    /// When it ends.
    pub expires: Millis,
    /// How it stands: anything but ended.
    pub standing: GrantStanding,
}

/// Sums over all objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Objects of which something was released.
    pub objects: u64,
    /// Plaintext bytes of these, each once.
    pub bytes: u64,
    /// Plaintext bytes released, each as often as it was.
    pub bytes_total: u64,
    /// Entries that released something of it; repeats among them.
    pub releases: u64,
    /// Of these, repeats: for requests that had the keys before.
    pub repeats: u64,
    /// Objects that they wrote, released to them or not.
    pub written: u64,
    /// Plaintext bytes of these.
    pub written_bytes: u64,
    /// Objects whose path was erased.
    pub unnamed: u64,
    /// Entries whose source was erased.
    pub sources_erased: u64,
    /// Refusals, each as often as it was.
    pub denied: u64,
    /// Of the objects of which something was released, those that were overwritten since.
    pub overwritten: u64,
    /// Those whose content got new keys since.
    pub rekeyed: u64,
    /// Those that were deleted since.
    pub deleted: u64,
    /// And those whose keys were destroyed since.
    pub shredded: u64,
    /// The first release.
    pub first: Option<Moment>,
    /// The last release.
    pub last: Option<Moment>,
    /// Entries of releases under grants whose order was erased: theirs or not. They are in no other number.
    pub unattributed: u64,
    /// Plaintext bytes of those.
    pub unattributed_bytes: u64,
    /// Orders other than grants that were erased: keys of a vendor may be among them.
    pub erased_orders: u64,
}

/// What a key was released on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByDay {
    /// When the day begins, UTC.
    pub day: Millis,
    /// The key.
    pub key: Fingerprint,
    /// Entries.
    pub releases: u64,
    /// Plaintext bytes, each as often as it was released.
    pub bytes_total: u64,
}

/// Releases to one key, each within 15 minutes of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The key.
    pub key: Fingerprint,
    /// The first entry.
    pub first: Moment,
    /// The last entry.
    pub last: Moment,
    /// How many entries.
    pub releases: u64,
    /// Parts of objects in them, each as often as it was released.
    pub parts: u64,
    /// Plaintext bytes, each as often as it was released.
    pub bytes_total: u64,
}

/// What lies in a folder, but for what lies in folders of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// The dataset.
    pub dataset: DatasetName,
    /// The folder, ended by a `/`; empty for the dataset's own. Where there are many, the deepest are one with those above.
    pub folder: String,
    /// Objects, each generation by itself.
    pub objects: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Objects of which something was released.
    pub read_objects: u64,
    /// Plaintext bytes that were released, each once.
    pub read_bytes: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// How many entries it stands on: it is of the entries below.
    pub size: Index,
    /// The moment for which grants are told to be live.
    pub now: Millis,
    /// Whose ledger; `None` if that was erased.
    pub tenant: Option<TenantName>,
    /// The names of the vendors that it tells of.
    pub vendors: BTreeMap<VendorId, VendorName>,
    /// Sums.
    pub totals: Totals,
    /// By key, most bytes first.
    pub keys: Vec<ByKey>,
    /// By day and key, in the order of days.
    pub days: Vec<ByDay>,
    /// The releases as runs, in the order of their first entries.
    pub runs: Vec<Run>,
    /// The orders about those who are asked about and their grants, and those that froze anything, in their order.
    pub orders: Vec<Happening>,
    /// From which addresses anything was released.
    pub sources: BTreeSet<String>,
    /// What the sessions claimed that anything was released in.
    pub claims: Vec<Claims>,
    /// What was in scope; `None` if the question is about a session or an admin's key.
    pub scope: Option<InScope>,
    /// Their grants that are not over, those that end last first; only those over the dataset and prefix asked for.
    pub grants: Vec<OpenGrant>,
    /// Grants that live and are not theirs, of keys that were released something: what these keys can do all the same.
    pub elsewhere: Vec<OpenGrant>,
    /// Folder by folder, of the places that are asked for: what there is, and what of it was released.
    pub folders: Vec<Folder>,
    /// Object by object, by dataset, path and generation.
    pub objects: Vec<Exposed>,
}
