//! What passed inside TLS.
//!
//! No relay can stand between a client and the vault to listen: the vault key is pinned and the session is bound to the
//! connection. So the server, when it is built for these tests, hands over the bytes it reads and writes inside TLS. They are
//! HTTP/2: headers are packed, but messages travel as they are, in DATA frames, so that whatever a message holds is found by its
//! bytes wherever a frame does not cut it. [`Wire::messages`] puts the cut pieces together again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use strongroom_server::tap::{Direction, Tap};

/// All bytes of all connections of a vault. Clones share them.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Heard>>);

/// By the connection's other end, and whether it was said to the server.
type Heard = BTreeMap<(SocketAddr, bool), Vec<u8>>;

impl Tap for Wire {
    fn heard(&self, connection: SocketAddr, direction: Direction, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap();
        heard.entry((connection, direction == Direction::In)).or_default().extend_from_slice(bytes);
    }
}

impl Wire {
    /// How many bytes passed.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Whether nothing passed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every byte that passed, as it passed: one text for each connection and direction.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    /// The bodies of all requests and answers: one text for each stream and direction, without the frames' cuts.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let heard = self.0.lock().unwrap();
        heard.iter().flat_map(|((_, inward), bytes)| bodies(bytes, *inward)).collect()
    }
}

/// The 24 bytes that a client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The type of a DATA frame, and its flag that says that it is padded (RFC 9113 §6.1).
const DATA: u8 = 0;
const PADDED: u8 = 8;

/// The DATA of each stream of one direction of an HTTP/2 connection, laid end to end.
fn bodies(bytes: &[u8], inward: bool) -> Vec<Vec<u8>> {
    let mut rest = if inward { bytes.strip_prefix(PREFACE).expect("HTTP/2") } else { bytes };
    let mut streams: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    // Length (3), type, flags, stream (4), then that many bytes (RFC 9113 §4.1). The last frame may be cut off.
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, after) = after.split_at(len.min(after.len()));
        if head[3] == DATA {
            assert_eq!(head[4] & PADDED, 0, "hyper does not pad");
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            streams.entry(stream).or_default().extend_from_slice(payload);
        }
        rest = after;
    }
    streams.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_put_together_again() {
        let frame = |kind: u8, stream: u8, payload: &[u8]| {
            [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, stream], payload].concat()
        };
        let bytes = [frame(1, 1, b"head"), frame(0, 1, b"one "), frame(0, 3, b"other"), frame(0, 1, b"text")].concat();
        assert_eq!(bodies(&bytes, false), [b"one text".to_vec(), b"other".to_vec()]);
        assert_eq!(bodies(&[PREFACE, &bytes[..bytes.len() - 2]].concat(), true)[0], b"one te");
    }
}
