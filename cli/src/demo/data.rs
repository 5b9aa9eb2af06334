//! What the lab stores: made-up items, or the user's own files; and what of it to look for on the disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use strongroom_core::grant::Prefix;
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;
use tokio::io::{AsyncRead, ReadBuf};

use super::sample::{self, Text};
use crate::exit::{Failure, Outcome};
use crate::put::sources::{Source, collect};
use crate::put::split::{Lines, Naming};

/// Below this size a text is too likely to be found by chance.
const PROBE: usize = 24;

/// The items, in what order they are put.
pub(crate) struct Items {
    /// The folder that they are in, with its `/`.
    pub(crate) folder: &'static str,
    /// Where they come from, in words.
    pub(crate) from: String,
    files: Vec<Source>,
}

impl Items {
    /// Made up, or from a file or a folder.
    ///
    /// # Errors
    /// The files cannot be read, or there are none.
    pub(crate) fn new(data: Option<&Path>) -> Outcome<Self> {
        let Some(data) = data else {
            return Ok(Self { folder: "math/", from: "made-up maths items".to_owned(), files: Vec::new() });
        };
        let folder = "data/";
        let files = collect(&[data.to_owned()], &Prefix::Folder(folder.to_owned()))?;
        if files.is_empty() {
            return Err(Failure::usage(format!("{} holds no file", data.display()), "name another with --data"));
        }
        Ok(Self { folder, from: format!("from {}", data.display()), files })
    }

    /// Every item, one after the other: lines of line files, other files whole.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn read(&self) -> impl Iterator<Item = Outcome<(ObjectPath, Bytes)>> + Send + use<> {
        let made_up = self.files.is_empty().then(|| {
            let naming = Naming { folder: self.folder.to_owned(), digits: 6, extension: ".json" };
            Lines::new(std::io::Cursor::new(sample::items()), naming)
        });
        made_up.into_iter().flatten().chain(self.files.clone().into_iter().flat_map(items_of))
    }
}

type BoxedItems = Box<dyn Iterator<Item = Outcome<(ObjectPath, Bytes)>> + Send>;

/// A file's items: its lines, if it is a file of lines, or itself.
fn items_of(source: Source) -> BoxedItems {
    let Source { file, path, .. } = source;
    let lines = Naming::extension_for(&file) == ".json";
    let opened = File::open(&file).map_err(|error| Failure::file(&file, &error));
    match opened {
        Err(failure) => Box::new(std::iter::once(Err(failure))),
        Ok(opened) if lines => {
            let stem = path.as_str().rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
            let naming = Naming { folder: format!("{stem}/"), digits: 6, extension: ".json" };
            Box::new(Lines::new(BufReader::with_capacity(1 << 18, opened), naming))
        }
        Ok(opened) => Box::new(std::iter::once(whole(file, opened).map(|bytes| (path, bytes)))),
    }
}

/// The largest file that the demo holds in memory.
const MAX_FILE: u64 = 64 * 1024 * 1024;

fn whole(file: PathBuf, opened: File) -> Outcome<Bytes> {
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| Failure::file(&file, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        let detail = format!("{} has more than 64 MiB", file.display());
        return Err(Failure::new(Reason::TooLarge, detail, "the demo takes smaller ones; put takes any size"));
    }
    Ok(bytes.into())
}

/// Texts of the items to look for: the first item that is long enough, and every thousandth after it.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    texts: Vec<Vec<u8>>,
    seen: u64,
}

impl Probes {
    /// Looks at one more item.
    pub(crate) fn see(&mut self, item: &[u8]) {
        let text = item.strip_suffix(b"\n").unwrap_or(item);
        let text = &text[..text.len().min(200)];
        let different = text.iter().collect::<std::collections::HashSet<_>>().len();
        if text.len() < PROBE || different < 8 {
            return;
        }
        if self.seen.is_multiple_of(1000) && self.texts.len() < 8 {
            self.texts.push(text.to_vec());
        }
        self.seen += 1;
    }

    /// The texts.
    pub(crate) fn into_texts(self) -> Vec<Vec<u8>> {
        self.texts
    }
}

/// [`Text`] of a fixed length, as the SDK reads it.
pub(crate) struct Transcript {
    text: Text,
    chunk: String,
    at: usize,
    left: u64,
}

impl Transcript {
    /// So many bytes of it.
    pub(crate) fn new(size: u64) -> Self {
        Self { text: Text::default(), chunk: String::new(), at: 0, left: size }
    }
}

impl AsyncRead for Transcript {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.chunk.len() {
            this.chunk.clear();
            this.at = 0;
            this.text.fill(&mut this.chunk, 1 << 16);
        }
        let left = usize::try_from(this.left).unwrap_or(usize::MAX);
        let take = buf.remaining().min(this.chunk.len() - this.at).min(left);
        buf.put_slice(&this.chunk.as_bytes()[this.at..this.at + take]);
        this.at += take;
        this.left -= take as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_items_are_lines() {
        let items: Vec<_> = Items::new(None).unwrap().read().map(Result::unwrap).collect();
        assert_eq!(items.len() as u64, sample::ITEMS);
        assert_eq!(items[7].0.as_str(), "math/000007.json");
    }

    #[test]
    fn own_files_are_split_if_they_have_lines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jsonl"), "{\"a\":1}\n{\"a\":2}\n").unwrap();
        std::fs::write(dir.path().join("b.txt"), "text").unwrap();
        let items: Vec<_> = Items::new(Some(dir.path())).unwrap().read().map(Result::unwrap).collect();
        let paths: Vec<_> = items.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["data/a/000000.json", "data/a/000001.json", "data/b.txt"]);
    }

    #[test]
    fn probes_are_telling() {
        let mut probes = Probes::default();
        probes.see(b"short\n");
        probes.see(&[0; 1000]);
        probes.see(b"a line that is long enough to be told apart\n");
        assert_eq!(probes.into_texts(), [b"a line that is long enough to be told apart".to_vec()]);
    }

    #[tokio::test]
    async fn a_transcript_has_its_length() {
        let mut bytes = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut Transcript::new(200_001), &mut bytes).await.unwrap();
        assert_eq!(bytes.len(), 200_001);
        assert!(String::from_utf8(bytes).unwrap().contains(&Text::line(1000)));
    }
}
