use super::*;

const OPERATOR: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG_FILE), text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut config = Config::load_with(folder.path(), variables)?;
    config.folder = PathBuf::from("/vault");
    if let CatalogUrl::Sqlite(path) = &mut config.catalog {
        *path = Path::new("/vault").join(path.strip_prefix(folder.path()).unwrap_or(path));
    }
    if let BlobsUrl::File(path) = &mut config.blobs {
        *path = Path::new("/vault").join(path.strip_prefix(folder.path()).unwrap_or(path));
    }
    Ok(config)
}

fn refused(text: &str, variables: &[(&str, &str)], why: &str) {
    let error = load(text, variables).unwrap_err().to_string();
    assert!(error.contains(why), "{error:?} does not say {why:?}");
}

#[test]
fn a_name_is_all_that_must_be_there() {
    let config = load("name = \"a.b-1\"", &[]).unwrap();
    assert_eq!(config.name, "a.b-1");
    assert_eq!(config.listen, DEFAULT_LISTEN);
    assert_eq!(config.catalog, CatalogUrl::Sqlite("/vault/catalog.db".into()));
    assert_eq!(config.blobs, BlobsUrl::File("/vault/blobs".into()));
    assert_eq!(config.limits, Limits::default());
    assert!(config.operators.is_empty());
    refused("", &[], "name: is missing");
}

#[test]
fn every_key_can_come_from_file_and_environment() {
    let text = format!(
        "name = \"a\"\nlisten = \"0.0.0.0:1\"\noperators = [\"{OPERATOR}\"]\n\
         proxies = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
         [catalog]\nurl = \"sqlite:///srv/c.db\"\n[blobs]\nurl = \"file:b\"\n[root]\nprovider = \"file\"\n\
         [limits]\nmax_object = 7\nupload_idle = 8\nmax_connections = 9\nmax_streams = 10\nhandshake = 11\n\
         key_cache = 12\nretention = 13\n"
    );
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.catalog, CatalogUrl::Sqlite("/srv/c.db".into()));
    assert_eq!(config.operators, [OPERATOR.parse().unwrap()]);
    assert_eq!(config.proxies, ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()));
    assert_eq!((config.limits.max_object, config.limits.max_connections), (7, 9));
    assert_eq!(config.limits.key_cache, Duration::from_secs(12));
    assert_eq!(config.limits.retention, Duration::from_secs(13));

    let two = format!("{OPERATOR}, {OPERATOR}");
    let variables = [
        ("STRONGROOM_NAME", "b"),
        ("STRONGROOM_LISTEN", "[::1]:2"),
        ("STRONGROOM_OPERATORS", &two),
        ("STRONGROOM_PROXIES", "192.0.2.1/32"),
        ("STRONGROOM_CATALOG_URL", "sqlite:x.db"),
        ("STRONGROOM_BLOBS_URL", "file:/y"),
        ("STRONGROOM_ROOT_PROVIDER", "file"),
        ("STRONGROOM_ROOT_FILE_KEY", "k.age"),
        ("STRONGROOM_ROOT_FILE_IDENTITY", "/i"),
        ("STRONGROOM_ROOT_PKCS11_MODULE", "/m.so"),
        ("STRONGROOM_ROOT_PKCS11_TOKEN", "t"),
        ("STRONGROOM_ROOT_PKCS11_KEY", "k"),
        ("STRONGROOM_ROOT_PKCS11_PIN_FILE", "pin"),
        ("STRONGROOM_ROOT_AWS_KMS_KEY", "alias/k"),
        ("STRONGROOM_ROOT_AWS_KMS_REGION", "eu-central-1"),
        ("STRONGROOM_ROOT_AWS_KMS_ENDPOINT", "https://kms.example.org"),
        ("STRONGROOM_ESCROW_PLUGINS", "yubikey,se"),
        ("STRONGROOM_METRICS_LISTEN", "9464"),
        ("STRONGROOM_LIMITS_MAX_OBJECT", "70"),
        ("STRONGROOM_LIMITS_UPLOAD_IDLE", "80"),
        ("STRONGROOM_LIMITS_MAX_CONNECTIONS", "90"),
        ("STRONGROOM_LIMITS_MAX_STREAMS", "100"),
        ("STRONGROOM_LIMITS_HANDSHAKE", "110"),
        ("STRONGROOM_LIMITS_KEY_CACHE", "120"),
        ("STRONGROOM_LIMITS_PLUGIN", "125"),
        ("STRONGROOM_LIMITS_RETENTION", "130"),
        ("STRONGROOM_LIMITS_RECENT_ENTRIES", "140"),
        ("STRONGROOM_LIMITS_UNSIGNED", "150"),
        ("STRONGROOM_LIMITS_REKEY_GRACE", "150"),
        ("STRONGROOM_LIMITS_BACKUP_RETENTION", "0"),
        ("STRONGROOM_HOME", "the client's"),
        ("STRONGROOM_ROOT_PASSPHRASE", "no setting"),
        ("STRONGROOM_BLOBS_SERVICE_HOST", "made by Kubernetes"),
        ("PATH", "/bin"),
    ];
    assert_eq!(variables.len() - 4, KEYS.len());
    let config = load(&text, &variables).unwrap();
    assert!(matches!(&config.root, RootProvider::File(file) if file.named && file.identity == Path::new("/i")));
    let with = |provider: &'static str| {
        let mut variables = variables;
        variables[6].1 = provider;
        load(&text, &variables).unwrap().root
    };
    assert!(matches!(with("pkcs11"), RootProvider::Pkcs11(token) if token.token == "t" && token.pin_file.is_some()));
    assert!(matches!(with("aws-kms"), RootProvider::AwsKms(kms) if kms.key == "alias/k" && kms.endpoint.is_some()));
    assert_eq!(config.escrow_plugins, ["yubikey", "se"]);
    assert_eq!(config.metrics, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!((config.name.as_str(), config.listen.port(), config.operators.len()), ("b", 2, 2));
    assert_eq!(config.catalog, CatalogUrl::Sqlite("/vault/x.db".into()));
    assert_eq!(config.blobs, BlobsUrl::File("/y".into()));
    let seconds = Duration::from_secs;
    assert_eq!(
        config.limits,
        Limits {
            max_object: 70,
            upload_idle: seconds(80),
            max_connections: 90,
            max_streams: 100,
            handshake: seconds(110),
            key_cache: seconds(120),
            plugin: seconds(125),
            retention: seconds(130),
            ledger: LedgerLimits { recent: 140, unsigned: seconds(150) },
            rekey_grace: seconds(150),
            backup_retention: Some(seconds(0)),
        }
    );
}

#[test]
fn what_is_unknown_is_refused() {
    refused("name = \"a\"\nlimit = 1", &[], "limit");
    refused("name = \"a\"\n[limits]\nmax_objects = 1", &[], "max_objects");
    refused("name = \"a\"\n[metrics]\nlisten = \"x\"", &[], "metrics.listen: is a port");
    refused("name = \"a\"\n[limits]\nmax_object = \"1\"", &[], "max_object");
    refused("name = \"a\"", &[("STRONGROOM_LIMITS_OBJECT", "1")], "STRONGROOM_LIMITS_OBJECT: no such setting");
}

#[test]
fn wrong_values_are_named_with_their_place() {
    refused("name = \"A\"", &[], "strongroom.toml: name: is 1 to 253");
    refused("name = \"a\"", &[("STRONGROOM_NAME", "")], "STRONGROOM_NAME: name");
    refused("name = \"a\"\n[escrow]\nplugins = [\"../sh\"]", &[], "escrow.plugins: \"../sh\": is a plugin's name");
    refused("name = \"a\"", &[("STRONGROOM_ESCROW_PLUGIN", "x")], "STRONGROOM_ESCROW_PLUGIN: no such setting");
    refused("name = \"a\"\nlisten = \"localhost\"", &[], "listen: is an IP address and a port");
    refused("name = \"a\"\noperators = [\"me\"]", &[], "operators: \"me\"");
    refused("name = \"a\"\nproxies = [\"10.0.0.1/8\"]", &[], "proxies: \"10.0.0.1/8\"");
    refused("name = \"a\"\n[limits]\nhandshake = 0", &[], "limits.handshake: is a number from 1");
    refused("name = \"a\"", &[("STRONGROOM_LIMITS_MAX_STREAMS", "many")], "STRONGROOM_LIMITS_MAX_STREAMS");
    refused("name = \"a\"\n[limits]\nplugin = 601", &[], "limits.plugin: is a number from 1 to 600");
    refused("name = \"a\"\n[catalog]\nurl = \"sqlite:\"", &[], "names no file");
    refused("name = \"a\"\n[catalog]\nurl = \"sqlite://c.db\"", &[], "names no file");
    refused("name = \"a\"\n[catalog]\nurl = \"mysql:x\"", &[], "begins with sqlite:");
    refused("name = \"a\"\n[blobs]\nurl = \"blobs\"", &[], "begins with file:");
    refused("name = \"a\"\n[root]\nprovider = \"none\"", &[], "is no provider");
}

#[test]
fn a_bucket_is_named_with_its_options_and_keeps_their_secrets() {
    let text = "name = \"a\"\n[blobs]\nurl = \"s3://bucket/deep/prefix/\"\n\
                [blobs.options]\naws_secret_access_key = \"hunter2\"\nAWS_ALLOW_HTTP = true\n";
    let config = load(text, &[]).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("s3://bucket/deep/prefix") && shown.contains("aws_secret_access_key"), "{shown}");
    assert!(!shown.contains("hunter2"));
    let BlobsUrl::Bucket(url) = config.blobs else { panic!("{shown}") };
    assert_eq!((url.provider, &url.bucket[..], &url.prefix[..]), (Provider::S3, "bucket", "deep/prefix"));
    assert_eq!(url.options["aws_allow_http"], "true");

    for (url, provider) in [("az://c", Provider::Azure), ("gs://b/p", Provider::Gcs)] {
        let config = load("name = \"a\"", &[("STRONGROOM_BLOBS_URL", url)]).unwrap();
        let BlobsUrl::Bucket(found) = config.blobs else { panic!("{url}") };
        assert_eq!((found.provider, found.to_string()), (provider, url.to_owned()));
    }
    for url in ["s3:bucket", "s3://", "s3:///x", "s3://me:hunter2@bucket", "s3://b?x", "s3://b/p?x", "s3://b/a//b"] {
        refused("name = \"a\"", &[("STRONGROOM_BLOBS_URL", url)], "STRONGROOM_BLOBS_URL: blobs.url: ");
        let error = load("name = \"a\"", &[("STRONGROOM_BLOBS_URL", url)]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let options = "\n[blobs.options]\nazure_storage_account_key = \"x\"";
    refused(&format!("name = \"a\"\n[blobs]\nurl = \"s3://b\"{options}"), &[], "is no option of s3://");
    refused(&format!("name = \"a\"{options}"), &[], "blobs.options: are for buckets");
    refused("name = \"a\"", &[("STRONGROOM_BLOBS_OPTIONS", "x")], "no such setting");
}

#[test]
fn a_database_keeps_its_password() {
    let url = "postgres://me:hunter2@db/x";
    let config = load(&format!("name = \"a\"\n[catalog]\nurl = \"{url}\""), &[]).unwrap();
    assert_eq!(config.catalog, CatalogUrl::Postgres(url.into()));
    assert!(!format!("{config:?}").contains("hunter2"));
    for broken in [
        format!("url = \"{url}"),
        format!("url = \"{url}\" x"),
        format!("urls = \"{url}\""),
        format!("url = [\"{url}\"]"),
    ] {
        let error = load(&format!("name = \"a\"\n[catalog]\n{broken}"), &[]).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("line 3") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_folder_without_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Config::load_with(folder.path(), []).unwrap_err();
    assert_eq!(error.reason(), Reason::NotFound);
    assert!(error.to_string().contains(CONFIG_FILE));
}
