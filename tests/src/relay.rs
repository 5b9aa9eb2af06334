//! A relay between clients and a server: one address that stays while servers come and go, and answers that get lost.
//!
//! It copies bytes and understands none of them: TLS ends at its ends. So it can do what a network can, and no more.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A relay that listens on the loopback interface; it ends when it is dropped.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    target: Mutex<Option<SocketAddr>>,
    connections: Mutex<Vec<TcpStream>>,
    greeting: Mutex<Vec<u8>>,
    mute: AtomicBool,
    lost: AtomicUsize,
    ended: AtomicBool,
}

impl Relay {
    /// Starts one that leads to `target`.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { target: Mutex::new(Some(target)), ..State::default() });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = connection {
                    accepting.clone().connect(client);
                }
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads to another server from now on, or to none; connections that stand are cut.
    pub fn lead_to(&self, target: Option<SocketAddr>) {
        *self.state.target.lock().unwrap() = target;
        self.cut();
    }

    /// Says this to the server at the beginning of each connection, before anything that the client says: as a proxy does.
    pub fn greet(&self, bytes: &[u8]) {
        *self.state.greeting.lock().unwrap() = bytes.to_vec();
        self.cut();
    }

    /// Loses whatever the server says from now on, until the connections are cut.
    pub fn lose_answers(&self) {
        self.state.lost.store(0, Ordering::SeqCst);
        self.state.mute.store(true, Ordering::SeqCst);
    }

    /// How many bytes of answers were lost since it was told to lose them.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }

    /// Cuts all connections that stand; new ones hear everything.
    pub fn cut(&self) {
        let mut connections = self.state.connections.lock().unwrap();
        for connection in connections.drain(..) {
            // One that is closed already needs no cut.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Only now: what was to be lost must not slip through.
        self.state.mute.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn connect(self: Arc<Self>, client: TcpStream) {
        let target = *self.target.lock().unwrap();
        // Nobody there: the client's connection is closed, as a port without a listener would refuse it.
        let Some(mut server) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
        if server.write_all(&self.greeting.lock().unwrap()).is_err() {
            return;
        }
        let both = [&client, &server].map(|end| {
            // A peer that is gone already shows when bytes are copied.
            let _ = end.set_nodelay(true);
            end.try_clone()
        });
        let [Ok(client_again), Ok(server_again)] = both else { return };
        let kept = [&client, &server].map(|end| end.try_clone());
        self.connections.lock().unwrap().extend(kept.into_iter().flatten());
        let answers = self.clone();
        std::thread::spawn(move || self.copy(client, server, false));
        std::thread::spawn(move || answers.copy(server_again, client_again, true));
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if answers && self.mute.load(Ordering::SeqCst) {
                self.lost.fetch_add(count, Ordering::SeqCst);
            } else if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
