//! The command line as a tree: what there is to say, and to whom it goes.

use clap::{Parser, Subcommand};

use crate::exit::Outcome;
use crate::globals::Globals;
use crate::{
    audit, cat, dataset, demo, get, grant, identity, incident, init, key, ledger, login, ls, migrate, policy, put,
    recover, rm, root, serve, shell, stat, tenant, unlock, vault_key, vendor,
};

/// A confidential training-dataset vault with access audit.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, arg_required_else_help = true, max_term_width = 120)]
#[command(after_help = "\
Names: acme (a tenant), acme/labelco (a vendor), acme/rlhf (a dataset), acme/rlhf/math/000007.json (an object),
acme/rlhf/math/ (a folder), 'acme/rlhf/math/0000*' (all that starts so).

Exit codes: 0 done, 1 other, 2 usage, 3 not found or precondition, 4 denied, 5 integrity, 6 unavailable.

Examples:
  strongroom demo
  strongroom init ./vault && strongroom serve ./vault --listen 127.0.0.1:7443")]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Init(init::Init),
    Serve(serve::Serve),
    Unlock(unlock::Unlock),
    #[command(subcommand)]
    Root(root::Root),
    #[command(subcommand)]
    VaultKey(vault_key::VaultKey),
    MigrateCatalog(migrate::MigrateCatalog),
    Recover(recover::Recover),
    Login(login::Login),
    Whoami(login::WhoAmI),
    #[command(subcommand)]
    Identity(identity::Identity),
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    #[command(subcommand)]
    Vendor(vendor::Vendor),
    #[command(subcommand)]
    Dataset(dataset::Dataset),
    Put(put::Put),
    Get(get::Get),
    Cat(cat::Cat),
    Ls(ls::Ls),
    Stat(stat::Stat),
    Rm(rm::Rm),
    #[command(subcommand)]
    Grant(grant::Grant),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    #[command(subcommand)]
    Incident(incident::Incident),
    Completions(shell::Completions),
    Man(shell::Man),
}

impl Cli {
    /// Does what was said.
    ///
    /// # Errors
    /// What came in the way.
    pub fn run(self) -> Outcome {
        let globals = self.globals;
        match self.verb {
            Verb::Demo(verb) => verb.run(&globals),
            Verb::Init(verb) => verb.run(&globals),
            Verb::Serve(verb) => verb.run(&globals),
            Verb::Unlock(verb) => verb.run(&globals),
            Verb::Root(verb) => verb.run(&globals),
            Verb::VaultKey(verb) => verb.run(&globals),
            Verb::MigrateCatalog(verb) => verb.run(&globals),
            Verb::Recover(verb) => verb.run(&globals),
            Verb::Login(verb) => verb.run(&globals),
            Verb::Whoami(verb) => verb.run(&globals),
            Verb::Identity(verb) => verb.run(&globals),
            Verb::Tenant(verb) => verb.run(&globals),
            Verb::Vendor(verb) => verb.run(&globals),
            Verb::Dataset(verb) => verb.run(&globals),
            Verb::Put(verb) => verb.run(&globals),
            Verb::Get(verb) => verb.run(&globals),
            Verb::Cat(verb) => verb.run(&globals),
            Verb::Ls(verb) => verb.run(&globals),
            Verb::Stat(verb) => verb.run(&globals),
            Verb::Rm(verb) => verb.run(&globals),
            Verb::Grant(verb) => verb.run(&globals),
            Verb::Key(verb) => verb.run(&globals),
            Verb::Policy(verb) => verb.run(&globals),
            Verb::Audit(verb) => verb.run(&globals),
            Verb::Ledger(verb) => verb.run(&globals),
            Verb::Incident(verb) => verb.run(&globals),
            Verb::Completions(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
        }
    }
}

#[cfg(test)]
mod tests;
