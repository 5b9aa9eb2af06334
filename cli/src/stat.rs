//! `stat`: what the vault says about an object.

use serde::Serialize;
use strongroom_client::shredding::Shredding;
use strongroom_client::{Error, GetOptions, ObjectInfo, ObjectName, Reason, Vault};
use strongroom_core::ids::{Digest, Generation, ObjectId};

use crate::amount::Size;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
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
    /// To admins, with when it was and what backups hold.
    async fn shredded(&self, vault: &Vault, error: Error) -> Failure {
        let ObjectName { tenant, dataset, path } = &self.object;
        let mut failure = Failure::from(error);
        let shreds = vault.shreds(tenant).await.unwrap_or_default();
        let covers = |shred: &&Shredding| {
            shred.dataset.as_ref().is_none_or(|shredded| shredded == dataset) && shred.prefix.covers(path)
        };
        if let Some(shred) = shreds.iter().find(covers) {
            let gone = match shred.gone_from_backups {
                Some(at) => format!("backups that hold its keys will have aged out {}", when::rfc3339(at)),
                None => "when backups that hold its keys are gone is not known yet".to_owned(),
            };
            failure.detail = format!("shredded by entry {}, {}: {gone}", shred.entry, when::rfc3339(shred.started));
        }
        failure
    }

    /// Does it.
    ///
    /// # Errors
    /// Not there, or not in scope.
    pub fn run(self, globals: &Globals) -> Outcome {
        let options = GetOptions { generation: self.generation.map(Generation), grant: globals.grant };
        let shown = globals.with_vault(async |vault| match vault.stat(&self.object, options).await {
            Ok(info) => Ok(Shown::from(info)),
            Err(error) if error.reason() == Reason::Shredded => Err(self.shredded(vault, error).await),
            Err(error) => Err(Failure::about(&self.object)(error)),
        })?;
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
