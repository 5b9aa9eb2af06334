//! The gRPC API of strongroom, package `strongroom.v1`, and how its errors travel.

pub mod status;

/// The messages and services as generated from `strongroom/v1/*.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("strongroom.v1");
}

/// The encoded `FileDescriptorSet` of the API, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The most bytes of one message.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The most bytes of data in one frame.
pub const MAX_FRAME: usize = 256 * 1024;

/// The most bytes of sealed objects in one batch.
pub const MAX_BATCH: usize = 3_500_000;

/// The DNS name in every node's certificate.
pub const SERVER_NAME: &str = "node.strongroom.internal";
