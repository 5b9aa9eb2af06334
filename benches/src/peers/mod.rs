//! What others do with the same bytes on the same machine.

pub mod age;
pub mod raw;
