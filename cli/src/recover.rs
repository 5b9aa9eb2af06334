//! `recover`: objects opened with an identity of the escrow, out of an export and the blobs alone.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::SecretString;
use serde::Serialize;
use strongroom_client::PrefixName;
use strongroom_core::escrow::ExportedObject;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use strongroom_server::recover::{RecoverError, Recovery, open_blobs};

use crate::amount::{Size, counted};
use crate::connection::passphrase;
use crate::exit::{Failure, Outcome};
use crate::folder::Folder;
use crate::globals::Globals;
use crate::name;
use crate::output::{note, printable};
use crate::progress::Progress;
use crate::writer::{Sink, Stopped, Writer, say_plaintext};

/// Open objects without any server: with an identity of the tenant's escrow, an export (`key escrow TENANT --export DIR`) and the
/// blobs. Every digest is checked. What is written is plaintext, DATASET/PATH below the folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom recover --identity lab-escrow.txt --catalog ./acme-catalog --blobs file:/mnt/vault/blobs -o ./acme
  strongroom recover --identity lab-escrow.txt --catalog ./acme-catalog --blobs s3://bucket/prefix acme/rlhf/math/ -o ./math")]
pub struct Recover {
    /// What of it: TENANT, or TENANT/DATASET/PREFIX; all if nothing is said.
    name: Option<String>,
    /// The file with the age identity: a native one, or a plugin's, which is asked for it here (age-plugin-NAME on the PATH).
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The folder of the export.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Where the blobs are, as the server's configuration says: file:PATH, s3://…, az://…, gs://…; what a bucket needs beside comes from
    /// its provider's variables (AWS_…, AZURE_…, GOOGLE_…).
    #[arg(long, value_name = "URL")]
    blobs: String,
    /// The folder for the plaintext.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// What `recover` prints.
#[derive(Debug, Serialize)]
struct Recovered {
    objects: u64,
    bytes: u64,
    failed: u64,
    out: String,
}

impl Recover {
    /// Does it.
    ///
    /// # Errors
    /// The export, the identity or the blobs are not what they should be; some object did not open.
    pub fn run(self, globals: &Globals) -> Outcome {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| Failure::stdio(&error))?.block_on(self.recover(globals))
    }

    async fn recover(self, globals: &Globals) -> Outcome {
        let recovery = Recovery::open(&self.catalog, &self.identity, Person::default())?;
        let wanted = self.wanted(&recovery.head().name)?;
        let blobs = open_blobs(&self.blobs)?;
        let writer = Writer::start(Sink::Folder(Folder::at(&self.out)));
        let bar = Progress::objects(globals, "recovering", None);
        let (mut done, mut bytes, mut failed) = (0_u64, 0_u64, 0_u64);
        let mut first: Option<Failure> = None;
        for object in recovery.objects()? {
            let object = object?;
            if !object.visible || !wanted(&object) {
                continue;
            }
            let (name, size) = (format!("{}/{}", object.dataset_name, object.path), object.size);
            let read = match recovery.read(&blobs, object).await {
                Ok(body) => writer.object(&name, body, |_| {}).await,
                Err(error) => Ok(Err(error)),
            };
            match read {
                Ok(Ok(())) => {
                    (done, bytes) = (done + 1, bytes + size);
                    bar.add(1);
                }
                Ok(Err(error)) => {
                    failed += 1;
                    note(&format!("{} was not recovered: {}", printable(&name), printable(&error.to_string())));
                    first.get_or_insert_with(|| error.into());
                }
                Err(Stopped) => break,
            }
        }
        drop(bar);
        writer.finish(true).await?;
        let out = self.out.display().to_string();
        if done > 0 {
            say_plaintext(&out, done, bytes);
        }
        if let Some(failure) = first {
            return Err(
                failure.of(&format!("{failed} of {} not recovered, the first", counted(done + failed, "object")))
            );
        }
        if done == 0 {
            return Err(Failure::new(Reason::NotFound, "the export has no such objects", "check the name"));
        }
        let shown = Recovered { objects: done, bytes, failed, out };
        globals.output.result(&shown, |shown| {
            format!("{} ({}) recovered to {}", counted(shown.objects, "object"), Size(shown.bytes), shown.out)
        })
    }

    fn wanted(&self, tenant: &TenantName) -> Outcome<impl Fn(&ExportedObject) -> bool + use<>> {
        let place = match &self.name {
            None => None,
            Some(text) if *text == tenant.as_str() => None,
            Some(text) => {
                let place: PrefixName =
                    name::parse(text).map_err(|why| Failure::usage(why, "name what the export is of"))?;
                if place.tenant != *tenant {
                    let words = format!("the export is of {tenant}, not of {}", place.tenant);
                    return Err(Failure::usage(words, "name what the export is of"));
                }
                Some(place)
            }
        };
        Ok(move |object: &ExportedObject| match &place {
            None => true,
            Some(place) => place.dataset == object.dataset_name && place.prefix.covers(&object.path),
        })
    }
}

/// Whoever runs the command, whom a plugin asks: on a terminal; for a secret, else the first line of standard input, once.
#[derive(Clone, Default)]
struct Person(Arc<Mutex<HashMap<String, SecretString>>>);

impl age::Callbacks for Person {
    fn display_message(&self, message: &str) {
        note(&printable(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.map(|no| format!(", n for {no}")).unwrap_or_default();
        let answer = ask_on_terminal(&format!("{message} (y for {yes}{no})"))?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        ask_on_terminal(description)
    }

    /// The same question comes with each version of the key, and is put once.
    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = known.get(description) {
            return Some(secret.clone());
        }
        let secret = passphrase(&format!("{}: ", printable(description))).ok()?;
        let secret = SecretString::from(secret.as_str().to_owned());
        known.insert(description.to_owned(), secret.clone());
        Some(secret)
    }
}

fn ask_on_terminal(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{}: ", printable(question));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(answer.trim_end_matches(['\n', '\r']).to_owned())
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        let advice = match error {
            RecoverError::File { .. } => "look at the path and its permissions",
            RecoverError::Identity(_) => "name the age identity file of a recipient of the escrow",
            RecoverError::Plugin(_) => "install the plugin, and give it what it asks for",
            RecoverError::Export(_) => "take another copy of the export",
            RecoverError::NotSealed(_) => "take another identity: catalog.json names the recipients",
            RecoverError::Object(_) => "take another copy of the blobs or of the export",
            RecoverError::Blob(_) => "look at the URL of the blobs, and at what is there",
        };
        Self::new(error.reason(), error.to_string(), advice)
    }
}
