//! Calls in: from bytes on a connection to a call whose signature holds.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use strongroom_core::call::SignedCall;
use strongroom_core::identity::Signature;
use strongroom_core::ids::SessionId;
use strongroom_proto::v1;

use crate::error::Error;
use crate::listen::Connection;
use crate::recorder::attempt::{AcceptedCall, Caller};

/// Checks a call against its session, which must be one of this connection's. Nothing in it was looked at before.
pub(crate) fn call(
    connection: &Connection,
    caller: Caller,
    message: Option<&v1::SignedCall>,
) -> Result<Arc<AcceptedCall>, Error> {
    let message = message.ok_or(Error::Invalid("the signed call is missing".into()))?;
    let id = SessionId::try_from(&message.session[..]).map_err(|_| Error::SessionUnknown)?;
    let session = connection.sessions.find(&id).ok_or(Error::SessionUnknown)?;
    let signature = message.signature[..].try_into().map(Signature);
    let signature = signature.map_err(|_| Error::Invalid("a signature has 64 bytes".into()))?;
    let call_key = &session.opening.opening.call_key;
    let (digest, request_digest, signed) =
        SignedCall::accept(&message.request, signature, &id, &session.tenant.origin, call_key)?;
    let (recorded, found) = (AtomicBool::new(false), OnceLock::new());
    Ok(Arc::new(AcceptedCall { caller, session, digest, request_digest, signed, recorded, found }))
}
