//! Replay: what honest ledgers come to, and what becomes of tampered ones.

mod blast;
mod broken_entries;
mod broken_reads;
mod broken_writes;
mod builder;
mod erased;
mod evidence;
mod exposure;
mod formats;
mod generated;
mod honest;
mod memory;
mod model;
mod operators;
mod resumed;
mod rules;
mod story;
