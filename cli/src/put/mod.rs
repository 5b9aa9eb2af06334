//! `put`: files, folders, lines and streams into the vault.

pub(crate) mod feed;
pub(crate) mod sources;
pub(crate) mod split;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use strongroom_client::{Condition, DatasetRef, ObjectPath, PrefixName, PutDone, PutOptions, Vault};
use strongroom_core::grant::Prefix;
use strongroom_core::ids::Generation;
use strongroom_core::reason::Reason;

use crate::amount::{Size, counted};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name;
use crate::output::{Format, line, note};
use crate::progress::Progress;
use crate::receipts::ReceiptFlag;
use crate::tally::Tally;
use feed::feed;
use sources::{Source, collect};
use split::{Lines, Naming, count};

/// Files up to this size travel together in batches; larger ones each in a stream of their own.
const SMALL: u64 = 256 * 1024;

/// Seal files in this process and put them into a dataset.
///
/// A file goes to the path that TARGET names, or below it if that ends with /; of a folder, all files go below it. - is
/// standard input. An object that is there gets a new generation, unless --if-absent or --if-generation says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom put prompts.jsonl acme/rlhf/prompts.jsonl --create
  strongroom put --split-lines gsm8k.jsonl acme/rlhf/math/
  strongroom put a.json b.json images/ acme/rlhf/raw/
  strongroom put labels.jsonl acme/rlhf/labels/1.jsonl --receipt labels.tlog-proof
  pg_dump db | strongroom put - acme/rlhf/dump.sql")]
pub struct Put {
    /// What to put: files, folders, or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    sources: Vec<PathBuf>,
    /// TENANT/DATASET/PATH for one object, TENANT/DATASET/FOLDER/ for many.
    #[arg(value_parser = name::parse::<PrefixName>)]
    target: PrefixName,
    /// Make the dataset if it is not there. For admins.
    #[arg(long)]
    create: bool,
    /// Put every line of the one FILE as an object of its own, its line ending included: math/000000.json, math/000001.json, …
    /// (.json for .jsonl and .ndjson, else .txt).
    #[arg(long)]
    split_lines: bool,
    /// How many digits number the lines: 6 are enough for a million.
    #[arg(long, value_name = "N", default_value_t = 6, requires = "split_lines",
        value_parser = clap::value_parser!(u8).range(1..=18))]
    digits: u8,
    /// Only if nothing is there.
    #[arg(long)]
    if_absent: bool,
    /// Only if this is the object's generation.
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    if_generation: Option<u64>,
    #[command(flatten)]
    receipt: ReceiptFlag,
}

/// An object that was put, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    path: ObjectPath,
    generation: u64,
    size: u64,
    index: u64,
    ordinal: u32,
}

impl From<PutDone> for Shown {
    fn from(done: PutDone) -> Self {
        Self {
            path: done.path,
            generation: done.generation.0,
            size: done.size,
            index: done.index.0,
            ordinal: done.ordinal,
        }
    }
}

/// What there is to put, settled before anything is sent.
enum Load {
    Stream(ObjectPath),
    Lines(PathBuf, Naming),
    Files(Vec<Source>),
}

impl Put {
    /// Does it.
    ///
    /// # Errors
    /// A file cannot be read, or the vault refuses.
    pub fn run(self, globals: &Globals) -> Outcome {
        let load = self.load()?;
        let done = self.receipt.with_vault(globals, async |vault| {
            if self.create {
                create(vault, &self.target.dataset_ref()).await?;
            }
            match load {
                Load::Stream(path) => self.stream(globals, vault, &path, tokio::io::stdin(), None).await,
                Load::Lines(file, naming) => self.lines(globals, vault, file, naming).await,
                Load::Files(mut files) => match files.pop() {
                    Some(file) if files.is_empty() => {
                        let open = tokio::fs::File::open(&file.file).await;
                        let open = open.map_err(|error| Failure::file(&file.file, &error))?;
                        self.stream(globals, vault, &file.path, open, Some(file.size)).await
                    }
                    last => {
                        files.extend(last);
                        self.files(globals, vault, files).await
                    }
                },
            }
        });
        done.map_err(|failure| failure.if_not_found("check the name; --create makes a dataset that is not there"))
    }

    fn load(&self) -> Outcome<Load> {
        let stdin = self.sources.iter().any(|file| file == Path::new("-"));
        let (prefix, alone) = (&self.target.prefix, self.sources.len() == 1);
        if self.split_lines {
            let [file] = &self.sources[..] else {
                return Err(Failure::usage(
                    "--split-lines takes one file",
                    "put the files one by one, into folders of their own",
                ));
            };
            let Prefix::Folder(folder) = prefix else {
                return Err(Failure::usage("lines go into a folder", format!("end {} with a /", self.target)));
            };
            let extension = Naming::extension_for(file);
            let naming = Naming { folder: folder.clone(), digits: self.digits, extension };
            return Ok(Load::Lines(file.clone(), naming));
        }
        match (stdin, prefix) {
            (false, _) => {
                let files = collect(&self.sources, prefix)?;
                let nothing = || Failure::usage("there is no file in that folder", "name another");
                if files.is_empty() { Err(nothing()) } else { Ok(Load::Files(files)) }
            }
            (true, Prefix::Exact(path)) if alone => Ok(Load::Stream(path.clone())),
            (true, _) if alone => {
                Err(Failure::usage("standard input becomes one object", "name its path, not a folder"))
            }
            (true, _) => Err(Failure::usage("- stands alone", "put the files in a command of their own")),
        }
    }

    fn options(&self, globals: &Globals) -> PutOptions {
        let condition = match (self.if_absent, self.if_generation) {
            (true, _) => Condition::Absent,
            (false, Some(generation)) => Condition::Generation(Generation(generation)),
            (false, None) => Condition::Any,
        };
        PutOptions { condition, grant: globals.grant, progress: None }
    }

    async fn stream(
        &self,
        globals: &Globals,
        vault: &Vault,
        path: &ObjectPath,
        source: impl tokio::io::AsyncRead + Unpin + Send,
        size: Option<u64>,
    ) -> Outcome {
        let object = self.target.dataset_ref().object(path.clone());
        let bar = Progress::bytes(globals, path.as_str(), size);
        let options = PutOptions { progress: Some(bar.of_sdk()), ..self.options(globals) };
        let done = vault.put(&object, source, options).await.map_err(Failure::about(&object))?;
        drop(bar);
        globals.output.result(&Shown::from(done), |shown| {
            let size = Size(shown.size);
            format!("{object}, {size}, generation {} (entry {})", shown.generation, shown.index)
        })
    }

    async fn lines(&self, globals: &Globals, vault: &Vault, file: PathBuf, naming: Naming) -> Outcome {
        let total = if file == Path::new("-") { None } else { Some(check_digits(&file, &naming).await?) };
        let bar = match total {
            Some(bytes) => Progress::bytes(globals, &self.target.to_string(), Some(bytes)),
            None => Progress::objects(globals, &self.target.to_string(), None),
        };
        let (objects, source) = feed(move || {
            let reader: Box<dyn Read> = if file == Path::new("-") {
                Box::new(std::io::stdin())
            } else {
                Box::new(File::open(&file).map_err(|error| Failure::file(&file, &error))?)
            };
            Ok(Lines::new(BufReader::with_capacity(1 << 18, reader), naming))
        });
        let mut tally = Tally::default();
        self.batch(globals, vault, objects, &mut tally, |size| bar.add(if total.is_some() { size } else { 1 })).await?;
        drop(bar);
        source.finish().await?;
        self.told(globals, &mut tally)
    }

    async fn files(&self, globals: &Globals, vault: &Vault, files: Vec<Source>) -> Outcome {
        let bar = Progress::bytes(globals, &self.target.to_string(), Some(files.iter().map(|file| file.size).sum()));
        let (small, large): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.size <= SMALL);
        let mut tally = Tally::default();
        let (objects, source) = feed(move || {
            Ok(small.into_iter().map(|file| {
                let bytes = std::fs::read(&file.file).map_err(|error| Failure::file(&file.file, &error))?;
                Ok((file.path, Bytes::from(bytes)))
            }))
        });
        self.batch(globals, vault, objects, &mut tally, |size| bar.add(size)).await?;
        source.finish().await?;
        for file in large {
            let open = tokio::fs::File::open(&file.file).await.map_err(|error| Failure::file(&file.file, &error))?;
            let object = self.target.dataset_ref().object(file.path);
            match vault.put(&object, open, self.options(globals)).await {
                Ok(done) => put_one(globals, &mut tally, done)?,
                Err(error) => tally.fail(strongroom_client::Failed { path: object.path, error })?,
            }
            bar.add(file.size);
        }
        drop(bar);
        self.told(globals, &mut tally)
    }

    async fn batch(
        &self,
        globals: &Globals,
        vault: &Vault,
        objects: impl futures::Stream<Item = (ObjectPath, Bytes)> + Send,
        tally: &mut Tally,
        sent: impl Fn(u64),
    ) -> Outcome {
        let mut results = vault.put_many(&self.target.dataset_ref(), objects, self.options(globals));
        while let Some(result) = results.next().await {
            match result {
                Ok(done) => {
                    sent(done.size);
                    put_one(globals, tally, done)?;
                }
                Err(failed) => tally.fail(failed)?,
            }
        }
        Ok(())
    }

    fn told(&self, globals: &Globals, tally: &mut Tally) -> Outcome {
        if globals.output == Format::Table && tally.done > 0 {
            let objects = counted(tally.done, "object");
            line(&format!("{}: {objects}, {}", self.target, Size(tally.bytes)))?;
        }
        tally.finish()
    }
}

fn put_one(globals: &Globals, tally: &mut Tally, done: PutDone) -> Outcome {
    tally.add(done.size);
    match globals.output {
        Format::Json => globals.output.result(&Shown::from(done), |_| String::new()),
        Format::Table => Ok(()),
    }
}

/// Makes the dataset, unless it is there.
async fn create(vault: &Vault, dataset: &DatasetRef) -> Outcome {
    let there = vault.datasets(&dataset.tenant).await?.iter().any(|info| info.name == dataset.dataset);
    if there {
        return Ok(());
    }
    match vault.create_dataset(dataset).await {
        Ok(_) => note(&format!("{dataset} is new")),
        // Somebody else was faster: it is there.
        Err(error) if error.reason() == Reason::PreconditionFailed => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Whether there are names for all lines of the file, before the first of them is sent; gives the file's size.
async fn check_digits(file: &Path, naming: &Naming) -> Outcome<u64> {
    let fail = |error| Failure::file(file, &error);
    let size = std::fs::metadata(file).map_err(fail)?.len();
    // Every line has a byte at least.
    if size <= naming.capacity() {
        return Ok(size);
    }
    let path = file.to_owned();
    let lines = tokio::task::spawn_blocking(move || File::open(&path).and_then(count)).await;
    let lines = lines.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(fail)?;
    if lines <= naming.capacity() {
        return Ok(size);
    }
    let digits = (lines - 1).to_string().len();
    Err(Failure::usage(
        format!("{lines} lines do not fit into {}", counted(u64::from(naming.digits), "digit")),
        format!("add --digits {digits}"),
    ))
}
