//! Recovery: objects opened with an identity of the tenant's escrow, out of an export and the blobs alone: no server, no database.
//!
//! ```text
//! identity ─► sealed versions ─► tenant key ─► wrapped root, bound to its row ─► leaves ─► segments
//! export's rows ────────────────────────────────────┘          blob: header, digests against the content root ─┘
//! ```
//!
//! Nothing that is read is believed: the rows by the export's checksum and, each, by what its wrapped root is bound to; the blob by the
//! content root, segment by segment, before anything of it is opened.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use age::plugin::{self, IdentityPluginV1, ResolveError};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use strongroom_core::escrow::{
    Checksum, EscrowedKey, ExportHead, ExportedObject, FORMAT, HEAD_FILE, MAX_LINE, OBJECTS_FILE,
};
use strongroom_core::exact;
use strongroom_core::ids::{Digest, SegmentRange};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::unwrap;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::content::{CheckedWindow, ContentVerifier, parse_digests, window_digest};
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::segment;
use strongroom_core::sealed::tree::ObjectRoot;
use strongroom_core::sealed::{HEADER_LEN, header::Header};
use zeroize::Zeroizing;

use crate::blobs::{BlobError, Blobs};
use crate::config::BlobsUrl;

/// The most bytes of an export's head: keys of many versions, sealed to sixteen recipients.
const MAX_HEAD: u64 = 64 << 20;
/// Segments that are read at once.
const AT_ONCE: u32 = 16;

/// Why something was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A file of the export or the identity cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The identity's file holds none that can be used.
    #[error("{0}")]
    Identity(String),
    /// The export is not whole, or was changed.
    #[error("the export: {0}")]
    Export(String),
    /// A plugin that the identity needs is missing, or did not open what is sealed to it.
    #[error("{0}")]
    Plugin(String),
    /// No version of the key is sealed to this identity.
    #[error("no version of the key of {0} is sealed to this identity")]
    NotSealed(String),
    /// The object does not open, or its bytes are not what was sealed.
    #[error("{0}")]
    Object(String),
    /// The blob cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl RecoverError {
    /// The stable reason code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Reason::NotFound,
            Self::File { .. } => Reason::Unavailable,
            Self::Identity(_) => Reason::InvalidArgument,
            Self::Plugin(_) => Reason::Unavailable,
            Self::Export(_) | Self::Object(_) => Reason::Integrity,
            Self::NotSealed(_) => Reason::Unauthenticated,
            Self::Blob(error) => error.reason(),
        }
    }
}

/// An export that was opened with an identity.
pub struct Recovery {
    folder: PathBuf,
    head: ExportHead,
    keys: HashMap<u32, Key>,
}

impl Recovery {
    /// Opens the export in a folder with the identities of a file, native ones and those of plugins, which may ask: checks all of it,
    /// and opens every version of the key that is sealed to one of them.
    ///
    /// # Errors
    /// Each kind of [`RecoverError`] but those of objects and blobs.
    pub fn open(folder: &Path, identity: &Path, asked: impl age::Callbacks) -> Result<Self, RecoverError> {
        let identities = Identities::read(identity, asked)?;
        let path = folder.join(HEAD_FILE);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(failed(&path))?;
        file.take(MAX_HEAD + 1).read_to_end(&mut bytes).map_err(failed(&path))?;
        let head: ExportHead =
            exact::from_slice(&bytes).map_err(|error| RecoverError::Export(format!("{HEAD_FILE} is {error}")))?;
        if head.format != FORMAT {
            return Err(RecoverError::Export(format!("its format is {:?}, not {FORMAT:?}", head.format)));
        }
        check_rows(folder, &head)?;
        let keys = open_keys(&head, &identities)?;
        Ok(Self { folder: folder.to_owned(), head, keys })
    }

    /// What the export is of.
    pub fn head(&self) -> &ExportHead {
        &self.head
    }

    /// The rows, one by one.
    ///
    /// # Errors
    /// [`RecoverError`] if the file is not what was checked.
    pub fn objects(&self) -> Result<impl Iterator<Item = Result<ExportedObject, RecoverError>> + use<>, RecoverError> {
        lines(&self.folder)
    }

    /// The plaintext of an object, piece by piece, each checked. Whoever keeps it holds what is no longer protected.
    ///
    /// # Errors
    /// [`RecoverError`]; also in the stream. What came before an error is right, and not all of it.
    pub async fn read(
        &self,
        blobs: &Blobs,
        object: ExportedObject,
    ) -> Result<BoxStream<'static, Result<Bytes, RecoverError>>, RecoverError> {
        let version = object.key_version;
        let key = self
            .keys
            .get(&version)
            .ok_or_else(|| RecoverError::NotSealed(format!("{} in version {version}", self.head.name)))?;
        let wrapped = object.wrapped_root().ok_or_else(|| wrong(&object, "its wrapped root is none"))?;
        let root = unwrap(key, &object.tuple(self.head.ledger.tenant()), &wrapped)
            .map_err(|_| wrong(&object, "its wrapped root does not open in this row: the row was changed"))?;
        let layout = Layout::new(object.size).map_err(|_| wrong(&object, "its size is out of bounds"))?;
        let header = blobs.range(&object.blob, object.offset, HEADER_LEN as u64).await?;
        if Header::parse(&header).ok() != Some(object.header) {
            return Err(wrong(&object, "its blob is another one"));
        }
        let verifier = verifier(blobs, &object, &layout).await?;
        let reading = Reading { blobs: blobs.clone(), object, layout, root, verifier, window: None, next: 0 };
        Ok(try_unfold(reading, Reading::step).boxed())
    }
}

/// Opens the blobs at a URL, as a server's configuration names them, with what the environment says of a bucket. Nothing is made.
///
/// # Errors
/// [`RecoverError`] if it is no such URL, or there is no such folder.
pub fn open_blobs(url: &str) -> Result<Blobs, RecoverError> {
    let url = BlobsUrl::parse(Path::new("."), url).map_err(RecoverError::Export)?;
    if let BlobsUrl::File(folder) = &url
        && !folder.is_dir()
    {
        return Err(failed(folder)(std::io::ErrorKind::NotFound.into()));
    }
    Ok(Blobs::open(&url)?)
}

/// An object that is being read.
struct Reading {
    blobs: Blobs,
    object: ExportedObject,
    layout: Layout,
    root: ObjectRoot,
    verifier: ContentVerifier,
    /// The window that is read, and its segments' digests, checked; none where there is one segment.
    window: Option<(u32, CheckedWindow)>,
    next: u32,
}

impl Reading {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, RecoverError> {
        let segments = self.layout.segments();
        if self.next >= segments {
            return Ok(None);
        }
        let w = self.layout.window_of(self.next);
        let end = self.next.saturating_add(AT_ONCE).min(self.layout.window(w).end());
        self.enter(w).await?;
        let wrong = |why: String| wrong(&self.object, &why);
        let range = SegmentRange::new(self.next, end).ok_or_else(|| wrong("a range is empty".into()))?;
        let place = self.layout.blob_bytes(range);
        let sealed =
            self.blobs.range(&self.object.blob, self.object.offset + place.start, place.end - place.start).await?;
        let mut sealed = Vec::from(sealed);
        let mut plain = Vec::with_capacity(sealed.len());
        let mut rest = &mut sealed[..];
        for i in range.start()..range.end() {
            let len = self.layout.segment_len(i).min(rest.len());
            let (segment, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            let checked = match &self.window {
                Some((_, window)) => window.check_segment(i, segment),
                None => self.verifier.check_only_segment(segment),
            };
            checked.map_err(|error| wrong(error.to_string()))?;
            let opened = segment::open(&self.root.leaf(i), i, i + 1 == segments, segment);
            plain.extend_from_slice(opened.map_err(|error| wrong(error.to_string()))?);
        }
        self.next = end;
        Ok(Some((plain.into(), self)))
    }

    /// Reads and checks the digests of a window's segments.
    async fn enter(&mut self, w: u32) -> Result<(), RecoverError> {
        if !self.layout.has_trailer() || self.window.as_ref().is_some_and(|(window, _)| *window == w) {
            return Ok(());
        }
        let digests = digests_of_window(&self.blobs, &self.object, &self.layout, w).await?;
        let checked = self.verifier.check_window(w, &digests);
        self.window = Some((w, checked.map_err(|error| wrong(&self.object, &error.to_string()))?));
        Ok(())
    }
}

/// What an object's windows are checked against: their digests, which come to its content root.
async fn verifier(blobs: &Blobs, object: &ExportedObject, layout: &Layout) -> Result<ContentVerifier, RecoverError> {
    let windows = if !layout.has_trailer() {
        Vec::new()
    } else if layout.windows() == 1 {
        vec![window_digest(0, &digests_of_window(blobs, object, layout, 0).await?)]
    } else {
        digests(blobs, object, layout.window_digests_offset(), layout.windows()).await?
    };
    let verifier = ContentVerifier::new(object.header, object.size, object.content_root, &windows);
    verifier.map_err(|error| wrong(object, &error.to_string()))
}

async fn digests_of_window(
    blobs: &Blobs,
    object: &ExportedObject,
    layout: &Layout,
    w: u32,
) -> Result<Vec<Digest>, RecoverError> {
    let range = layout.window(w);
    let at = layout.digests_offset() + u64::from(range.start()) * Digest::LEN as u64;
    digests(blobs, object, at, range.count()).await
}

async fn digests(blobs: &Blobs, object: &ExportedObject, at: u64, count: u32) -> Result<Vec<Digest>, RecoverError> {
    let offset = object.offset.checked_add(at).ok_or_else(|| wrong(object, "its place is out of bounds"))?;
    let bytes = blobs.range(&object.blob, offset, u64::from(count) * Digest::LEN as u64).await?;
    parse_digests(&bytes).ok_or_else(|| wrong(object, "its digests are cut"))
}

fn wrong(object: &ExportedObject, why: &str) -> RecoverError {
    RecoverError::Object(format!("{}/{}: {why}", object.dataset_name, object.path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> RecoverError + use<> {
    let path = path.to_owned();
    move |source| RecoverError::File { path: path.clone(), source }
}

/// The identities of an age file: a line each, and comments.
struct Identities<C: age::Callbacks> {
    native: Vec<age::x25519::Identity>,
    /// Each plugin by its name, with its identities.
    plugins: BTreeMap<String, IdentityPluginV1<C>>,
}

impl<C: age::Callbacks> Identities<C> {
    fn read(path: &Path, asked: C) -> Result<Self, RecoverError> {
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(failed(path))?;
        file.take(1 << 20).read_to_string(&mut text).map_err(failed(path))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<_> = lines.collect();
        let native: Vec<_> = lines.iter().filter_map(|line| line.parse().ok()).collect();
        let others: Vec<plugin::Identity> = lines.iter().filter_map(|line| line.parse().ok()).collect();
        if native.is_empty() && others.is_empty() {
            let words = format!(
                "{}: no identity of age (a line that begins with AGE-SECRET-KEY-1, or with AGE-PLUGIN- and a plugin's name)",
                path.display()
            );
            return Err(RecoverError::Identity(words));
        }
        let mut plugins = BTreeMap::new();
        for identity in &others {
            let name = identity.plugin();
            let plugin = IdentityPluginV1::new(name, &others, asked.clone()).map_err(|error| match error {
                ResolveError::MissingPlugin { binary_name } => {
                    RecoverError::Plugin(format!("{} needs {binary_name}, which is not on the PATH", path.display()))
                }
                other => RecoverError::Identity(format!("{}: {other}", path.display())),
            })?;
            plugins.insert(name.to_owned(), plugin);
        }
        Ok(Self { native, plugins })
    }

    /// What a message to this recipient holds, if one of the identities opens it.
    fn open(&self, recipient: &str, message: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, RecoverError> {
        for identity in &self.native {
            if let Ok(plain) = open_message(message, identity) {
                return Ok(Some(plain));
            }
        }
        // Whoever is asked for a PIN or a touch is asked for what may be theirs.
        let of: Option<plugin::Recipient> = recipient.parse().ok();
        for (name, plugin) in &self.plugins {
            if of.as_ref().is_some_and(|of| of.plugin() != name && !recipient.starts_with("age1tag1")) {
                continue;
            }
            match open_message(message, plugin) {
                Ok(plain) => return Ok(Some(plain)),
                Err(age::DecryptError::NoMatchingKeys) => {}
                Err(error) => {
                    let words: Vec<_> = error.to_string().split_whitespace().map(str::to_owned).collect();
                    return Err(RecoverError::Plugin(format!(
                        "age-plugin-{name} does not open it: {}",
                        words.join(" ")
                    )));
                }
            }
        }
        Ok(None)
    }
}

/// Whether the rows are all there, as they were written.
fn check_rows(folder: &Path, head: &ExportHead) -> Result<(), RecoverError> {
    let path = folder.join(OBJECTS_FILE);
    let mut file = std::fs::File::open(&path).map_err(failed(&path))?;
    let (mut sum, mut buffer) = (Checksum::default(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(failed(&path))? {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    if sum.digest() != head.digest || sum.objects != head.objects {
        let words = format!("{OBJECTS_FILE} is not what was exported: it is cut, or was changed");
        return Err(RecoverError::Export(words));
    }
    Ok(())
}

fn lines(folder: &Path) -> Result<impl Iterator<Item = Result<ExportedObject, RecoverError>> + use<>, RecoverError> {
    let path = folder.join(OBJECTS_FILE);
    let mut file = BufReader::new(std::fs::File::open(&path).map_err(failed(&path))?);
    let next = move || {
        let mut line = Vec::new();
        match (&mut file).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(match line.strip_suffix(b"\n") {
                Some(line) => ExportedObject::from_line(line)
                    .map_err(|error| RecoverError::Export(format!("a line of {OBJECTS_FILE} is {error}"))),
                None => Err(RecoverError::Export(format!("a line of {OBJECTS_FILE} is too long or cut"))),
            }),
            Err(source) => Some(Err(RecoverError::File { path: path.clone(), source })),
        }
    };
    Ok(std::iter::from_fn(next))
}

/// Every version that is sealed to one of the identities.
fn open_keys<C: age::Callbacks>(
    head: &ExportHead,
    identities: &Identities<C>,
) -> Result<HashMap<u32, Key>, RecoverError> {
    let mut keys = HashMap::new();
    for sealed in &head.keys {
        if keys.contains_key(&sealed.version) {
            continue;
        }
        let wrong = |why: &str| RecoverError::Export(format!("version {} of the key {why}", sealed.version));
        let message = sealed.bytes().ok_or_else(|| wrong("is no base64"))?;
        let Some(bytes) = identities.open(&sealed.recipient, &message)? else { continue };
        let key = EscrowedKey::decode(&bytes).ok_or_else(|| wrong("is not a key"))?;
        let ledger = &head.ledger;
        if (key.vault, key.tenant, key.version) != (ledger.vault(), ledger.tenant(), sealed.version) {
            return Err(wrong("is another tenant's, or another version"));
        }
        keys.insert(sealed.version, key.key);
    }
    if keys.is_empty() {
        return Err(RecoverError::NotSealed(head.name.to_string()));
    }
    Ok(keys)
}

fn open_message(message: &[u8], identity: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, age::DecryptError> {
    let decryptor = age::Decryptor::new_buffered(message)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(256));
    decryptor.decrypt(std::iter::once(identity))?.take(256).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests;
