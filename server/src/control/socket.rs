//! The socket in the folder: for the user that the server runs as, and for root.
//!
//! One question a connection: a line of JSON, and lines of JSON back. The file is this user's alone, and who connects is asked of
//! the kernel all the same.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use zeroize::Zeroizing;

use super::{Answer, Request, SOCKET_FILE, State, each};
use crate::error::Error;
use crate::keys::KeyError;
use crate::vault::Vault;

/// The longest question.
pub(super) const MAX_LINE: usize = 64 * 1024;
/// How long whoever connects may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const PLACES: usize = 16;

/// The socket's file, removed at the end if it is still this server's.
pub(super) struct Bound {
    path: PathBuf,
    inode: u64,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the socket, in the place of one that nobody answers.
pub(super) fn bind(folder: &Path) -> io::Result<(Bound, UnixListener)> {
    let path = folder.join(SOCKET_FILE);
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => return Err(io::Error::new(ErrorKind::AddrInUse, "another server of this folder has it")),
        // A server that was killed left it.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Made under another name: nobody finds it before its mode is right.
    let new = folder.join(format!("{SOCKET_FILE}.{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let placed = fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&new, &path));
    if let Err(error) = placed {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    let inode = fs::symlink_metadata(&path)?.ino();
    Ok((Bound { path, inode }, listener))
}

/// Answers whoever may ask, until the server ends.
pub(super) async fn serve(listener: UnixListener, state: Arc<State>) {
    each(UnixListenerStream::new(listener), PLACES, |stream| {
        let state = state.clone();
        async move {
            // Who hangs up in between hears nothing, and nothing is wrong.
            let _ = answer(stream, &state).await;
        }
    })
    .await;
}

async fn answer(mut stream: UnixStream, state: &State) -> io::Result<()> {
    let (uid, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    if uid != own && uid != 0 {
        tracing::warn!(uid, "another user asked over the socket, and was refused");
        return Ok(());
    }
    let line = tokio::time::timeout(PATIENCE, line(&mut stream)).await??;
    let answer = match serde_json::from_slice(&line) {
        Ok(Request::Health) => Answer::Health(state.health()),
        Ok(Request::Unlock { secret }) => told(state.unlock(secret.secret()).await),
        Ok(Request::RotateRoot { to, detach }) => match open_vault(state) {
            Ok(vault) => match vault.rotations.begin(to).await {
                Ok(()) => return follow(&mut stream, &vault, detach).await,
                Err(error) => told(Err(error)),
            },
            Err(error) => told(Err(error)),
        },
        Ok(Request::JoinRoot { secret, detach }) => match open_vault(state) {
            Ok(vault) => match vault.rotations.join(secret.map(|secret| secret.secret())).await {
                Ok(()) => return follow(&mut stream, &vault, detach).await,
                Err(error) => told(Err(error)),
            },
            Err(error) => told(Err(error)),
        },
        // What serde says may repeat the line, which may hold a secret.
        Err(_) => {
            told(Err(Error::Invalid("this server does not understand the question: is it of another version?".into())))
        }
    };
    say(&mut stream, &answer).await
}

fn open_vault(state: &State) -> Result<Arc<Vault>, Error> {
    state.vault().ok_or(Error::Key(KeyError::Locked))
}

/// Tells how far the rotation is, until it is done.
async fn follow(stream: &mut UnixStream, vault: &Vault, detach: bool) -> io::Result<()> {
    let mut progress = vault.rotations.progress();
    loop {
        let now = progress.borrow_and_update().clone();
        say(stream, &Answer::Root(now.clone())).await?;
        if detach || !now.rotating {
            return Ok(());
        }
        // Said again now and then, so that whoever listens knows that somebody is there.
        let changed = tokio::time::timeout(PATIENCE, progress.changed()).await;
        if changed.is_ok_and(|changed| changed.is_err()) {
            return Ok(());
        }
    }
}

fn told(done: Result<(), Error>) -> Answer {
    match done {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed { reason: error.reason(), detail: error.to_string() },
    }
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// One line, of a bounded length, in memory that zeroizes.
async fn line(stream: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(vec![0; MAX_LINE]);
    let mut have = 0;
    loop {
        let count = stream.read(&mut line[have..]).await?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        have += count;
        if line[have - count..have].contains(&b'\n') {
            line.truncate(have);
            return Ok(line);
        }
    }
}
