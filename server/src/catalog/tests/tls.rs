//! TLS to a real PostgreSQL: its certificate and its name are checked, and nothing goes in the clear.

use data_encoding::BASE64_MIME;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, SerialNumber,
};
use strongroom_core::identity::Identity;
use strongroom_test_services::{Postgres, on_postgres};

use super::*;

/// Who issues certificates.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, Identity>,
}

impl Authority {
    fn new() -> Self {
        let key = Identity::generate().unwrap();
        let mut parameters = parameters(&key, Vec::new());
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// Its own certificate in a file, and the parameters of a URL that trust nobody else.
    fn trusted(&self, folder: &tempfile::TempDir) -> String {
        let file = folder.path().join("authority.pem");
        std::fs::write(&file, pem(&self.certificate)).unwrap();
        format!("?sslmode=verify-full&sslrootcert={}", file.display())
    }

    /// A server whose certificate has these names.
    fn server(&self, names: &[&str]) -> Postgres {
        let key = Identity::generate().unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = parameters(&key, names).signed_by(&key, &self.issuer).unwrap();
        Postgres::start_with_tls(&pem(&certificate), &key.to_pem())
    }
}

fn parameters(key: &Identity, names: Vec<String>) -> CertificateParams {
    let mut parameters = CertificateParams::new(names).unwrap();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, key.fingerprint().to_string());
    parameters.distinguished_name = name;
    parameters.serial_number = Some(SerialNumber::from(1_u64));
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(key.fingerprint().as_bytes()[..20].to_vec());
    parameters
}

fn pem(certificate: &Certificate) -> String {
    let text = BASE64_MIME.encode(certificate.der());
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", text.replace('\r', "").trim_end())
}

async fn refused(url: &str) -> String {
    let error = Catalog::open(url).await.err().unwrap_or_else(|| panic!("{url} was opened"));
    assert_eq!(error.reason(), Reason::Unavailable, "{url}: {error}");
    error.to_string()
}

on_postgres! {
    #[tokio::test]
    async fn only_the_right_server_is_spoken_to() {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let postgres = authority.server(&["127.0.0.1"]);
        let (url, trusted) = (postgres.database(), authority.trusted(&folder));

        let catalog = Catalog::open(&format!("{url}{trusted}")).await.unwrap();
        catalog.bind_vault(VaultId::from_bytes([1; 16])).await.unwrap();
        let sessions = "SELECT string_agg(DISTINCT ssl::text, ',') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                        WHERE application_name = 'strongroom'";
        assert_eq!(postgres.run("postgres", sessions), "true", "every connection is inside TLS");
        catalog.close().await;

        // It does not speak in the clear, and what a machine trusts by itself does not vouch for it.
        let clear = refused(&format!("{url}?sslmode=disable")).await;
        assert!(clear.contains("no encryption"), "{clear}");
        refused(&format!("{url}?sslmode=verify-full")).await;

        let (elsewhere, other) = (tempfile::tempdir().unwrap(), Authority::new());
        let wrong = refused(&format!("{url}{}", other.trusted(&elsewhere))).await;
        assert!(wrong.contains("certificate"), "{wrong}");
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_none() {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let postgres = authority.server(&["db.example.org"]);
        let (url, trusted) = (postgres.database(), authority.trusted(&folder));
        let wrong = refused(&format!("{url}{trusted}")).await;
        assert!(wrong.contains("certificate"), "{wrong}");
        // What names no server still asks who issued it.
        Catalog::open(&format!("{url}{}", trusted.replace("verify-full", "verify-ca"))).await.unwrap();
    }
}
