//! The other end of the socket: what a command asks of the server in a folder.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_core::reason::Reason;
use zeroize::Zeroizing;

use super::{Answer, Health, Request, SOCKET_FILE};
use crate::config::MAX_PLUGIN;

/// How long a server may take to answer: a passphrase takes about a second, a plugin that waits for a touch as long as
/// `limits.plugin` says, twice where one gives way to another.
const PATIENCE: Duration = Duration::from_secs(2 * MAX_PLUGIN + 30);
/// The longest answer.
const MAX_ANSWER: u64 = 64 * 1024;

/// Why a server's socket was of no use.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No server runs over this folder.
    #[error("no server runs over {}", .0.display())]
    Nobody(PathBuf),
    /// It cannot be reached, or broke off.
    #[error("the server over {folder}: {source}", folder = .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It said no.
    #[error("{detail}")]
    Failed {
        /// The stable code.
        reason: Reason,
        /// Why.
        detail: String,
    },
    /// It said something else than was asked.
    #[error("the server answers something else: is it of another version?")]
    Other,
}

impl AskError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Nobody(_) | Self::Io { .. } => Reason::Unavailable,
            Self::Failed { reason, .. } => *reason,
            Self::Other => Reason::Internal,
        }
    }
}

/// How the server over this folder is.
///
/// # Errors
/// [`AskError`]
pub fn health(folder: &Path) -> Result<Health, AskError> {
    match ask(folder, &Request::Health, &mut |_| ())? {
        Answer::Health(health) => Ok(health),
        _ => Err(AskError::Other),
    }
}

/// Asks the server over this folder something; every answer but the last goes to `meanwhile`.
///
/// # Errors
/// [`AskError`]; what the server refused is one too.
pub fn ask(folder: &Path, request: &Request, meanwhile: &mut dyn FnMut(&Answer)) -> Result<Answer, AskError> {
    let failed = |source| AskError::Io { folder: folder.to_owned(), source };
    let mut stream = UnixStream::connect(folder.join(SOCKET_FILE)).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::Nobody(folder.to_owned()),
        _ => failed(error),
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    // With room for all of it: a buffer that grows leaves copies of a secret behind.
    let mut line = Zeroizing::new(Vec::with_capacity(super::socket::MAX_LINE));
    serde_json::to_writer(&mut *line, request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answers = BufReader::new(stream);
    let mut last = None;
    loop {
        let mut line = Vec::new();
        (&mut answers).take(MAX_ANSWER).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            break;
        }
        let answer = serde_json::from_slice(&line).map_err(|_| AskError::Other)?;
        if let Some(before) = last.replace(answer) {
            meanwhile(&before);
        }
    }
    match last {
        Some(Answer::Failed { reason, detail }) => Err(AskError::Failed { reason, detail }),
        Some(answer) => Ok(answer),
        None => Err(failed(ErrorKind::UnexpectedEof.into())),
    }
}
