//! `get`: objects out of the vault, onto this disk.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use strongroom_client::{Body, Failed, Fetched, GetOptions, PrefixName, Reader, Vault};
use strongroom_core::grant::Prefix;
use strongroom_core::ids::{Generation, ObjectId};
use strongroom_core::reason::Reason;

use crate::exit::{Failure, Outcome};
use crate::folder::Folder;
use crate::globals::Globals;
use crate::name;
use crate::progress::Progress;
use crate::receipts::ReceiptFlag;
use crate::tally::Tally;
use crate::writer::{Sink, Stopped, Writer, say_plaintext};

/// Get an object, or all objects of a folder, and write them to this disk.
///
/// A file appears when it is complete, readable by you alone; objects of a folder keep their paths below it. Says on stderr
/// that plaintext is now on this disk: where a pipe will do, use `cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom get acme/rlhf/math/000007.json -o item.json
  strongroom get acme/rlhf/math/ -o items/ --receipt receipts/
  strongroom get acme/rlhf/math/ --join -o math.jsonl
  strongroom get 'acme/rlhf/math/0000*' --join -o - | wc -l
  strongroom get acme/rlhf --id 01932c5e8a5b7c3d9e0f1a2b3c4d5e6f -o item.json")]
pub struct Get {
    /// An object (acme/rlhf/prompts.jsonl), a folder (acme/rlhf/math/), or all that starts so ('acme/rlhf/math/0000*').
    #[arg(value_parser = name::parse::<PrefixName>)]
    name: PrefixName,
    /// The file to write, the folder to write into (one that is there, or ends with /), or - for standard output.
    #[arg(short, long = "out", value_name = "PATH")]
    out: Option<PathBuf>,
    /// Write the objects of a folder into one file, one after the other in the order of their paths.
    #[arg(long)]
    join: bool,
    /// A generation of the one object, instead of the newest.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// The object with this id, as `stat` and the ledger name it, wherever in the dataset it stands; also an older generation.
    #[arg(long, value_name = "ID", conflicts_with_all = ["join", "generation"])]
    id: Option<ObjectId>,
    #[command(flatten)]
    receipt: ReceiptFlag,
}

impl Get {
    /// Does it.
    ///
    /// # Errors
    /// Not there, not allowed, not intact, or not to be written.
    pub fn run(self, globals: &Globals) -> Outcome {
        let options = GetOptions { generation: self.generation.map(Generation), grant: globals.grant };
        if let Some(id) = self.id {
            if !matches!(&self.name.prefix, Prefix::Folder(all) if all.is_empty()) {
                let advice = "name the dataset alone: strongroom get acme/rlhf --id ID";
                return Err(Failure::usage("an object is named by its path or by its id", advice));
            }
            let dataset = self.name.dataset_ref();
            let (sink, file, place) = self.one(&id.to_string())?;
            return self.receipt.with_vault(globals, async |vault| {
                let reader = vault.get_by_id(&dataset, id, options).await.map_err(Failure::about(&id))?;
                get_one(globals, reader, sink, &file, place).await
            });
        }
        match &self.name.prefix {
            Prefix::Exact(path) => {
                let object = self.name.dataset_ref().object(path.clone());
                let (sink, file, place) = self.one(path.as_str())?;
                self.receipt.with_vault(globals, async |vault| {
                    let reader = vault.get(&object, options).await.map_err(Failure::about(&object))?;
                    get_one(globals, reader, sink, &file, place).await
                })
            }
            prefix => {
                if self.generation.is_some() {
                    return Err(Failure::usage(
                        "a generation is one object's",
                        "leave out --generation, or name the object",
                    ));
                }
                let (sink, place) = self.many()?;
                self.receipt.with_vault(globals, async |vault| {
                    get_many(globals, vault, &self.name, prefix, options, sink, place, self.join).await
                })
            }
        }
    }

    /// Where one object goes: the sink, its file there, and the place in words unless that is no disk.
    fn one(&self, path: &str) -> Outcome<(Sink, String, Option<String>)> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let in_folder = |folder: &Path| {
            let place = folder.join(&name).display().to_string();
            Ok((Sink::Folder(Folder::at(folder)), name.clone(), Some(place)))
        };
        match &self.out {
            None => Ok((Sink::File(name.clone().into()), name.clone(), Some(name))),
            Some(out) if is_stdout(out) => Ok((Sink::Stdout, name, None)),
            Some(out) if is_folder(out) => in_folder(out),
            Some(out) => Ok((Sink::File(out.clone()), name, Some(out.display().to_string()))),
        }
    }

    /// Where many go.
    fn many(&self) -> Outcome<(Sink, Option<String>)> {
        let Some(out) = &self.out else {
            return Err(Failure::usage("a folder's objects need a place", "add -o FOLDER, or --join -o FILE"));
        };
        let place = out.display().to_string();
        match (self.join, is_stdout(out)) {
            (true, true) => Ok((Sink::Stdout, None)),
            (false, true) => {
                Err(Failure::usage("many files do not fit into one stream", "add --join to lay them end to end"))
            }
            (true, false) if is_folder(out) => {
                Err(Failure::usage(format!("{place} is a folder, and --join makes one file"), "name a file with -o"))
            }
            (true, false) => Ok((Sink::File(out.clone()), Some(place))),
            (false, false) => Ok((Sink::Folder(Folder::at(out)), Some(place))),
        }
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.to_str().is_some_and(|text| text.ends_with('/'))
}

/// What was got.
#[derive(Debug, Serialize)]
struct Got {
    objects: u64,
    bytes: u64,
    out: Option<String>,
}

/// Says what is on the disk now: on stderr, and for programs on stdout too.
fn told(globals: &Globals, tally: &Tally, place: Option<String>) -> Outcome {
    let Some(place) = place else { return Ok(()) };
    if tally.done > 0 {
        say_plaintext(&place, tally.done, tally.bytes);
    }
    if globals.output == crate::output::Format::Json {
        let got = Got { objects: tally.done, bytes: tally.bytes, out: Some(place) };
        return globals.output.result(&got, |_| String::new());
    }
    Ok(())
}

async fn get_one(globals: &Globals, reader: Reader, sink: Sink, file: &str, place: Option<String>) -> Outcome {
    let bar = Progress::bytes(globals, file, Some(reader.len()));
    let mut tally = Tally::default();
    let size = reader.len();
    let writer = Writer::start(sink);
    let sent = writer.object(file, reader, |bytes| bar.add(bytes)).await;
    let arrived = match sent {
        Ok(body) => body.map_err(Failure::from),
        Err(Stopped) => Ok(()),
    };
    let complete = arrived.is_ok();
    writer.finish(complete).await?;
    arrived?;
    tally.add(size);
    drop(bar);
    told(globals, &tally, place)
}

#[allow(clippy::too_many_arguments, reason = "each is another thing of one command")]
async fn get_many(
    globals: &Globals,
    vault: &Vault,
    name: &PrefixName,
    prefix: &Prefix,
    options: GetOptions,
    sink: Sink,
    place: Option<String>,
    join: bool,
) -> Outcome {
    let bar = Progress::objects(globals, &name.to_string(), None);
    let mut objects = vault.get_prefix(&name.dataset_ref(), prefix, options);
    let strip = prefix.start().rfind('/').map_or(0, |slash| slash + 1);
    let writer = Writer::start(sink);
    let mut tally = Tally::default();
    let mut outcome = Ok(());
    while let Some(fetched) = objects.next().await {
        let Fetched { info, body } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        };
        let file = info.path.as_str().get(strip..).unwrap_or(info.path.as_str());
        let sent = match body {
            Ok(Body::Whole(bytes)) => {
                let once = futures::stream::iter([Ok::<Bytes, strongroom_client::Error>(bytes)]);
                writer.object(file, once, |_| {}).await
            }
            Ok(Body::Stream(reader)) => writer.object(file, *reader, |_| {}).await,
            Err(error) => Ok(Err(error)),
        };
        match sent {
            Ok(Ok(())) => {
                tally.add(info.size);
                bar.add(1);
            }
            Ok(Err(error)) => {
                outcome = tally.fail(Failed { path: info.path, error });
                // With a piece missing, what is joined would be something else.
                if outcome.is_err() || join {
                    break;
                }
            }
            Err(Stopped) => break,
        }
    }
    drop(bar);
    let outcome = outcome.and_then(|()| tally.finish());
    writer.finish(outcome.is_ok()).await?;
    if outcome.is_ok() && tally.done == 0 {
        return Err(Failure::new(Reason::NotFound, format!("there is nothing under {name}"), "check the name with ls"));
    }
    // One joined file that is not complete is not there.
    if outcome.is_ok() || !join {
        told(globals, &tally, place)?;
    }
    outcome
}
