//! A verifier's own snapshot: a replay on its way, kept, so that the next one goes on from there.
//!
//! ```text
//! strongroom/v1/replay-snapshot                         the form of all that follows
//! {"rules":…,"key":…,"origin":…,"size":…,"root":…}      what it is of, and what it was made by
//! {"authority":…,"grants":…,…}                          the replay: all that later entries are decided by
//! 5f0c…                                                 SHA-256 over all of it before
//! ```
//!
//! It is bound to the ledger (origin), to the history (size and root), to the key that signed for it, and to the rules that it was
//! made by: another version of strongroom that knows other rules or events refuses it, and replays from entry 0. One replay has one
//! snapshot, byte by byte.
//!
//! What it protects: a file that was cut, damaged or edited by accident is refused; so is one of another ledger, and one of another
//! history of the same ledger, since the entries that follow must come to a signed root. What it does not: whoever can write the
//! verifier's files can write another snapshot with another sum, as they could exchange the verifier. It is not evidence, and
//! nobody should take it from somebody else: a ledger can always be replayed from entry 0.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::calls::Session;
use super::foreseen::Foreseen;
use super::kept::{CallsRef, KeptCalls};
use super::objects::Objects;
use super::{Counts, Finding, Known, Replay, Rule};
use crate::exact;
use crate::grant::Authority;
use crate::identity::sha256;
use crate::ids::{Digest, GrantId, Index, OrderId, SessionId};
use crate::ledger::checkpoint::VerifierKey;
use crate::ledger::log_keys::LogKeyChange;
use crate::ledger::{Event, Head};
use crate::origin::Origin;

const FORM: &str = "strongroom/v1/replay-snapshot";

/// A replay of a ledger's first entries, with the key that signed a checkpoint of exactly these.
#[derive(Debug)]
pub struct Snapshot {
    /// The key.
    pub key: VerifierKey,
    /// The replay.
    pub replay: Replay,
}

/// Why bytes are no snapshot that can be gone on from, or a replay has none.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is something else, or its end is missing.
    #[error("it is not a replay's snapshot, or was cut")]
    Form,
    /// Its bytes are not those that were written.
    #[error("it was damaged or edited: its bytes do not come to its sum")]
    Sum,
    /// Another version wrote it.
    #[error("it was made by a version of strongroom that knows other rules")]
    Version,
    /// It contradicts itself.
    #[error("what it holds does not fit together: {0}")]
    State(String),
    /// A ledger with a finding has none: nothing follows from it.
    #[error("{0}")]
    Found(#[from] Finding),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Front {
    rules: Digest,
    key: String,
    origin: Origin,
    size: Index,
    root: Digest,
}

/// The replay's fields that its front does not say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(with = "head")]
    head: Head,
    authority: Authority,
    grants: BTreeMap<GrantId, Known>,
    #[serde(with = "set")]
    orders: HashSet<OrderId>,
    #[serde(with = "map")]
    sessions: std::collections::HashMap<SessionId, Session>,
    calls: KeptCalls,
    objects: Objects,
    counts: Counts,
    log_keys: Vec<(Index, LogKeyChange)>,
    blind: bool,
}

/// The same, to be written.
#[derive(Serialize)]
struct StateRef<'a> {
    #[serde(with = "head")]
    head: &'a Head,
    authority: &'a Authority,
    grants: &'a BTreeMap<GrantId, Known>,
    #[serde(with = "set")]
    orders: &'a HashSet<OrderId>,
    #[serde(with = "map")]
    sessions: &'a std::collections::HashMap<SessionId, Session>,
    calls: CallsRef<'a>,
    objects: &'a Objects,
    counts: &'a Counts,
    log_keys: &'a [(Index, LogKeyChange)],
    blind: bool,
}

impl Snapshot {
    /// The snapshot's bytes, to be kept.
    ///
    /// # Errors
    /// [`SnapshotError::Found`] if the replay found something.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SnapshotError> {
        // Every field, so that none can be forgotten.
        let Replay {
            origin,
            head,
            authority,
            grants,
            orders,
            sessions,
            calls,
            // What is about the entries that come next is no part of it.
            foreseen: _,
            objects,
            counts,
            log_keys,
            blind,
            found,
        } = &self.replay;
        if let Some(finding) = found {
            return Err(finding.clone().into());
        }
        let (blind, calls) = (*blind, CallsRef { calls, sessions });
        let state = StateRef { head, authority, grants, orders, sessions, calls, objects, counts, log_keys, blind };
        let key = self.key.to_string();
        let front = Front { rules: rules(), key, origin: origin.clone(), size: head.size(), root: head.tip() };
        let wrong = |error: &dyn std::fmt::Display| SnapshotError::State(error.to_string());
        let mut bytes = format!("{FORM}\n").into_bytes();
        bytes.extend(exact::to_vec(&front).map_err(|error| wrong(&error))?);
        bytes.push(b'\n');
        serde_json::to_writer(&mut bytes, &state).map_err(|error| wrong(&error))?;
        bytes.push(b'\n');
        let sum = Digest::from_bytes(sha256(&bytes));
        bytes.extend_from_slice(format!("{sum}\n").as_bytes());
        Ok(bytes)
    }

    /// Reads what [`Snapshot::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        // The sum is the last line: 64 digits and the end.
        let at = bytes.len().checked_sub(2 * Digest::LEN + 1).ok_or(SnapshotError::Form)?;
        let (kept, sum) = bytes.split_at(at);
        let rest = kept.strip_prefix(FORM.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
        let rest = rest.ok_or(SnapshotError::Form)?;
        let rest = rest.strip_suffix(b"\n").ok_or(SnapshotError::Form)?;
        let said = std::str::from_utf8(sum).ok().and_then(|sum| sum.strip_suffix('\n')?.parse::<Digest>().ok());
        if said.ok_or(SnapshotError::Form)? != Digest::from_bytes(sha256(kept)) {
            return Err(SnapshotError::Sum);
        }
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Form)?;
        // An older front may have other fields: then other rules made it, too.
        let front: Front = exact::from_slice(&rest[..end]).map_err(|_| SnapshotError::Version)?;
        if front.rules != rules() {
            return Err(SnapshotError::Version);
        }
        let wrong = |error: &dyn std::fmt::Display| SnapshotError::State(error.to_string());
        let state: State = serde_json::from_slice(&rest[end + 1..]).map_err(|error| wrong(&error))?;
        let key = front.key.parse().map_err(|error| wrong(&error))?;
        let State { head, authority, grants, orders, mut sessions, calls, objects, counts, log_keys, blind } = state;
        if (head.size(), head.tip()) != (front.size, front.root) || counts.entries != front.size.0 || !objects.fits() {
            return Err(SnapshotError::State("its parts are of different ledgers".to_owned()));
        }
        let apart = || SnapshotError::State("a call is of no session that there is".to_owned());
        let calls = calls.restore(&mut sessions).ok_or_else(apart)?;
        let origin = front.origin;
        let replay = Replay {
            origin,
            head,
            authority,
            grants,
            orders,
            sessions,
            calls,
            foreseen: Foreseen::default(),
            objects,
            counts,
            log_keys,
            blind,
            found: None,
        };
        Ok(Self { key, replay })
    }

    /// Of which ledger.
    pub fn origin(&self) -> &Origin {
        &self.replay.origin
    }

    /// How many entries it has behind it.
    pub fn size(&self) -> Index {
        self.replay.size()
    }

    /// The root over these.
    pub fn root(&self) -> Digest {
        self.replay.tip()
    }
}

/// Which fields a snapshot has; another number for each change of them.
const FIELDS: u32 = 3;

/// What this version decides by and keeps, as far as it can be named: its number, the rules and the events that it knows.
fn rules() -> Digest {
    let mut text = format!("{} {FIELDS}\n", env!("CARGO_PKG_VERSION"));
    Rule::ALL.iter().for_each(|rule| text.push_str(&format!("{rule}\n")));
    Event::ALL.iter().for_each(|event| text.push_str(&format!("{}\n", event.name())));
    Digest::from_bytes(sha256(text.as_bytes()))
}

/// A head, as its canonical bytes.
mod head {
    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::ledger::Head;

    pub(super) fn serialize<S: Serializer>(head: &Head, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&head.canonical_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Head, D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(Error::custom)?;
        Head::from_canonical_bytes(&bytes).ok_or_else(|| Error::custom("a head that is none"))
    }
}

/// A set that has no order of its own, in the order of what is in it.
pub(super) mod set {
    use std::collections::HashSet;
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer, T: Serialize + Ord>(
        set: &HashSet<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<&T> = set.iter().collect();
        sorted.sort_unstable();
        serializer.collect_seq(sorted)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de> + Eq + Hash>(
        deserializer: D,
    ) -> Result<HashSet<T>, D::Error> {
        Vec::<T>::deserialize(deserializer).map(HashSet::from_iter)
    }
}

/// A map that has no order of its own, as pairs in the order of its keys.
pub(super) mod map {
    use std::collections::HashMap;
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer, K: Serialize + Ord, V: Serialize>(
        map: &HashMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<(&K, &V)> = map.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        serializer.collect_seq(sorted)
    }

    pub(in super::super) fn deserialize<
        'de,
        D: Deserializer<'de>,
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
    >(
        deserializer: D,
    ) -> Result<HashMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(deserializer).map(HashMap::from_iter)
    }
}

/// Halves of digests, sorted, as one string.
pub(super) mod halves {
    use std::collections::HashSet;

    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        set: &HashSet<[u8; 16]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<[u8; 16]> = set.iter().copied().collect();
        sorted.sort_unstable();
        serializer.serialize_str(&HEXLOWER.encode(sorted.as_flattened()))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HashSet<[u8; 16]>, D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(Error::custom)?;
        match bytes.as_chunks::<16>() {
            (halves, []) => Ok(halves.iter().copied().collect()),
            _ => Err(Error::custom("half of a digest is cut")),
        }
    }
}

/// What may be shared, as itself.
pub(super) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer, T: Serialize>(
        shared: &Option<Arc<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        shared.as_deref().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<T>>, D::Error> {
        Option::<T>::deserialize(deserializer).map(|own| own.map(Arc::new))
    }
}
