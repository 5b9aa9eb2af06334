//! Everything together: real processes, real TLS, real disks, and the replay of the ledger as the judge.
//!
//! One binary, since links are dear. A module is a subject; its tests stand alone and may run side by side.

mod alarms;
mod answers;
mod attacks;
mod bad_input;
mod crash;
mod crowd;
mod delegation;
mod demo;
mod discovery;
mod escrow;
mod export;
mod exposure;
mod faults;
mod forms;
mod full_disk;
mod incidents;
mod leaving;
mod ledger;
mod limits;
mod log_keys;
mod matching;
mod memory;
mod migrate;
mod nodes;
mod order;
mod page;
mod party;
mod private_parts;
mod readme;
mod reads;
mod receipts;
mod rekey;
mod renewal;
mod retention;
mod root_keys;
mod root_rotation;
mod rotation;
mod secrecy;
mod shred;
mod stop_commands;
mod stopped;
mod told;
mod vault_key;
mod walkthrough;
mod watch;

use strongroom_tests::process::Binary;

/// The command.
const STRONGROOM: Binary = Binary(env!("CARGO_BIN_EXE_strongroom-under-test"));
