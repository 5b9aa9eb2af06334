//! The one error of this crate: a stable reason, what happened in words, and what to do next.
//!
//! Callers match on [`Error::reason`]; texts may change. `#[non_exhaustive]` in spirit: fields are private, so that more can be
//! told later without breaking anybody.

use std::fmt;
use std::time::Duration;

use strongroom_core::grant::{Hit, Limit};
use strongroom_core::ids::Millis;
use strongroom_core::reason::Reason;
use strongroom_proto::status::from_status;

/// What a call of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was refused or failed.
///
/// Its text is one line: `CODE: detail; advice`.
///
/// ```
/// use strongroom_client::{ObjectName, Reason};
/// let error = "acme/rlhf".parse::<ObjectName>().unwrap_err();
/// assert_eq!(error.reason(), Reason::InvalidName);
/// assert!(error.to_string().starts_with("INVALID_NAME: "));
/// ```
#[derive(Clone)]
pub struct Error(Box<Content>);

#[derive(Clone)]
struct Content {
    reason: Reason,
    detail: String,
    request: Option<String>,
    hit: Option<Hit>,
    place: Place,
}

/// Where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The server said so, or this side found it out.
    Answer,
    /// No connection could be made: nothing was sent.
    Unsent,
    /// The connection broke: what was sent may have been done.
    Transport,
}

impl Error {
    /// An error with this reason, in words.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self(Box::new(Content { reason, detail: detail.into(), request: None, hit: None, place: Place::Answer }))
    }

    pub(crate) fn integrity(detail: impl Into<String>) -> Self {
        Self::new(Reason::Integrity, detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(Reason::Internal, detail)
    }

    /// The connection broke.
    pub(crate) fn transport(detail: impl Into<String>) -> Self {
        let mut error = Self::new(Reason::Unavailable, detail);
        error.0.place = Place::Transport;
        error
    }

    /// No connection could be made.
    pub(crate) fn unsent(detail: impl Into<String>) -> Self {
        let mut error = Self::new(Reason::Unavailable, detail);
        error.0.place = Place::Unsent;
        error
    }

    pub(crate) fn with_request(mut self, request: impl fmt::Display) -> Self {
        self.0.request.get_or_insert_with(|| request.to_string());
        self
    }

    /// The same error with `what` before its detail.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.detail = format!("{what}: {}", self.0.detail);
        self
    }

    /// The stable code.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What happened, in words.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The id under which the server's log and the ledger know the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request.as_deref()
    }

    /// The limit of a grant that stood against it, if one did.
    pub fn limit(&self) -> Option<Limit> {
        self.0.hit.map(|hit| hit.limit)
    }

    /// When that limit no longer stands against it, by the vault's clock: the end of the minute for a rate, the beginning of a
    /// grant whose time has not begun. `None` where no waiting helps.
    pub fn resets(&self) -> Option<Millis> {
        self.0.hit.and_then(|hit| hit.resets).map(|reset| reset.at)
    }

    /// How long until then, from when the vault answered.
    pub fn resets_after(&self) -> Option<Duration> {
        self.0.hit.and_then(|hit| hit.resets).map(|reset| Duration::from_millis(reset.after))
    }

    /// What to do next, in one clause.
    pub fn advice(&self) -> &'static str {
        match self.0.hit {
            Some(Hit { limit: Limit::BytesPerMinute, resets: Some(_) }) => "wait for the next minute, and ask again",
            Some(Hit { limit: Limit::BytesPerMinute, resets: None }) => {
                "ask for smaller ranges, or the data's owner for a higher rate"
            }
            Some(Hit { limit: Limit::NotBefore, .. }) => "wait until it begins",
            Some(Hit { limit: Limit::Sources, .. }) => {
                "use it from there, or ask the data's owner for one that holds here"
            }
            // What is a role's, no grant covers.
            None if self.0.reason == Reason::OutOfScope && self.0.detail.starts_with("only ") => {
                "ask one of those to do it"
            }
            _ => advice(self.0.reason),
        }
    }

    /// The same error, told as one that came before anything was sent.
    pub(crate) fn before_anything(mut self) -> Self {
        if matches!(self.0.reason, Reason::Unavailable | Reason::LedgerUnavailable) {
            self.0.place = Place::Unsent;
        }
        self
    }

    /// Whether the connection is suspect.
    pub(crate) fn is_transport(&self) -> bool {
        self.0.place == Place::Transport
    }

    /// Whether nothing was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        self.0.place == Place::Unsent
    }
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Sealed => "ask the operator to unlock the vault",
        Reason::LedgerDiverged => "stop, and find out who changed the ledger before you trust this vault again",
        Reason::Unauthenticated => {
            "check that this identity is registered with the tenant, and that it is the right one"
        }
        Reason::KeyBlocked => "ask the vault's operator why, and use a new key",
        Reason::Frozen => "ask an admin of the tenant, who alone can unfreeze it",
        Reason::VendorSuspended => "ask the data's owner to resume the vendor",
        Reason::GrantRevoked | Reason::GrantExpired => "ask the data's owner for a new grant",
        Reason::OutOfScope => "ask the data's owner for a grant that covers it",
        Reason::NotFound => "check the name",
        Reason::Shredded => "restore it from another copy, if there is one",
        Reason::PreconditionFailed => "look at what is there now, and decide again",
        Reason::QuotaExceeded => "ask the data's owner for a grant with a higher limit",
        Reason::InvalidName => "correct the name",
        Reason::InvalidArgument => "correct the request",
        Reason::TooLarge => "ask for less at once",
        Reason::NotNarrower => "ask for no more than the grant that it comes from allows",
        Reason::Unsupported => "leave it out, or use a newer version",
        Reason::SessionUnknown => "try again",
        Reason::Clock => "ask the operator to set the clocks right",
        Reason::LedgerUnavailable => "try again later; if it stays, ask the operator to look at the catalog",
        Reason::Integrity => "do not use the data, and tell the operator",
        Reason::Unavailable => "check the address and that the server runs, then try again",
        Reason::Internal => "tell the operator what the request was",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.reason(), self.detail(), self.advice())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("reason", &self.reason())
            .field("detail", &self.detail())
            .field("request", &self.request_id())
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let failure = from_status(&status);
        // A status without our details was made by the transport, on either side.
        let transport = failure.reason == Reason::Unavailable && status.details().is_empty();
        let detail = if transport { broken(&failure.detail, &status) } else { failure.detail };
        let place = if transport { Place::Transport } else { Place::Answer };
        Self(Box::new(Content { reason: failure.reason, detail, request: failure.request, hit: failure.hit, place }))
    }
}

/// What a transport says, down to its cause: the outermost word is seldom more than "transport error".
fn broken(detail: &str, status: &tonic::Status) -> String {
    let mut causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    match causes.by_ref().take(8).last() {
        // rustls says this in four lines, with a link.
        Some(cause) if is_eof(cause) => "the connection broke (the other side is gone)".to_owned(),
        Some(cause) => format!("the connection broke ({detail}: {cause})"),
        None => format!("the connection broke ({detail})"),
    }
}

fn is_eof(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// One object of many that failed; the others go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {error}")]
pub struct Failed {
    /// Which object.
    pub path: strongroom_core::names::ObjectPath,
    /// Why.
    #[source]
    pub error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_one_line_with_code_and_advice() {
        for &reason in Reason::ALL {
            let text = Error::new(reason, "what happened").to_string();
            assert!(text.starts_with(&format!("{}: what happened; ", reason.code())), "{text}");
            assert!(!text.contains('\n') && !text.ends_with("; "), "{text}");
        }
    }
}
