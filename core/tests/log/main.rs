//! Logs as files: tiles, checkpoints, proofs, held against published vectors, another program, and whoever changes them.

mod others;
mod proofs;
mod sample;
mod tampered;
mod vectors;
