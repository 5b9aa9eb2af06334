//! Sessions, calls and requests: who asked, in which words, and whether it was asked before.
//!
//! A session, a call and a request are three things. A *session* is opened once, ever. A *call* is a session's signed words: it
//! is over when neither it nor its request had an entry for 15 minutes, and its digest is kept for ever, so that no operator can
//! make an old call serve again. A *request* is what the caller meant: its id, unique per key, outlives the session that it began
//! in, so a stream that resumes in another session is not charged twice.
//!
//! There may be a million calls of the last 15 minutes, and most have one entry. So what is kept of one is small ([`Words`]), and read
//! again when another entry of it comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::remembered::{Remembered, Slot};
use super::rule::Check;
use super::words::{Said, Words};
use super::{Proof, Replay, Rule};
use crate::call::{Call, CallError, SignedCall, Work};
use crate::ed25519::VerifyingKey;
use crate::identity::{Fingerprint, sha256};
use crate::ids::{CallDigest, Digest, Millis, RequestId, SessionId};
use crate::ledger::{Entry, Event, Private};
use crate::session::OpeningError;

/// A session that was opened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) key: Fingerprint,
    /// None if the opening was erased.
    pub(super) call_key: Option<VerifyingKey>,
    /// Which of all, and its key likewise: numbers that are in no snapshot.
    #[serde(skip)]
    pub(super) number: u32,
    #[serde(skip)]
    pub(super) holder: u32,
}

/// Whose key, and a request id.
type RequestKey = (u32, RequestId);

/// What a call's entry stands on.
pub(super) struct Asked {
    pub(super) key: Fingerprint,
    /// The call; none if it was erased.
    pub(super) call: Option<Arc<Call>>,
    /// Whether the call's signature was seen to hold.
    pub(super) proof: Proof,
    request: RequestKey,
    /// SHA-256 of the call's bytes.
    request_digest: Option<Digest>,
}

/// The calls and requests that are remembered.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) open: Remembered<CallDigest, OpenCall>,
    pub(super) requests: Remembered<RequestKey, Requested>,
    /// The first half of the digest of every call that is over, for ever.
    pub(super) over: HashSet<[u8; 16]>,
    /// The keys that sessions were opened with, by their numbers.
    pub(super) keys: HashMap<Fingerprint, u32>,
    /// The calls that were read last.
    pub(super) said: Said,
}

#[derive(Debug)]
pub(super) struct OpenCall {
    /// Session and key, by their numbers.
    pub(super) session: u32,
    pub(super) holder: u32,
    pub(super) request: RequestId,
    /// What was said; none if it was erased.
    pub(super) words: Option<Words>,
    pub(super) proof: Proof,
}

/// What a request has had so far.
#[derive(Debug)]
pub(super) struct Requested {
    pub(super) digest: Option<Digest>,
    /// Whether an entry of it did something: its use is charged.
    pub(super) used: bool,
    /// What was released or hidden, sorted.
    pub(super) parts: Vec<Part>,
}

/// A part of an object that a request had: item, put index, ordinal, window; and the segments of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) place: (u32, u64, u32, u32),
    pub(super) segments: (u32, u32),
}

impl Requested {
    pub(super) fn part(&self, place: (u32, u64, u32, u32)) -> Option<&Part> {
        self.parts.binary_search_by_key(&place, |part| part.place).ok().map(|at| &self.parts[at])
    }

    /// Whether it had anything for this item.
    pub(super) fn has_item(&self, item: u32) -> bool {
        self.parts.binary_search_by(|part| part.place.0.cmp(&item)).is_ok()
    }

    /// Keeps a part; `false` if it was there.
    pub(super) fn insert(&mut self, part: Part) -> bool {
        match self.parts.binary_search_by_key(&part.place, |part| part.place) {
            Ok(_) => false,
            Err(at) => {
                if self.parts.len() == self.parts.capacity() {
                    // Most have one, and none grows for long.
                    self.parts.reserve_exact(1 + self.parts.len() / 2);
                }
                self.parts.insert(at, part);
                true
            }
        }
    }
}

impl Calls {
    /// Forgets what has had no entry for 15 minutes.
    pub(super) fn forget(&mut self, now: Millis) {
        let (requests, over) = (&self.requests, &mut self.over);
        let newest = |call: &Slot<CallDigest, OpenCall>| {
            let of_request = requests.get(&(call.value.holder, call.value.request)).map(|request| request.newest);
            of_request.unwrap_or_default().max(call.newest)
        };
        self.open.forget(now, newest, |digest| {
            over.insert(half(&digest));
        });
        self.requests.forget(now, |request| request.newest, |_| ());
    }

    pub(super) fn number_of(&mut self, key: Fingerprint) -> u32 {
        let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        *self.keys.entry(key).or_insert(next)
    }
}

fn half(digest: &CallDigest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    half
}

impl Replay {
    pub(super) fn session_open(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let id = entry.session.ok_or_else(|| Rule::Form.broken("the session is missing"))?;
        Rule::OpeningOnce.unless(!self.sessions.contains_key(&id), || format!("{id} was opened before"))?;
        let (key, call_key) = match private {
            None => (entry.actor.key, None),
            Some(private) => {
                let missing = || Rule::OpeningMissing.broken("the private part has none");
                let signed = private.opening.as_ref().ok_or_else(missing)?;
                let opened = signed.verify().map_err(|error| match error {
                    OpeningError::Signature(_) => Rule::OpeningSignature.broken(error.to_string()),
                    OpeningError::Exact(_) => Rule::OpeningMissing.broken(error.to_string()),
                })?;
                Rule::SessionIdFits.unless(opened == id, || format!("it is {opened}"))?;
                let tenant = &signed.opening.tenant;
                let fits = self.authority.tenant().is_none_or(|own| own == tenant);
                Rule::OpeningTenant.unless(fits, || format!("it names {tenant}"))?;
                (signed.key.fingerprint(), Some(signed.opening.call_key))
            }
        };
        self.check_actor(entry, key)?;
        let number = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let holder = self.calls.number_of(key);
        self.sessions.insert(id, Session { key, call_key, number, holder });
        Ok(Proof::whole_if(call_key.is_some() && !self.blind))
    }

    /// The call that an entry belongs to: entered before, or now.
    pub(super) fn call(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Asked> {
        let form = || Rule::Form.broken("the session or the call is missing");
        let (session_id, digest) = (entry.session.ok_or_else(form)?, entry.call.ok_or_else(form)?);
        let unknown = || Rule::SessionOpen.broken(format!("{session_id} was not"));
        let Session { key, number, .. } = *self.sessions.get(&session_id).ok_or_else(unknown)?;
        self.check_actor(entry, key)?;
        let signed = private.and_then(|private| private.call.as_ref());
        let open = self.calls.open.get_mut(&digest);
        // A caller may send the same call again; then its words may stand there again, or for the first time.
        let says_more = signed.is_some() || open.is_none();
        if let Some(open) = open {
            open.newest = entry.time;
            let session = open.value.session;
            Rule::CallSession.unless(session == number, || format!("it came in {}", self.session_of(session)))?;
        } else {
            let is_new = !self.calls.over.contains(&half(&digest));
            Rule::CallOver.unless(is_new, || format!("{digest} was entered before"))?;
        }
        if says_more {
            let value = self.enter(entry, session_id, private.is_none(), signed)?;
            match self.calls.open.get_mut(&digest) {
                Some(open) => open.value = value,
                None => self.calls.open.insert(Slot { key: digest, look: entry.time, newest: entry.time, value }),
            }
        }
        let unknown = || Rule::CallForm.broken("it is not remembered");
        let open = &self.calls.open.get(&digest).ok_or_else(unknown)?.value;
        Rule::RequestId.unless(entry.request == Some(open.request), || format!("it is {}", open.request))?;
        let request = (open.holder, open.request);
        let proof = open.proof.and(Proof::whole_if(!self.blind && private.is_some()));
        let said = match &open.words {
            None => None,
            Some(words) => Some(self.calls.said.read(&digest, words, open.request)?),
        };
        let (call, request_digest) = said.map(|said| (said.call, said.digest)).unzip();
        if let Some(call) = &call {
            let fits = match (&call.work, entry.event) {
                (_, Event::Denied)
                | (Work::Get(_) | Work::ReleaseKeys(_), Event::Release | Event::ReleaseRepeat)
                | (Work::Delete(_), Event::ObjectDeleted) => true,
                (Work::Put(_), Event::ObjectPut) => !call.rekeys(),
                (Work::Put(_), Event::ObjectRekeyed) => call.rekeys(),
                _ => false,
            };
            Rule::CallEvent.unless(fits, || format!("it does not ask for {}", entry.event.name()))?;
            let same = private.is_none_or(|private| private.incident == call.incident);
            Rule::CallIncident.unless(same, || match call.incident {
                Some(incident) => format!("it names {incident}"),
                None => "it names none".into(),
            })?;
        }
        Ok(Asked { key, call, proof, request, request_digest })
    }

    fn session_of(&self, number: u32) -> String {
        let found = self.sessions.iter().find(|(_, session)| session.number == number);
        found.map(|(id, _)| id.to_string()).unwrap_or_default()
    }

    fn enter(
        &mut self,
        entry: &Entry,
        session: SessionId,
        is_erased: bool,
        signed: Option<&SignedCall>,
    ) -> Check<OpenCall> {
        let Session { number, holder, .. } = self.sessions[&session];
        let Some(signed) = signed else {
            Rule::CallMissing.unless(is_erased, || "the private part has none".into())?;
            // The words are lost; the request id stands in the entry.
            let request = entry.request.ok_or_else(|| Rule::RequestId.broken("there is none"))?;
            return Ok(OpenCall { session: number, holder, request, words: None, proof: Proof::Erased });
        };
        let bytes = signed.call.bytes().map_err(|error| Rule::CallForm.broken(error.to_string()))?;
        let digest = Call::digest(&session, &self.origin, &bytes);
        Rule::CallDigest.unless(entry.call == Some(digest), || format!("it is {digest}"))?;
        let proof = match &self.sessions[&session].call_key {
            None => Proof::Erased,
            Some(_) if self.foreseen.holds(&digest, &signed.signature) => Proof::Whole,
            Some(call_key) => {
                signed.verify(&session, &self.origin, call_key).map_err(|error| match error {
                    CallError::Signature(_) => Rule::CallSignature.broken(error.to_string()),
                    _ => Rule::CallForm.broken(error.to_string()),
                })?;
                Proof::Whole
            }
        };
        let words = Words::of(&signed.call).map_err(|error| Rule::CallForm.broken(error.to_string()))?;
        self.calls.said.keep(digest, &signed.call, Digest::from_bytes(sha256(&bytes)));
        Ok(OpenCall { session: number, holder, request: signed.call.request, words: Some(words), proof })
    }

    /// The request that a call is made for. Not for denials: they may be the answer to a request id that was used before.
    pub(super) fn request(&mut self, entry: &Entry, asked: &Asked) -> Check<&mut Requested> {
        let (key, newest) = (asked.request, entry.time);
        if self.calls.requests.get(&key).is_none() {
            let value = Requested { digest: asked.request_digest, used: false, parts: Vec::new() };
            self.calls.requests.insert(Slot { key, look: newest, newest, value });
        }
        let unknown = || Rule::RequestOnce.broken(format!("{} is not remembered", key.1));
        let slot = self.calls.requests.get_mut(&key).ok_or_else(unknown)?;
        slot.newest = newest;
        let request = &mut slot.value;
        let same = match (request.digest, asked.request_digest) {
            (Some(old), Some(new)) => old == new,
            _ => true,
        };
        Rule::RequestOnce.unless(same, || format!("{} stands for another", key.1))?;
        request.digest = request.digest.or(asked.request_digest);
        Ok(request)
    }

    /// A denial changes nothing; but whoever is said to have asked did ask, in these words.
    pub(super) fn denied(&mut self, entry: &Entry, private: Option<&Private>) -> Check<Proof> {
        let asked = if entry.call.is_some() { Some(self.call(entry, private)?) } else { None };
        let named = match &asked {
            None => {
                self.check_actor(entry, entry.actor.key)?;
                if let Some(signed) = private.and_then(|private| private.order.as_ref()) {
                    let order = super::orders::verify(entry, Some(signed))?;
                    self.check_request(entry, order.order().request)?;
                }
                None
            }
            Some(Asked { call: Some(call), .. }) => call.grant,
            Some(_) => entry.grants.first().copied(),
        };
        let fits = entry.grants.is_empty() || entry.grants.first().copied() == named && entry.grants.len() == 1;
        Rule::Chain.unless(fits, || format!("it names {named:?}"))?;
        Ok(asked.map_or(Proof::Whole, |asked| asked.proof).and(Proof::whole_if(private.is_some() && !self.blind)))
    }

    pub(super) fn check_request(&self, entry: &Entry, signed: RequestId) -> Check {
        let fits = entry.request.is_none_or(|request| request == signed);
        Rule::RequestId.unless(fits, || format!("it is {signed}"))
    }
}
