//! moto: an S3 in memory, with as many buckets as tests ask for, and a KMS, with as many keys.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::{self, request};
use crate::watched::Watched;
use crate::{find, free_port};

/// What to do about a machine without it.
const MISSING: &str = "moto_server is not installed: tests/services/install";

/// An S3 on a free port; ended when it is dropped.
pub struct Moto {
    port: u16,
    _server: Watched,
}

impl Moto {
    /// Starts one.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub fn start() -> Self {
        let program = find::moto().expect(MISSING);
        let folder = tempfile::Builder::new().prefix("moto-").tempdir().unwrap().keep();
        for _ in 0..10 {
            let port = free_port();
            let log = std::fs::File::create(folder.join("log")).unwrap();
            let arguments = [program.to_str().unwrap(), "-H", "127.0.0.1", "-p", &port.to_string()];
            let server = Watched::start(&folder, "TERM", &arguments, |command| {
                command.stdout(log.try_clone().unwrap()).stderr(log);
            });
            let said = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            if http::await_answer(port, &|| said().contains("in use"), &said) {
                return Self { port, _server: server };
            }
            server.end();
        }
        panic!("moto_server finds no port");
    }

    /// One for all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty bucket; its name.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn bucket(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("vault-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = request(self.port, "PUT", &format!("/{name}"), &AUTHORISED, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        name
    }

    /// Makes a symmetric key of KMS; its id.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn kms_key(&self) -> String {
        self.kms_key_of("{\"KeyUsage\":\"ENCRYPT_DECRYPT\"}")
    }

    /// Makes a key of KMS that is as this JSON says; its id.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn kms_key_of(&self, what: &str) -> String {
        let made = self.kms("CreateKey", what);
        let id = made.split("\"KeyId\":").nth(1).and_then(|rest| rest.split('"').nth(1));
        id.expect("a key has an id").to_owned()
    }

    /// A call of KMS with this JSON; what it answers.
    ///
    /// # Panics
    /// If it refuses.
    pub fn kms(&self, call: &str, body: &str) -> String {
        let target = format!("TrentService.{call}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &target),
            ("authorization", AUTHORISED_KMS),
        ];
        let answer = request(self.port, "POST", "/", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// What reaches it, by the names of `object_store`'s options. `port` is its own, or a proxy's in front of it.
    pub fn options(port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("aws_endpoint", format!("http://127.0.0.1:{port}")),
            ("aws_allow_http", "true".to_owned()),
            ("aws_region", "us-east-1".to_owned()),
            ("aws_access_key_id", "strongroom".to_owned()),
            ("aws_secret_access_key", "strongroom".to_owned()),
        ]
    }

    /// The names of all objects in a bucket.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let mut objects = Vec::new();
        loop {
            let after = objects.last().map(|last| format!("&start-after={last}")).unwrap_or_default();
            let page = self.page(&format!("/{bucket}?list-type=2{after}"));
            objects.extend(values(&page, "Key"));
            if !is_cut(&page) {
                return objects;
            }
        }
    }

    /// The ids of uploads in parts that were neither completed nor aborted.
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        self.listed(&format!("/{bucket}?uploads"), "UploadId")
    }

    /// How many parts came of those uploads.
    pub fn parts(&self, bucket: &str) -> usize {
        let page = self.page(&format!("/{bucket}?uploads"));
        let uploads = values(&page, "Key").into_iter().zip(values(&page, "UploadId"));
        let parts = |(key, id)| self.listed(&format!("/{bucket}/{key}?uploadId={id}"), "PartNumber").len();
        uploads.map(parts).sum()
    }

    /// The value of a header of an object.
    pub fn header(&self, bucket: &str, object: &str, header: &str) -> Option<String> {
        request(self.port, "HEAD", &format!("/{bucket}/{object}"), &AUTHORISED, b"").header(header)
    }

    /// An object's bytes.
    ///
    /// # Panics
    /// If there is no such object.
    pub fn read(&self, bucket: &str, object: &str) -> Vec<u8> {
        let answer = request(self.port, "GET", &format!("/{bucket}/{object}"), &AUTHORISED, b"");
        assert_eq!(answer.status, 200, "{object}");
        answer.body
    }

    /// Writes an object, as somebody else who can write the bucket would.
    pub fn write(&self, bucket: &str, object: &str, bytes: &[u8]) {
        let answer = request(self.port, "PUT", &format!("/{bucket}/{object}"), &AUTHORISED, bytes);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn listed(&self, path: &str, element: &str) -> Vec<String> {
        let page = self.page(path);
        assert!(!is_cut(&page), "a page is not all");
        values(&page, element)
    }

    fn page(&self, path: &str) -> String {
        let answer = request(self.port, "GET", path, &AUTHORISED, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }
}

/// Whether more comes after a page of a listing.
fn is_cut(page: &str) -> bool {
    page.contains("<IsTruncated>true")
}

/// What stands between the tags of an element, each time that it comes.
fn values(page: &str, element: &str) -> Vec<String> {
    let begin = format!("<{element}>");
    page.split(&begin).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

/// Signed for KMS, and just as true.
const AUTHORISED_KMS: &str =
    "AWS4-HMAC-SHA256 Credential=strongroom/20200101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0";

/// It believes every signature, but wants one.
const AUTHORISED: [(&str, &str); 1] = [(
    "authorization",
    "AWS4-HMAC-SHA256 Credential=strongroom/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
)];

#[cfg(test)]
mod tests {
    use super::*;

    crate::on_moto! {
        #[test]
        fn it_starts_keeps_objects_and_ends() {
            let moto = Moto::start();
            let bucket = moto.bucket();
            assert!(moto.objects(&bucket).is_empty() && moto.uploads(&bucket).is_empty());
            moto.write(&bucket, "a/b", b"bytes");
            assert_eq!(moto.objects(&bucket), ["a/b"]);
            assert_eq!(moto.header(&bucket, "a/b", "content-length").as_deref(), Some("5"));
            assert_eq!(moto.read(&bucket, "a/b"), b"bytes");
            let port = moto.port();
            drop(moto);
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        }
    }
}
