//! Blobs on a local disk: how they are written. `reading` has how they are read.
//!
//! `object_store`'s own file system writes under a second name, which no row knows, and leaves all writing back to the last
//! `fsync`. Here a blob is written in place, and the kernel is told to start writing back while the rest still arrives: on
//! the disks that were measured, that makes a buffered gigabyte durable up to twice as fast. O_DIRECT was slower there, and
//! would leave nothing in the page cache for the reads that usually follow.

mod whole;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use strongroom_core::sealed::content::{Content, ContentHasher, trailer};
use tokio::task::{JoinHandle, spawn_blocking};

use super::name::BlobName;
use super::{BlobError, Stored, reading};

/// Bytes that an upload gathers before a thread digests and writes them.
pub(super) const BATCH: usize = 1024 * 1024;
/// Bytes after which writing back is started.
const WRITE_BACK: u64 = 8 * 1024 * 1024;

/// A folder of blobs.
pub(super) struct Disk {
    root: PathBuf,
    /// Folders whose own entries in their parents were made durable by this process.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    /// The blobs in this folder, which is made if it is not there.
    pub(super) fn open(root: &Path) -> Result<Disk, BlobError> {
        let disk = Disk { root: root.to_owned(), durable: Mutex::default() };
        make_folders(root).map_err(|error| failed("make its folder", error))?;
        disk.sync_entry_of(root).map_err(|error| failed("make its folder", error))?;
        Ok(disk)
    }

    /// Writes a blob whole.
    pub(super) async fn put(self: Arc<Self>, name: BlobName, bytes: Bytes) -> Result<(), BlobError> {
        blocking(move || {
            let file = NewFile::create(&self, &name)?;
            (&*file.file).write_all(&bytes).map_err(|error| failed("write", error))?;
            file.finish(&self)
        })
        .await
    }

    /// The bytes of several ranges of a blob, each whole.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Short`], or if the disk fails.
    pub(super) async fn ranges(&self, name: &BlobName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        let path = self.root.join(name.to_string());
        if let Some(found) = reading::read_at_once(&path, ranges) {
            return Ok(found);
        }
        let ranges = ranges.to_vec();
        let found = spawn_blocking(move || reading::read(&path, &ranges)).await.map_err(io::Error::from).flatten();
        found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(name.to_string()),
            io::ErrorKind::UnexpectedEof => BlobError::Short(name.to_string()),
            _ => failed("read", error),
        })
    }

    /// Makes a file's entry durable, and those of the folders above it.
    fn sync_entries(&self, path: &Path) -> io::Result<()> {
        let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        folders.try_for_each(|folder| self.sync_entry_of(folder))?;
        sync_folder_of(path)
    }

    /// Makes a folder's entry in its parent durable: once, since nobody removes folders.
    fn sync_entry_of(&self, folder: &Path) -> io::Result<()> {
        if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        sync_folder_of(folder)?;
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }
}

/// A file that is removed again unless it is finished.
struct NewFile {
    path: PathBuf,
    file: Arc<File>,
    finished: bool,
}

impl NewFile {
    fn create(disk: &Disk, name: &BlobName) -> Result<NewFile, BlobError> {
        let path = disk.root.join(name.to_string());
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = open().or_else(|error| match (error.kind(), path.parent()) {
            (io::ErrorKind::NotFound, Some(folder)) => make_folders(folder).and_then(|()| open()),
            _ => Err(error),
        });
        let file = file.map_err(|error| failed("create", error))?;
        Ok(NewFile { path, file: Arc::new(file), finished: false })
    }

    /// Makes it durable: its bytes first, then its name.
    fn finish(mut self, disk: &Disk) -> Result<(), BlobError> {
        self.file.sync_data().map_err(|error| failed("sync", error))?;
        disk.sync_entries(&self.path).map_err(|error| failed("sync", error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished blob could not be removed");
        }
    }
}

/// A blob that is being written. Dropped before it is finished, nothing is left of it.
pub(super) struct Upload {
    disk: Arc<Disk>,
    name: BlobName,
    text: String,
    batch: Vec<Bytes>,
    batched: usize,
    writer: Writing,
}

/// Who has the file just now. A thread is taken per batch, not per upload: an upload that waits for its sender holds none.
enum Writing {
    Idle(Box<Writer>),
    Busy(JoinHandle<Result<Box<Writer>, BlobError>>),
    /// An error was returned before.
    Broken,
}

impl Upload {
    pub(super) fn new(disk: Arc<Disk>, name: BlobName) -> Upload {
        let writer = Writing::Idle(Box::default());
        Upload { disk, name, text: name.to_string(), batch: Vec::new(), batched: 0, writer }
    }

    /// The blob's name.
    pub(super) fn name(&self) -> &str {
        &self.text
    }

    /// Takes the next bytes of header and segments. It waits only if the disk is a whole batch behind.
    ///
    /// # Errors
    /// [`BlobError::Full`], or if the disk fails; then the upload is of no more use.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.batched += bytes.len();
        self.batch.push(bytes);
        if self.batched >= BATCH { self.pass_on().await } else { Ok(()) }
    }

    /// Checks that what came are header and segments of an object of `size` bytes, appends the digests, and makes it durable.
    ///
    /// # Errors
    /// [`BlobError::Content`] if it is something else; [`BlobError::Full`], or if the disk fails.
    pub(super) async fn finish(mut self, size: u64) -> Result<Stored, BlobError> {
        let mut writer = self.idle().await?;
        let (disk, name, batch) = (self.disk.clone(), self.name, std::mem::take(&mut self.batch));
        let content = blocking(move || {
            writer.write(&disk, &name, batch)?;
            writer.finish(&disk, size)
        });
        Ok(Stored { content: content.await?, blob: self.text.clone() })
    }

    /// Gives up; nothing is left when this returns.
    pub(super) async fn abort(mut self) {
        if let Ok(writer) = self.idle().await {
            // What a drop does, but on a thread that may wait.
            let _ = spawn_blocking(move || drop(writer)).await;
        }
    }

    /// Hands the batch to a thread, once the last one is written.
    async fn pass_on(&mut self) -> Result<(), BlobError> {
        let mut writer = self.idle().await?;
        let (disk, name, batch) = (self.disk.clone(), self.name, std::mem::take(&mut self.batch));
        self.batched = 0;
        self.writer = Writing::Busy(spawn_blocking(move || writer.write(&disk, &name, batch).map(|()| writer)));
        Ok(())
    }

    /// The writer, once it has nothing to do.
    async fn idle(&mut self) -> Result<Box<Writer>, BlobError> {
        // A wait that is dropped half-way must find the job again.
        if let Writing::Busy(job) = &mut self.writer {
            let done = job.await.map_err(|error| BlobError::unavailable("write", error)).flatten();
            self.writer = Writing::Broken;
            return done;
        }
        match std::mem::replace(&mut self.writer, Writing::Broken) {
            Writing::Idle(writer) => Ok(writer),
            _ => Err(BlobError::unavailable("write", "an earlier write failed")),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Removing a large file takes a while. A busy writer is dropped by its own thread, when its job is done.
        if let Writing::Idle(writer) = std::mem::replace(&mut self.writer, Writing::Broken)
            && writer.file.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(writer));
        }
    }
}

/// The file of an upload, on the thread that writes it.
#[derive(Default)]
struct Writer {
    file: Option<NewFile>,
    hasher: ContentHasher,
    written: u64,
    /// Up to where writing back was started.
    started: u64,
    starting: Option<JoinHandle<()>>,
}

impl Writer {
    fn write(&mut self, disk: &Disk, name: &BlobName, batch: Vec<Bytes>) -> Result<(), BlobError> {
        let file = match &self.file {
            Some(file) => file.file.clone(),
            None => self.file.insert(NewFile::create(disk, name)?).file.clone(),
        };
        for bytes in batch {
            self.hasher.update(&bytes);
            (&*file).write_all(&bytes).map_err(|error| failed("write", error))?;
            self.written += bytes.len() as u64;
        }
        self.start_write_back(file);
        Ok(())
    }

    /// Starts writing back on a thread of its own: it may take a while, and the next batch need not wait for it.
    fn start_write_back(&mut self, file: Arc<File>) {
        let behind = NonZeroU64::new(self.written - self.started).filter(|behind| behind.get() >= WRITE_BACK);
        let (Some(behind), false) = (behind, self.starting.as_ref().is_some_and(|job| !job.is_finished())) else {
            return;
        };
        let from = self.started;
        self.started = self.written;
        self.starting = Some(spawn_blocking(move || start_write_back(&file, from, behind)));
    }

    fn finish(&mut self, disk: &Disk, size: u64) -> Result<Content, BlobError> {
        let content = std::mem::take(&mut self.hasher).finish(size)?;
        let file = self.file.take().ok_or_else(|| BlobError::unavailable("write", "nothing was written"))?;
        (&*file.file).write_all(&trailer(&content)).map_err(|error| failed("write", error))?;
        file.finish(disk)?;
        Ok(content)
    }
}

/// Has the kernel begin to write these bytes. "Will not be needed" makes it do so at once, and since pages under way are not
/// dropped, they stay for readers. It is advice: what it says does not matter.
#[cfg(target_os = "linux")]
fn start_write_back(file: &File, from: u64, len: NonZeroU64) {
    let _ = rustix::fs::fadvise(file, from, Some(len), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn start_write_back(_file: &File, _from: u64, _len: NonZeroU64) {}

fn make_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes durable what stands in the parent of `path`.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn failed(what: &'static str, error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        _ => BlobError::unavailable(what, error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    spawn_blocking(work).await.map_err(|error| BlobError::unavailable("write", error)).flatten()
}
