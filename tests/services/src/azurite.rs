//! azurite: an Azure Blob Storage in memory, with as many containers as tests ask for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::{self, request};
use crate::watched::Watched;
use crate::{find, free_port};

/// What to do about a machine without it.
const MISSING: &str = "azurite-blob is not installed: tests/services/install";
/// The account of every emulator.
const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which everybody knows.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The version of the protocol that is spoken here.
const VERSION: &str = "2021-08-06";

/// An Azure on a free port; ended when it is dropped.
pub struct Azurite {
    port: u16,
    _server: Watched,
}

impl Azurite {
    /// Starts one.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub fn start() -> Self {
        let program = find::azurite().expect(MISSING);
        let folder = tempfile::Builder::new().prefix("azurite-").tempdir().unwrap().keep();
        for _ in 0..10 {
            let port = free_port();
            let log = std::fs::File::create(folder.join("log")).unwrap();
            let port_text = port.to_string();
            let mut arguments = vec![program.to_str().unwrap(), "--blobHost", "127.0.0.1", "--blobPort", &port_text];
            arguments.extend(["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]);
            let server = Watched::start(&folder, "TERM", &arguments, |command| {
                command.stdout(log.try_clone().unwrap()).stderr(log);
            });
            let said = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            if http::await_answer(port, &|| said().contains("EADDRINUSE"), &said) {
                return Self { port, _server: server };
            }
            server.end();
        }
        panic!("azurite finds no port");
    }

    /// One for all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty container; its name.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn container(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("vault-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        let signed =
            format!("x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container");
        // Method, then what is empty here: encoding, language, length, digest, type, date, conditions, range.
        let signed = format!("PUT{}{signed}", "\n".repeat(12));
        let key = data_encoding::BASE64.decode(KEY.as_bytes()).unwrap();
        let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), signed.as_bytes());
        let authorization = format!("SharedKey {ACCOUNT}:{}", data_encoding::BASE64.encode(mac.as_ref()));
        let headers = [("x-ms-date", date), ("x-ms-version", VERSION), ("authorization", &authorization)];
        let answer = request(self.port, "PUT", &format!("/{ACCOUNT}/{name}?restype=container"), &headers, b"");
        assert_eq!(answer.status, 201, "{answer:?}");
        name
    }

    /// What reaches it, by the names of `object_store`'s options. `port` is its own, or a proxy's in front of it.
    pub fn options(port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("azure_storage_endpoint", format!("http://127.0.0.1:{port}/{ACCOUNT}")),
            ("azure_allow_http", "true".to_owned()),
            ("azure_storage_account_name", ACCOUNT.to_owned()),
            ("azure_storage_account_key", KEY.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::on_azurite! {
        #[test]
        fn it_starts_makes_containers_and_ends() {
            let azurite = Azurite::start();
            assert_ne!(azurite.container(), azurite.container());
            let port = azurite.port();
            drop(azurite);
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        }
    }
}
