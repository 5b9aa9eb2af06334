//! What both sides of strongroom and an offline auditor must agree on.
//!
//! No I/O, no clock and no runtime live here: formats, names, decisions, the ledger and its replay are pure functions
//! over bytes. The server records with them, the SDK checks with them, and an auditor proves with them.

pub mod audit;
pub mod call;
pub mod ed25519;
pub mod escrow;
pub mod exact;
pub mod grant;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod names;
pub mod order;
pub mod origin;
pub mod reason;
pub mod sealed;
pub mod session;
pub mod succession;
