//! `stat`: what the vault says about an object.

use serde::Serialize;
use strongroom_client::{GetOptions, ObjectInfo, ObjectName};
use strongroom_core::ids::{Digest, Generation, ObjectId};

use crate::amount::Size;
use crate::args::Globals;
use crate::exit::Outcome;
use crate::{name, when};

/// Show an object's size, generation, time and content root. Makes no entry in the ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom stat acme/rlhf/prompts.jsonl")]
pub struct Stat {
    /// TENANT/DATASET/PATH.
    #[arg(value_parser = name::parse::<ObjectName>)]
    object: ObjectName,
    /// A generation, instead of the newest.
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
}

/// An object as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its path in its dataset.
    pub path: String,
    /// Bytes of plaintext.
    pub size: u64,
    /// Its generation.
    pub generation: u64,
    /// When it became visible.
    pub created: String,
    /// The entry that made it visible.
    pub index: u64,
    /// Its ordinal there.
    pub ordinal: u32,
    /// The sealed object.
    pub object_id: ObjectId,
    /// The content root (BLAKE3).
    pub content_root: Digest,
}

impl From<ObjectInfo> for Shown {
    fn from(info: ObjectInfo) -> Self {
        Self {
            path: info.path.to_string(),
            size: info.size,
            generation: info.generation.0,
            created: when::rfc3339(info.created),
            index: info.index.0,
            ordinal: info.ordinal,
            object_id: info.object_id,
            content_root: info.content_root,
        }
    }
}

impl Stat {
    /// Does it.
    ///
    /// # Errors
    /// Not there, or not in scope.
    pub fn run(self, globals: &Globals) -> Outcome {
        let options = GetOptions { generation: self.generation.map(Generation), grant: globals.grant };
        let shown = globals.with_vault(async |vault| Ok(Shown::from(vault.stat(&self.object, options).await?)))?;
        globals.output.result(&shown, |shown| {
            format!(
                "object        {}\nsize          {} ({} bytes)\ngeneration    {}\ncreated       {}, entry {}.{}\n\
                 object id     {}\ncontent root  {}",
                self.object,
                Size(shown.size),
                shown.size,
                shown.generation,
                shown.created,
                shown.index,
                shown.ordinal,
                shown.object_id,
                shown.content_root
            )
        })
    }
}
