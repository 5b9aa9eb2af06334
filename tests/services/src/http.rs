//! As much of HTTP as it takes to ask an emulator for a bucket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a service may take to start: Python and Node do, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request and reads all of the answer.
pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(port, method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    head += &format!("content-length: {}\r\n\r\n", body.len());
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no answer of HTTP"))?;
    Ok(Answer { status, head, body: body.get(4..).unwrap_or_default().to_vec() })
}

/// Waits until whoever listens on this port answers; `false` if the port is taken, so that it never will.
pub(crate) fn await_answer(port: u16, taken: &dyn Fn() -> bool, said: &dyn Fn() -> String) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        if taken() {
            return false;
        }
        if ask(port, "GET", "/", &[], b"").is_ok() {
            return true;
        }
        assert!(Instant::now() < until, "it does not start: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
}
