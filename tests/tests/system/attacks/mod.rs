//! Attacks, each by somebody who holds what the threat model says can be lost: the bucket, the database, the wire, a vendor's keys.
//! Nobody gets a key that was not theirs, nobody is given wrong bytes, and the operator is told.

mod blobs;
mod database;
mod replays;
mod rollback;
mod table;
mod wire;

use strongroom_client::Reason;
use strongroom_proto::v1::get_frame::Frame;
use strongroom_tests::raw::Raw;

use crate::bad_input::{reason, refusal};

/// The frames of a read that came before its end, and how it ended.
pub(crate) async fn frames(raw: &Raw, call: strongroom_proto::v1::SignedCall) -> (Vec<Frame>, Result<(), Reason>) {
    let request = strongroom_proto::v1::GetRequest { call: Some(call), skip: 0 };
    let mut stream = match raw.vault().get(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (Vec::new(), Err(strongroom_tests::raw::failure(status).reason)),
    };
    let mut frames = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => frames.extend(message.frame),
            Ok(None) => return (frames, Ok(())),
            Err(status) => return (frames, Err(strongroom_tests::raw::failure(status).reason)),
        }
    }
}

/// Whether a key parcel is among them.
pub(crate) fn has_keys(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| matches!(frame, Frame::Parcel(_)))
}
