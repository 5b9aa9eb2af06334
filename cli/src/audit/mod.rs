//! The ledger, read, and copied to be verified.

pub(crate) mod answered;
pub(crate) mod asked;
mod blast;
pub(crate) mod evidence;
mod export;
mod exported;
pub(crate) mod exposure;
mod line;
mod log;
mod matching;
mod mine;
pub(crate) mod names;
pub mod page;
mod prove;
mod receipt;
mod snapshot;
pub(crate) mod source;
mod tail;
mod verify;
mod watch;

use clap::Subcommand;

use crate::exit::Outcome;
use crate::globals::Globals;

pub use line::line;

/// Read a tenant's ledger, or copy it and verify the copy.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show a tenant's ledger, oldest entry first, narrowed by filters that all must hold.
    ///
    /// A line has the entry's index, its time (UTC), the event, who did it, what it was about, and the grant it was charged to.
    Log(log::Log),
    /// Show what somebody had: the segments that a vendor with all its workers, a key or a grant was released, what was in scope
    /// and was not, which grants are live, and what became of the objects since. What a lab asks first when a vendor was breached.
    ///
    /// It is of all time unless --since or --until narrow it. A release counts whether its bytes arrived or not.
    Exposure(exposure::Exposure),
    /// Show what somebody could take from now on, at most: under the live grants of a vendor with all its workers, a worker or a key,
    /// by what is left of their budgets, by their rates and until they end; and what they had so far.
    Blast(blast::Blast),
    /// Is this leaked sample ours, and who had it? Looks for its lines in datasets, on this machine, and names who was released all of
    /// the segments that they stand in.
    Match(matching::Match),
    /// Show what one's own keys were released, in each tenant: one's own key and, for a vendor's, all keys that the vendor has or
    /// had there. What a vendor asks first when it was breached.
    Mine(mine::Mine),
    /// Follow a tenant's ledger: its newest entries, and new ones as they come under a signed checkpoint.
    ///
    /// Each checkpoint is proven to continue the one before; a ledger that was put back or rewritten ends it with exit code 5.
    Tail(tail::Tail),
    /// Watch a tenant's ledger: verify and replay all of it, step by step, tell chosen entries, and shout if it does not hold.
    ///
    /// Each checkpoint must continue the last one that this monitor saw, under the same key; every entry must hash to what was
    /// signed, and be allowed by the grants and signatures of its moment. What does not hold ends it with exit code 5 and a line
    /// that names the entry and the rule, or the file. It survives restarts, of the server and its own. To admins.
    Watch(watch::Watch),
    /// Copy a tenant's ledger into a folder that can be verified without the vault.
    ///
    /// It waits until a signed checkpoint covers all entries there are, and writes that checkpoint, exactly its files and the key
    /// that signed it. Broken off, or made before, it goes on with what is missing. To admins.
    Export(export::Export),
    /// Write what is in the ledger about one vendor, worker, key or grant into one archive that others can check: entries, proofs,
    /// signatures and the report, and nothing about anybody else.
    Evidence(evidence::Evidence),
    /// Keep the proof that an entry is in a tenant's ledger: a C2SP tlog-proof. For admins, and for whoever did it.
    Prove(prove::Prove),
    /// Verify an exported ledger, offline, and replay it; receipts that `audit prove` or --receipt wrote; or an archive that
    /// `audit evidence` wrote.
    ///
    /// Signature, hashes, tree and private parts are checked, that no file is missing or too many, and then, entry by entry, that
    /// every release was allowed and asked for by the grants and signatures of its moment. Exit code 5 says that it does not hold.
    ///
    /// Without --key, the key that lies beside the ledger is believed: whoever made the folder could have made both. The operator's
    /// `tenant show`, and any export made before, tell the key.
    Verify(verify::Verify),
}

impl Audit {
    /// Does it.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn run(self, globals: &Globals) -> Outcome {
        match self {
            Self::Log(log) => log.run(globals),
            Self::Exposure(exposure) => exposure.run(globals),
            Self::Blast(blast) => blast.run(globals),
            Self::Match(matching) => matching.run(globals),
            Self::Mine(mine) => mine.run(globals),
            Self::Tail(tail) => tail.run(globals),
            Self::Watch(watch) => watch.run(globals),
            Self::Export(export) => export.run(globals),
            Self::Evidence(evidence) => evidence.run(globals),
            Self::Prove(prove) => prove.run(globals),
            Self::Verify(verify) => verify.run(globals),
        }
    }
}
