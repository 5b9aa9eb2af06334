//! Where plaintext goes: files that appear whole, or standard output. Written by a thread of its own, so that the disk and the
//! network work at the same time, with a bounded number of pieces between them.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::exit::{Failure, Outcome};
use crate::folder::{Folder, Pending, pending};
use crate::output::note;

/// Pieces on their way to the disk: at most 16 of at most a few MiB each.
const AHEAD: usize = 16;

/// Where the objects go.
#[derive(Debug)]
pub enum Sink {
    /// Each into a file of its own in a folder.
    Folder(Folder),
    /// All, one after the other, into one file.
    File(PathBuf),
    /// All, one after the other, to standard output.
    Stdout,
}

enum Piece {
    Begin(String),
    Data(Bytes),
    End,
}

/// A writer that objects are handed to.
#[derive(Debug)]
pub struct Writer {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Outcome>,
}

impl Writer {
    /// Starts a writer.
    pub fn start(sink: Sink) -> Self {
        let (pieces, queue) = mpsc::channel(AHEAD);
        Self { pieces, thread: tokio::task::spawn_blocking(move || write(sink, queue)) }
    }

    /// Writes one object; `name` is its file in a folder.
    ///
    /// # Errors
    /// The object's own failure (its file does not appear), or [`Stopped`] when the writer failed.
    pub async fn object<E>(
        &self,
        name: &str,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        wrote: impl Fn(u64),
    ) -> Result<Result<(), E>, Stopped> {
        self.send(Piece::Begin(name.to_owned())).await?;
        while let Some(bytes) = body.next().await {
            match bytes {
                Ok(bytes) => {
                    wrote(bytes.len() as u64);
                    self.send(Piece::Data(bytes)).await?;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        self.send(Piece::End).await.map(Ok)
    }

    async fn send(&self, piece: Piece) -> Result<(), Stopped> {
        self.pieces.send(piece).await.map_err(|_| Stopped)
    }

    /// Waits until all is written. With `complete` the one file of [`Sink::File`] takes its place; without, it goes away.
    ///
    /// # Errors
    /// What stopped the writer.
    pub async fn finish(self, complete: bool) -> Outcome {
        if complete {
            let _ = self.pieces.send(Piece::End).await;
        }
        drop(self.pieces);
        match self.thread.await {
            Ok(done) => done,
            Err(_) => Err(Failure::stdio(&io::Error::other("the writing thread ended early"))),
        }
    }
}

/// The writer stopped: [`Writer::finish`] says why.
#[derive(Debug, Clone, Copy)]
pub struct Stopped;

fn write(sink: Sink, mut queue: mpsc::Receiver<Piece>) -> Outcome {
    match sink {
        Sink::Folder(folder) => write_folder(folder, &mut queue),
        Sink::File(path) => write_file(path, &mut queue),
        Sink::Stdout => write_stdout(&mut queue),
    }
}

fn write_folder(mut folder: Folder, queue: &mut mpsc::Receiver<Piece>) -> Outcome {
    let mut open: Option<(File, Pending, String)> = None;
    while let Some(piece) = queue.blocking_recv() {
        match (piece, &mut open) {
            // One that was begun and never ended failed, and goes away here.
            (Piece::Begin(name), _) => {
                let (file, pending) = folder.file(&name)?;
                open = Some((file, pending, name));
            }
            (Piece::Data(bytes), Some((file, _, name))) => {
                file.write_all(&bytes).map_err(|error| Failure::file(name.as_ref(), &error))?;
            }
            (Piece::Data(_), None) => {}
            (Piece::End, _) => {
                if let Some((_, pending, _)) = open.take() {
                    pending.commit()?;
                }
            }
        }
    }
    Ok(())
}

/// Objects have no end of their own here; the file's is two ends on end: that of the last object and that of all.
fn write_file(path: PathBuf, queue: &mut mpsc::Receiver<Piece>) -> Outcome {
    let (mut file, pending) = pending(path.clone())?;
    let (mut inside, mut complete) = (false, false);
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Begin(_) => inside = true,
            Piece::Data(bytes) => file.write_all(&bytes).map_err(|error| Failure::file(&path, &error))?,
            Piece::End => complete = !std::mem::take(&mut inside),
        }
    }
    if complete { pending.commit() } else { Ok(()) }
}

fn write_stdout(queue: &mut mpsc::Receiver<Piece>) -> Outcome {
    let mut out = io::stdout().lock();
    while let Some(piece) = queue.blocking_recv() {
        if let Piece::Data(bytes) = piece {
            out.write_all(&bytes).map_err(|error| Failure::stdio(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::stdio(&error))
}

/// Says that plaintext left the vault for this disk.
pub fn say_plaintext(place: &str, objects: u64, bytes: u64) {
    let what = match objects {
        1 => crate::amount::Size(bytes).to_string(),
        _ => format!("{}, {}", crate::amount::counted(objects, "object"), crate::amount::Size(bytes)),
    };
    note(&format!("plaintext is now on this disk: {place} ({what}); it is no longer protected by the vault"));
}
