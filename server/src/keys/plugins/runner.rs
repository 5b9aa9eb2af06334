//! The other process: it runs one plugin by `age`, says what came of it, and ends with all that it started.

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use age::plugin::{self, IdentityPluginV1, RecipientPluginV1};
use age::secrecy::SecretString;
use age::{DecryptError, EncryptError, Identity, Recipient};
use age_core::format;
use rustix::process::{Signal, WaitOptions, getpgrp, getpid, kill_current_process_group, wait};
use zeroize::Zeroizing;

use super::job::{self, Hidden, Job, Said};
use super::one_line;
use crate::process::harden;

/// The longest job.
const MAX_JOB: u64 = 1 << 20;
/// How long a plugin that has answered may take to end by itself.
const LINGER: Duration = Duration::from_secs(1);

/// Does the job on standard input, and says on standard output what came of it.
pub fn run() -> ExitCode {
    harden();
    let mut line = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let read = io::stdin().lock().take(MAX_JOB).read_until(b'\n', &mut line);
    let Some(job) = read.ok().and_then(|_| serde_json::from_slice::<Job>(&line).ok()) else {
        // Somebody tries it by hand.
        return ExitCode::from(2);
    };
    std::thread::spawn(|| {
        // It ends when whoever asked is gone.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        end();
    });
    let said = work(&job);
    if !say(&said) {
        return ExitCode::FAILURE;
    }
    let_go();
    ExitCode::SUCCESS
}

/// Ends this process, and whatever runs in its group.
fn end() {
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    std::process::exit(1);
}

/// Waits until the plugin has ended: it may still have a device to give back.
fn let_go() {
    let until = Instant::now() + LINGER;
    while let Ok(ended) = wait(WaitOptions::NOHANG) {
        if ended.is_none() {
            if Instant::now() > until {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn say(said: &Said) -> bool {
    let mut line = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut *line, said).is_ok() && {
        line.push(b'\n');
        out.write_all(&line).and_then(|()| out.flush()).is_ok()
    }
}

fn work(job: &Job) -> Said {
    match job {
        Job::Wrap { plugin, to, is_identity, file_key } => {
            let Some(file_key) = job::show(file_key) else { return broken("the file's key is none") };
            match wrap(plugin, to.text(), *is_identity, &file_key) {
                Ok((stanzas, labels)) => Said::Wrapped {
                    stanzas: stanzas.iter().map(job::Stanza::from).collect(),
                    labels: labels.into_iter().collect(),
                },
                Err(error @ EncryptError::Plugin(_)) => Said::Refused { why: one_line(&error.to_string()) },
                Err(error) => broken(&error.to_string()),
            }
        }
        Job::Open { plugin, identity, stanzas, secret } => {
            let stanzas = stanzas.iter().map(|stanza| format::Stanza::try_from(stanza.clone()));
            let Ok(stanzas) = stanzas.collect::<Result<Vec<_>, _>>() else { return broken("a stanza is none") };
            match open(plugin, identity.text(), secret.as_ref(), &stanzas) {
                None => Said::NotItsOwn,
                Some(Ok(key)) => Said::Opened { file_key: job::hide(&key) },
                Some(Err(error @ DecryptError::Plugin(_))) => Said::Refused { why: one_line(&error.to_string()) },
                Some(Err(error)) => broken(&error.to_string()),
            }
        }
    }
}

fn broken(why: &str) -> Said {
    Said::Broken { why: one_line(why) }
}

fn wrap(
    name: &str,
    to: &str,
    is_identity: bool,
    file_key: &format::FileKey,
) -> Result<(Vec<format::Stanza>, HashSet<String>), EncryptError> {
    let none = |why: &'static str| EncryptError::Io(io::Error::new(io::ErrorKind::InvalidInput, why));
    let (mut recipients, mut identities) = (Vec::new(), Vec::new());
    if is_identity {
        identities.push(to.parse::<plugin::Identity>().map_err(none)?);
    } else {
        recipients.push(to.parse::<plugin::Recipient>().map_err(none)?);
    }
    let plugin = RecipientPluginV1::new(name, &recipients, &identities, Asked(None));
    plugin.map_err(EncryptError::PluginResolve)?.wrap_file_key(file_key)
}

fn open(
    name: &str,
    identity: &str,
    secret: Option<&Hidden>,
    stanzas: &[format::Stanza],
) -> Option<Result<format::FileKey, DecryptError>> {
    let failed = |why: String| Some(Err(DecryptError::Io(io::Error::new(io::ErrorKind::InvalidInput, why))));
    let identity = match identity.parse::<plugin::Identity>() {
        Ok(identity) => identity,
        Err(why) => return failed(why.to_owned()),
    };
    let secret = secret.map(|secret| SecretString::from(secret.text().to_owned()));
    match IdentityPluginV1::new(name, &[identity], Asked(secret)) {
        Ok(plugin) => plugin.unwrap_stanzas(stanzas),
        Err(error) => failed(error.to_string()),
    }
}

/// What a plugin that asks is told: the secret, if there is one. Nobody sits before the server whom it could ask for more.
#[derive(Clone)]
struct Asked(Option<SecretString>);

impl age::Callbacks for Asked {
    fn display_message(&self, message: &str) {
        say(&Said::Message { text: one_line(message) });
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, _: &str) -> Option<SecretString> {
        self.0.clone()
    }
}
