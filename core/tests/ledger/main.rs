//! Replay: what honest ledgers come to, and what becomes of tampered ones.

mod builder;
mod erased;
mod formats;
mod generated;
mod honest;
mod rules;
mod story;
