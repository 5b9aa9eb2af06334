//! The gRPC services: each method converts its message, calls one room, and answers.

mod admin;
mod audit;
mod cosign;
mod extracts;
mod grants;
mod keys;
mod ledgers;
mod log;
mod picks;
mod sessions;
mod state;
mod streams;
mod vault;
mod vendors;

use std::sync::Arc;

use strongroom_core::grant::Refusal;
use strongroom_core::ids::OrderId;
use strongroom_core::ledger;
use strongroom_core::names::{NameError, TenantName};
use strongroom_core::order::Instruction;
use strongroom_proto::{MAX_MESSAGE, v1};
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Response, Status};

use crate::answer::{refuse, seen_message};
use crate::error::Error;
use crate::listen::Connection;
use crate::recorder::attempt::{Caller, Recorded};
use crate::vault::Vault;
use crate::vault::listing::MAX_PAGE;

/// All services over one vault.
pub(crate) fn routes(vault: &Arc<Vault>) -> Routes {
    macro_rules! bounded {
        ($server:path, $service:expr) => {
            InterceptedService::new(
                <$server>::new($service).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE),
                Gate(vault.clone()),
            )
        };
    }
    Routes::new(bounded!(v1::sessions_server::SessionsServer<_>, sessions::SessionsApi(vault.clone())))
        .add_service(bounded!(v1::vault_server::VaultServer<_>, vault::VaultApi(vault.clone())))
        .add_service(bounded!(v1::grants_server::GrantsServer<_>, grants::GrantsApi(vault.clone())))
        .add_service(bounded!(v1::vendors_server::VendorsServer<_>, vendors::VendorsApi(vault.clone())))
        .add_service(bounded!(v1::keys_server::KeysServer<_>, keys::KeysApi(vault.clone())))
        .add_service(bounded!(v1::audit_server::AuditServer<_>, audit::AuditApi(vault.clone())))
        .add_service(bounded!(v1::admin_server::AdminServer<_>, admin::AdminApi(vault.clone())))
}

/// What every request passes first: a key that is blocked on the whole server gets no further, and its sessions end.
#[derive(Clone)]
struct Gate(Arc<Vault>);

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(connection) = request.extensions().get::<Connection>()
            && let Some(key) = connection.key
            && let Err(refusal) = self.0.recorder.operators().blocked().admit_key(&key)
        {
            self.0.keys.close_sessions(&connection.sessions.end());
            return Err(refuse(&refusal.into(), None));
        }
        Ok(request)
    }
}

/// The connection a request came on, with the caller's key.
///
/// A connection without a certificate gets no further than this.
fn caller<T>(request: &Request<T>) -> Result<(Connection, Caller), Error> {
    let none = Error::Unauthenticated("the connection shows no client certificate");
    let connection = request.extensions().get::<Connection>().cloned().ok_or(none)?;
    let key = connection.key.ok_or(Error::Unauthenticated("the connection shows no client certificate"))?;
    let caller = Caller { key, source: connection.source };
    Ok((connection, caller))
}

/// Answers with a message, or with the status of what went wrong.
fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| refuse(&error, None))
}

fn tenant_name(text: &str) -> Result<TenantName, Error> {
    parse("tenant", text)
}

/// Parses a name; the field is named in the error.
fn parse<T: std::str::FromStr<Err = NameError>>(what: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|source| Error::Name { what, source })
}

/// The text form of ids: an empty field is none.
fn optional<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<Option<T>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Invalid(format!("{what} is not well formed").into()))
}

fn bytes_id<'a, T: TryFrom<&'a [u8]>>(what: &'static str, bytes: &'a [u8]) -> Result<T, Error> {
    T::try_from(bytes).map_err(|_| Error::Invalid(format!("{what} has the wrong length").into()))
}

fn seen_from(message: &v1::Seen) -> Result<ledger::Seen, Error> {
    Ok(ledger::Seen {
        size: strongroom_core::ids::Index(message.size),
        tip: bytes_id("the remembered tip", &message.tip)?,
        mac: bytes_id("the remembered mark", &message.mac)?,
    })
}

/// An order for a ledger: accepted, if it is one of those that the method is for.
async fn order(
    vault: &Vault,
    request: Request<v1::SignedOrder>,
    fits: fn(&Instruction) -> bool,
) -> Result<Response<v1::OrderReceipt>, Status> {
    let work = async {
        let (_, caller) = caller(&request)?;
        let message = request.get_ref();
        crate::vault::authority::order(vault, caller, &tenant_name(&message.tenant)?, &message.order, fits).await
    };
    answer(work.await.map(receipt))
}

fn receipt((recorded, order_id): (Recorded, OrderId)) -> v1::OrderReceipt {
    v1::OrderReceipt {
        index: recorded.index().0,
        time: recorded.time().0,
        order_id: order_id.as_bytes().to_vec().into(),
        seen: Some(seen_message(recorded.seen())),
    }
}

/// How many a page of a list has: as many as are asked for, and never too many.
fn page_size(page: &v1::Page) -> u32 {
    if page.limit == 0 { MAX_PAGE } else { page.limit.min(MAX_PAGE) }
}

fn reason_of(refusal: &Refusal) -> (String, String) {
    (refusal.reason.code().to_owned(), refusal.detail.clone().into_owned())
}
