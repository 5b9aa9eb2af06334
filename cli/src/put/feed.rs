//! From files, which block, to the SDK's stream, which must not: a thread reads ahead, in pieces of bounded size.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use strongroom_core::names::ObjectPath;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::exit::{Failure, Outcome};

/// Objects are handed over together, so that a million small ones do not wake two threads a million times.
const PIECE: usize = 1024 * 1024;
const PIECE_OBJECTS: usize = 1024;
/// Pieces read ahead.
const AHEAD: usize = 2;

type Object = (ObjectPath, Bytes);

/// The thread that reads.
pub(crate) struct Source(JoinHandle<Outcome>);

impl Source {
    /// What ended it.
    pub(crate) async fn finish(self) -> Outcome {
        let ended = |error: tokio::task::JoinError| Failure::stdio(&std::io::Error::other(error));
        self.0.await.map_err(ended)?
    }
}

/// Starts a thread that opens the objects and reads them one by one. At the first that cannot be read the stream ends, and
/// [`Source::finish`] says why.
pub(crate) fn feed<I>(open: impl FnOnce() -> Outcome<I> + Send + 'static) -> (impl Stream<Item = Object> + Send, Source)
where
    I: Iterator<Item = Outcome<Object>>,
{
    let (send, receive) = mpsc::channel(AHEAD);
    let source = tokio::task::spawn_blocking(move || read(open()?, &send));
    let pieces = futures::stream::unfold(receive, async |mut receive: mpsc::Receiver<Vec<Object>>| {
        receive.recv().await.map(|piece| (piece, receive))
    });
    (pieces.flat_map(futures::stream::iter), Source(source))
}

fn read(objects: impl Iterator<Item = Outcome<Object>>, send: &mpsc::Sender<Vec<Object>>) -> Outcome {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for object in objects {
        let object = object?;
        bytes += object.1.len();
        piece.push(object);
        if bytes >= PIECE || piece.len() >= PIECE_OBJECTS {
            bytes = 0;
            // Nobody wants more: whoever stopped knows why.
            if send.blocking_send(std::mem::take(&mut piece)).is_err() {
                return Ok(());
            }
        }
    }
    if !piece.is_empty() {
        let _ = send.blocking_send(piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::reason::Reason;

    fn object(number: usize) -> Outcome<Object> {
        Ok((format!("{number}").parse().unwrap(), Bytes::from(vec![0; 10])))
    }

    #[tokio::test]
    async fn all_objects_arrive_in_order() {
        let (objects, source) = feed(|| Ok((0..5000).map(object)));
        let paths: Vec<_> = objects.map(|(path, _)| path.to_string()).collect().await;
        assert_eq!(paths, (0..5000).map(|number| number.to_string()).collect::<Vec<_>>());
        source.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_ends_the_stream_and_is_told() {
        let failing =
            |number| if number == 7 { Err(Failure::new(Reason::Internal, "why", "")) } else { object(number) };
        let (objects, source) = feed(move || Ok((0..10).map(failing)));
        assert!(objects.count().await <= 7);
        assert_eq!(source.finish().await.unwrap_err().detail, "why");
    }
}
