//! A monitor that says to others what it saw: it cosigns the checkpoints that it verified.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom_client::Vault;
use strongroom_client::log::LogCheckpoint;
use strongroom_core::ledger::cosign::{MAX_KEY, Witness};
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;
use zeroize::Zeroizing;

use crate::exit::{Failure, Outcome};
use crate::output::note;
use crate::private;
use crate::when;

/// How often checkpoints are cosigned, at most.
const EVERY: Duration = Duration::from_secs(10);

/// The witness, and when it last signed.
pub(super) struct Cosigner {
    witness: Witness,
    signed: Option<Instant>,
    /// Whether a checkpoint waits for its signature.
    owed: bool,
}

impl Cosigner {
    /// The witness of this name whose key is in this file; made if there is none.
    pub(super) fn open(name: &str, file: &Path) -> Outcome<Self> {
        let failed = |error: &io::Error| Failure::file(file, error);
        let witness = match File::open(file) {
            Ok(open) => {
                let mut text = Zeroizing::new(String::new());
                open.take(2 * MAX_KEY as u64).read_to_string(&mut text).map_err(|error| failed(&error))?;
                let none = || {
                    let detail = format!("{} is not the key of a witness called {name}", file.display());
                    Failure::new(Reason::PreconditionFailed, detail, "name another file, or the witness that it is of")
                };
                Witness::from_text(&text).filter(|own| own.public().name() == name).ok_or_else(none)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::made(name, file)?,
            Err(error) => return Err(failed(&error)),
        };
        note(&format!("note: cosigning as {}", witness.public()));
        Ok(Self { witness, signed: None, owed: false })
    }

    fn made(name: &str, file: &Path) -> Outcome<Witness> {
        let random = |error: strongroom_core::keys::secret::RandomError| {
            Failure::new(Reason::Internal, error.to_string(), "try again")
        };
        let none =
            || Failure::usage("a witness's name has no spaces and no +", "choose one such as watch.acme.example");
        let witness = Witness::generate(name).map_err(random)?.ok_or_else(none)?;
        private::file(file, witness.to_text().as_bytes()).map_err(|error| Failure::file(file, &error))?;
        Ok(witness)
    }

    /// Cosigns the newest checkpoint, if it is new or an older one is owed, and it is time for it.
    ///
    /// # Errors
    /// The vault refuses it. That it cannot be reached is no failure: it is tried again.
    pub(super) async fn cosign(
        &mut self,
        vault: &Vault,
        tenant: &TenantName,
        newest: &LogCheckpoint,
        is_new: bool,
        now: bool,
    ) -> Outcome {
        self.owed |= is_new;
        if !self.owed || !now && self.signed.is_some_and(|signed| signed.elapsed() < EVERY) {
            return Ok(());
        }
        let time = u64::try_from(when::now().as_second()).unwrap_or_default();
        let cosigned = self.witness.cosign(&newest.note, time);
        let cosigned =
            cosigned.map_err(|error| Failure::new(Reason::Integrity, error.to_string(), "tell the operator"))?;
        match vault.cosign(tenant, self.witness.public(), cosigned.into_bytes().into()).await {
            Ok(()) => {
                (self.owed, self.signed) = (false, Some(Instant::now()));
                Ok(())
            }
            Err(error) if super::is_passing(error.reason()) && !now => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
