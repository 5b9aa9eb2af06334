//! Calls and requests as a snapshot has them: in the order in which they are looked at again, with sessions and keys by name.

use std::collections::{HashMap, HashSet};

use serde::ser::{Error, SerializeSeq, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Proof;
use super::calls::{Calls, OpenCall, Part, Requested, Session};
use super::remembered::Slot;
use super::snapshot::halves;
use super::words::Words;
use crate::call::Work;
use crate::identity::Fingerprint;
use crate::ids::{CallDigest, Digest, GrantId, IncidentId, Millis, RequestId, SessionId};

/// To be written. There may be many, so they are named on the way.
pub(super) struct CallsRef<'a> {
    pub(super) calls: &'a Calls,
    pub(super) sessions: &'a HashMap<SessionId, Session>,
}

/// As they were read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptCalls {
    open: Vec<KeptCall>,
    requests: Vec<KeptRequest>,
    #[serde(with = "halves")]
    over: HashSet<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptCall {
    digest: CallDigest,
    session: SessionId,
    request: RequestId,
    look: Millis,
    newest: Millis,
    proof: Proof,
    words: Option<OwnWords>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRequest {
    key: Fingerprint,
    request: RequestId,
    look: Millis,
    newest: Millis,
    digest: Option<Digest>,
    used: bool,
    parts: Vec<Part>,
}

/// What a call said, spelled out.
struct OwnWords(Words);

impl Serialize for OwnWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = self.0.read().ok_or_else(|| S::Error::custom("a call that cannot be read"))?;
        said.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OwnWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (grant, incident, work) = <(Option<GrantId>, Option<IncidentId>, Work)>::deserialize(deserializer)?;
        Words::new(grant, incident, &work).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A list that is made while it is written.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = Option<T>>, T: Serialize> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_seq(None)?;
        for item in (self.0)() {
            written.serialize_element(&item.ok_or_else(|| S::Error::custom("a call of nobody"))?)?;
        }
        written.end()
    }
}

#[derive(Serialize)]
struct Halves<'a>(#[serde(with = "halves")] &'a HashSet<[u8; 16]>);

impl Serialize for CallsRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Calls { open, requests, over, keys, said: _ } = self.calls;
        let sessions: HashMap<u32, SessionId> =
            self.sessions.iter().map(|(id, session)| (session.number, *id)).collect();
        let keys: HashMap<u32, Fingerprint> = keys.iter().map(|(key, number)| (*number, *key)).collect();
        let call = |slot: &Slot<CallDigest, OpenCall>| {
            let Slot { key: digest, look, newest, value } = slot;
            let OpenCall { session, holder: _, request, words, proof } = value;
            let (session, words) = (*sessions.get(session)?, words.clone().map(OwnWords));
            Some(KeptCall {
                digest: *digest,
                session,
                request: *request,
                look: *look,
                newest: *newest,
                proof: *proof,
                words,
            })
        };
        let request = |slot: &Slot<(u32, RequestId), Requested>| {
            let Slot { key: (key, request), look, newest, value } = slot;
            let Requested { digest, used, parts } = value;
            let (key, parts) = (*keys.get(key)?, parts.clone());
            Some(KeptRequest {
                key,
                request: *request,
                look: *look,
                newest: *newest,
                digest: *digest,
                used: *used,
                parts,
            })
        };
        let mut written = serializer.serialize_struct("Calls", 3)?;
        written.serialize_field("open", &Each(|| open.iter().map(call)))?;
        written.serialize_field("requests", &Each(|| requests.iter().map(request)))?;
        written.serialize_field("over", &Halves(over))?;
        written.end()
    }
}

impl KeptCalls {
    /// As a replay has them, whose sessions are numbered on the way; none if one is of a session that is not there.
    pub(super) fn restore(self, sessions: &mut HashMap<SessionId, Session>) -> Option<Calls> {
        let mut calls = Calls { over: self.over, ..Calls::default() };
        for (number, session) in (0..).zip(sessions.values_mut()) {
            session.number = number;
            session.holder = calls.number_of(session.key);
        }
        for KeptCall { digest, session, request, look, newest, proof, words } in self.open {
            let Session { number, holder, .. } = *sessions.get(&session)?;
            let words = words.map(|OwnWords(words)| words);
            let value = OpenCall { session: number, holder, request, words, proof };
            calls.open.insert(Slot { key: digest, look, newest, value });
        }
        for KeptRequest { key, request, look, newest, digest, used, parts } in self.requests {
            let key = (calls.number_of(key), request);
            calls.requests.insert(Slot { key, look, newest, value: Requested { digest, used, parts } });
        }
        Some(calls)
    }
}
