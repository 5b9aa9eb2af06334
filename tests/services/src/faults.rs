//! A proxy in front of an object store that fails on command: it answers 503, cuts connections before or amid an answer, or says
//! nothing.
//!
//! It understands of HTTP only where a request begins, and closes each connection after its answer, so that every request comes
//! through here as one connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with 503, and never reaches the store.
    Unavailable,
    /// It is answered as AWS does that has had too much of it, and never reaches the store.
    Throttled,
    /// Its connection is cut, and it never reaches the store.
    Cut,
    /// The store carries it out, and the connection is cut instead of its answer.
    LoseAnswer,
    /// So many bytes of the answer, head and all, come through; then the connection is cut.
    CutAfter(usize),
}

/// The proxy; it ends when it is dropped.
pub struct Faults {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: SocketAddr,
    /// What is to come: for requests whose first line contains the text, the fault, so many times.
    planned: Mutex<Vec<(String, Fault, usize)>>,
    seen: Mutex<Vec<String>>,
    failed: AtomicUsize,
    ended: AtomicBool,
}

impl Faults {
    /// Starts one in front of a port of the loopback interface.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            planned: Mutex::default(),
            seen: Mutex::default(),
            failed: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(connection) = connection {
                    let state = accepting.clone();
                    // A connection that breaks is what this is for.
                    std::thread::spawn(move || drop(state.serve(connection)));
                }
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next `times` requests whose first line (`PUT /bucket/name?partNumber=1… HTTP/1.1`) contains `line` fail so.
    pub fn plan(&self, line: &str, fault: Fault, times: usize) {
        self.state.planned.lock().unwrap().push((line.to_owned(), fault, times));
    }

    /// Nothing fails from now on.
    pub fn clear(&self) {
        self.state.planned.lock().unwrap().clear();
    }

    /// How many requests failed so far.
    pub fn failed(&self) -> usize {
        self.state.failed.load(Ordering::SeqCst)
    }

    /// The first lines of all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn next(&self, line: &str) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap();
        let at = planned.iter().position(|(text, _, times)| *times > 0 && line.contains(text.as_str()))?;
        planned[at].2 -= 1;
        self.failed.fetch_add(1, Ordering::SeqCst);
        Some(planned[at].1)
    }

    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, rest) = read_head(&mut client)?;
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().push(line.clone());
        let length = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0_usize);
        let fault = self.next(&line);
        match fault {
            Some(Fault::Cut) => return client.shutdown(Shutdown::Both),
            Some(fault @ (Fault::Unavailable | Fault::Throttled)) => {
                // All of the request first: a connection that is closed with bytes unread is reset, answer and all.
                std::io::copy(&mut (&client).take((length - rest.len().min(length)) as u64), &mut std::io::sink())?;
                let (status, body) = match fault {
                    Fault::Throttled => {
                        ("400 Bad Request", "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}")
                    }
                    _ => ("503 Slow Down", ""),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                client.write_all(answer.as_bytes())?;
                return client.shutdown(Shutdown::Both);
            }
            _ => {}
        }
        let mut server = TcpStream::connect(self.target)?;
        server.write_all(one_request(&head).as_bytes())?;
        server.write_all(&rest)?;
        let wants_word = header(&head, "expect").is_some();
        if wants_word {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        std::io::copy(&mut (&client).take((length - rest.len().min(length)) as u64), &mut server)?;
        let mut allowed = match fault {
            Some(Fault::LoseAnswer) => 0,
            Some(Fault::CutAfter(bytes)) => bytes,
            _ => usize::MAX,
        };
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let passed = count.min(allowed);
            client.write_all(&buffer[..passed])?;
            allowed = allowed.saturating_sub(passed);
            if allowed == 0 && fault == Some(Fault::LoseAnswer) {
                // The rest is read, so that the store is done when the connection is cut.
                continue;
            }
            if allowed == 0 {
                break;
            }
        }
        client.shutdown(Shutdown::Both)
    }
}

fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let (mut read, mut buffer) = (Vec::new(), vec![0; 16_384]);
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..count]);
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), rest));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The request's head, made the only one of its connection.
fn one_request(head: &str) -> String {
    let kept = head.trim_end().lines().filter(|line| {
        let name = line.split_once(':').map(|(name, _)| name.to_ascii_lowercase()).unwrap_or_default();
        name != "connection" && name != "expect"
    });
    kept.chain(["connection: close", "", ""]).collect::<Vec<_>>().join("\r\n")
}
