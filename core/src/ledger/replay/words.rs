//! What a call said, as it is kept while the call is open, and the few that were read last.

use std::sync::Arc;

use super::Rule;
use super::rule::Check;
use crate::call::{Call, Work};
use crate::exact::ExactError;
use crate::ids::{CallDigest, Digest, GrantId, IncidentId, RequestId};

/// Calls that are kept as they were read: a stream has many entries of one call, and there are many streams at once.
const KEPT: usize = 64;

const NAMES_GRANT: u8 = 1;
const NAMES_INCIDENT: u8 = 2;

/// A call but for its request id: which of grant and incident it names, these, and what it asks for, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(Box<[u8]>);

impl Words {
    pub(super) fn of(call: &Call) -> Result<Self, ExactError> {
        Self::new(call.grant, call.incident, &call.work)
    }

    pub(super) fn new(grant: Option<GrantId>, incident: Option<IncidentId>, work: &Work) -> Result<Self, ExactError> {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(u8::from(grant.is_some()) * NAMES_GRANT + u8::from(incident.is_some()) * NAMES_INCIDENT);
        bytes.extend(grant.iter().flat_map(GrantId::as_bytes));
        bytes.extend(incident.iter().flat_map(IncidentId::as_bytes));
        serde_json::to_writer(&mut bytes, work).map_err(ExactError::Shape)?;
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// What they say.
    pub(super) fn read(&self) -> Option<(Option<GrantId>, Option<IncidentId>, Work)> {
        let (names, mut rest) = self.0.split_first()?;
        let mut take = |named: u8, len: usize| match names & named {
            0 => Some(None),
            _ => {
                let (id, after) = rest.split_at_checked(len)?;
                rest = after;
                Some(Some(id))
            }
        };
        let (grant, incident) = (take(NAMES_GRANT, GrantId::LEN)?, take(NAMES_INCIDENT, IncidentId::LEN)?);
        let grant = grant.map(GrantId::try_from).transpose().ok()?;
        let incident = incident.map(IncidentId::try_from).transpose().ok()?;
        Some((grant, incident, serde_json::from_slice(rest).ok()?))
    }
}

/// A call that was read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) call: Arc<Call>,
    /// SHA-256 of its bytes.
    pub(super) digest: Digest,
}

/// The calls that were read last, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<(CallDigest, Read)>);

impl Said {
    /// Keeps a call whose bytes have this digest.
    pub(super) fn keep(&mut self, key: CallDigest, call: &Call, digest: Digest) {
        self.put(key, Read { call: Arc::new(call.clone()), digest });
    }

    fn put(&mut self, key: CallDigest, read: Read) {
        self.0.retain(|(kept, _)| *kept != key);
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push((key, read));
    }

    /// The call that was said in these words.
    pub(super) fn read(&mut self, key: &CallDigest, words: &Words, request: RequestId) -> Check<Read> {
        if let Some(at) = self.0.iter().rposition(|(kept, _)| kept == key) {
            let kept = self.0.remove(at);
            let read = kept.1.clone();
            self.0.push(kept);
            return Ok(read);
        }
        let lost = || Rule::CallForm.broken("what was kept of it cannot be read");
        let (grant, incident, work) = words.read().ok_or_else(lost)?;
        let call = Call { request, grant, work, incident };
        let bytes = call.bytes().map_err(|error| Rule::CallForm.broken(error.to_string()))?;
        let read = Read { call: Arc::new(call), digest: Digest::from_bytes(crate::identity::sha256(&bytes)) };
        self.put(*key, read.clone());
        Ok(read)
    }
}
