//! The server's one error: what each room's failure means to a caller.

use std::borrow::Cow;

use strongroom_core::call::CallError;
use strongroom_core::grant::{Hit, Refusal};
use strongroom_core::names::NameError;
use strongroom_core::order::OrderError;
use strongroom_core::reason::Reason;
use strongroom_core::session::OpeningError;

use crate::blobs::BlobError;
use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::keys::KeyError;
use crate::recorder::RecordError;

/// Why a request failed, or the server did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Decided against, by the rules of grants.
    #[error("{}", .0.detail)]
    Refused(#[from] Refusal),
    /// The recorder refused or could not record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The object store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The key holder or the root key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A call that is not well formed, or not signed by its session.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An order that is not well formed, or not signed.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// An opening that is not well formed, or not signed.
    #[error(transparent)]
    Opening(#[from] OpeningError),
    /// A name that breaks a rule.
    #[error("{what}: {source}")]
    Name {
        /// Which field.
        what: &'static str,
        /// The rule.
        source: NameError,
    },
    /// A field that says nothing sensible.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// No certificate, or a key that is not known here.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// No such tenant. Callers are told the same as for a tenant that does not know them.
    #[error("there is no such tenant, or it does not know this key")]
    UnknownTenant,
    /// The session is not one of this connection.
    #[error("this connection has no such session")]
    SessionUnknown,
    /// Nothing by that name.
    #[error("{0}")]
    NotFound(Cow<'static, str>),
    /// A message or object over its limit.
    #[error("{0}")]
    TooLarge(Cow<'static, str>),
    /// Bytes, a digest or a row that do not fit.
    #[error("{0}")]
    Integrity(Cow<'static, str>),
    /// A configuration that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part of the server that cannot be set up as it is configured.
    #[error("{0}")]
    Setup(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Shutting down, or a caller that did not keep up.
    #[error("{0}")]
    Unavailable(Cow<'static, str>),
}

impl Error {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Record(error) => error.reason(),
            Self::Catalog(error) => error.reason(),
            Self::Blob(error) => error.reason(),
            Self::Key(error) => error.reason(),
            Self::Call(CallError::Signature(_)) | Self::Opening(OpeningError::Signature(_)) => Reason::Unauthenticated,
            Self::Order(OrderError::Signature(_)) => Reason::Unauthenticated,
            Self::Order(OrderError::Length) => Reason::TooLarge,
            Self::Call(_) | Self::Order(_) | Self::Opening(_) | Self::Invalid(_) => Reason::InvalidArgument,
            Self::Name { .. } => Reason::InvalidName,
            Self::Unauthenticated(_) | Self::UnknownTenant => Reason::Unauthenticated,
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::NotFound(_) => Reason::NotFound,
            Self::TooLarge(_) => Reason::TooLarge,
            Self::Integrity(_) => Reason::Integrity,
            Self::Config(error) => error.reason(),
            Self::Setup(_) => Reason::InvalidArgument,
            Self::Io { .. } | Self::Unavailable(_) => Reason::Unavailable,
        }
    }

    /// The limit that stood against it, if one did.
    pub fn hit(&self) -> Option<Hit> {
        match self {
            Self::Refused(refusal) | Self::Record(RecordError::Refused { refusal, .. }) => refusal.hit,
            _ => None,
        }
    }

    /// A failure of the operating system while doing something.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
