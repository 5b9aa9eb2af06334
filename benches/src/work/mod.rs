//! What is measured.

pub mod appends;
pub mod catalog;
pub mod engines;
pub mod exposure;
pub mod grants;
pub mod incident;
pub mod large;
pub mod ledger;
pub mod matching;
pub mod reads;
pub mod rotation;
pub mod small;

use std::path::PathBuf;

/// Where and how often to measure.
pub struct Setting {
    pub binary: PathBuf,
    pub folder: PathBuf,
    pub runs: usize,
}
