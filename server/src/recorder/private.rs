//! Private parts, written without copying what goes into them.
//!
//! A private part does not depend on its entry's index or time, so callers write theirs before they queue, on their own threads,
//! and the one writer only takes the bytes over.

use data_encoding::HEXLOWER;
use serde::Serialize;
use strongroom_core::call::SignedCall;
use strongroom_core::exact::{self, ExactError};
use strongroom_core::ids::{Digest, IncidentId};
use strongroom_core::keys::secret::{RandomError, random_bytes};
use strongroom_core::ledger::Private;
use strongroom_core::order::SignedOrder;
use strongroom_core::session::{Claims, SignedOpening};

use super::attempt::AcceptedCall;

/// The content of a private part: [`Private`], borrowed.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Content<'a> {
    pub(super) salt: &'a str,
    pub(super) source: Option<&'a str>,
    pub(super) claims: Option<&'a Claims>,
    pub(super) opening: Option<&'a SignedOpening>,
    pub(super) order: Option<&'a SignedOrder>,
    pub(super) call: Option<&'a SignedCall>,
    pub(super) detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) incident: Option<&'a IncidentId>,
}

/// A private part and its hash.
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    pub(super) hash: Digest,
}

/// Why a private part could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    #[error(transparent)]
    Exact(#[from] ExactError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl<'a> Content<'a> {
    /// Of an entry of a call, which came from here.
    pub(super) fn of_call(call: &'a AcceptedCall, source: &'a str) -> Self {
        Self { source: Some(source), incident: call.signed.call.incident.as_ref(), ..Self::default() }
    }

    /// The exact bytes, with a fresh salt.
    pub(super) fn write(self) -> Result<Part, PartError> {
        let salt = HEXLOWER.encode(&random_bytes::<16>()?);
        let size = 512 + self.call.map_or(0, |call| call.call.size());
        let bytes = exact::to_vec_of(&Content { salt: &salt, ..self }, size)?;
        let hash = Private::hash(&bytes);
        Ok(Part { bytes, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_core_reads() {
        let incident = IncidentId::from_bytes([7; 16]);
        let claims = Claims { sdk: "s".into(), host: "h".into(), job: "j".into() };
        let content = Content {
            source: Some("[::1]:1"),
            claims: Some(&claims),
            detail: Some("why"),
            incident: Some(&incident),
            ..Content::default()
        };
        let part = content.write().unwrap();
        let read = Private::from_bytes(&part.bytes).unwrap();
        assert_eq!(read.bytes().unwrap(), part.bytes);
        assert_eq!((read.claims, read.incident), (Some(claims), Some(incident)));
        assert_eq!(Private::hash(&part.bytes), part.hash);
        assert_eq!(read.salt.len(), 32);
    }
}
