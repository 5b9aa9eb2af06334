//! A vault to measure: the real binary in a process of its own, on a free port.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use strongroom_client::{Connect, Fingerprint, Home, Identity, TenantName, Vault};

use crate::Result;
use crate::work::Setting;

/// Where [`Running::envs`] keeps the admin's identity, in the vault's folder.
const ADMIN: &str = "admin.pem";

/// A running server, with an admin of its one tenant connected.
pub struct Running {
    server: Child,
    binary: PathBuf,
    folder: PathBuf,
    admin: Identity,
    pub address: String,
    pub key: Fingerprint,
    pub lab: Vault,
    pub tenant: TenantName,
}

impl Running {
    /// Makes a vault in a new folder, serves it, and creates the tenant `acme` with the dataset `bench`.
    pub async fn start(setting: &Setting, name: &str) -> Result<Self> {
        Self::start_on(setting, name, None).await
    }

    /// As [`Running::start`], with the catalog in the database of this URL if there is one.
    pub async fn start_on(setting: &Setting, name: &str, catalog: Option<&str>) -> Result<Self> {
        Self::start_in(setting, &setting.folder.join(name), catalog).await
    }

    /// As [`Running::start_on`], in this new folder.
    pub async fn start_in(setting: &Setting, folder: &Path, catalog: Option<&str>) -> Result<Self> {
        let folder = folder.to_owned();
        let made = Command::new(&setting.binary).arg("init").arg(&folder).stdout(Stdio::null()).status()?;
        if !made.success() {
            return Err("strongroom init failed".into());
        }
        let catalog: Vec<_> = catalog.into_iter().map(|url| ("STRONGROOM_CATALOG_URL", url)).collect();
        let (server, address, key) = serve(&setting.binary, &folder, &catalog)?;
        let operator = Connect::from_home(&Home::open(folder.join("operator")))?.open().await?;
        let identity = Identity::generate()?;
        let tenant: TenantName = "acme".parse()?;
        operator.create_tenant(&tenant, &[identity.fingerprint()]).await?;
        let lab = Connect::to(&address, key, copy(&identity)?).open().await?;
        lab.create_dataset(&"acme/bench".parse()?).await?;
        Ok(Self { server, binary: setting.binary.clone(), folder, admin: identity, address, key, lab, tenant })
    }

    /// Serves a vault that was measured before, whose admin's identity was kept in its folder by [`Running::envs`].
    pub async fn open(setting: &Setting, folder: &Path) -> Result<Self> {
        let (server, address, key) = serve(&setting.binary, folder, &[])?;
        let admin = Identity::from_pem(&std::fs::read_to_string(folder.join(ADMIN))?)?;
        let lab = Connect::to(&address, key, copy(&admin)?).open().await?;
        let (binary, folder) = (setting.binary.clone(), folder.to_owned());
        Ok(Self { server, binary, folder, admin, address, key, lab, tenant: "acme".parse()? })
    }

    /// Kills the server and starts it again, on another port; how long it took until it listened, in milliseconds. Connections from
    /// before are worth nothing after it.
    pub fn restart(&mut self) -> Result<f64> {
        self.server.kill()?;
        self.server.wait()?;
        let start = Instant::now();
        (self.server, self.address, _) = serve(&self.binary, &self.folder, &[])?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Connects the admin anew.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.lab = Connect::to(&self.address, self.key, copy(&self.admin)?).open().await?;
        Ok(())
    }

    /// Has a command speak with the vault as the admin.
    pub fn envs(&self, command: &mut Command) -> Result<()> {
        let identity = self.folder.join(ADMIN);
        std::fs::write(&identity, self.admin.to_pem().as_bytes())?;
        std::fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        command.env("STRONGROOM_IDENTITY", identity).env("STRONGROOM_SERVER", &self.address);
        command.env("STRONGROOM_SERVER_KEY", self.key.to_string());
        Ok(())
    }

    /// One more connection of the admin.
    pub async fn connect(&self) -> Result<Vault> {
        Ok(Connect::to(&self.address, self.key, copy(&self.admin)?).open().await?)
    }

    /// The vault's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The same identity once more.
pub fn copy(identity: &Identity) -> Result<Identity> {
    Ok(Identity::from_pem(&identity.to_pem())?)
}

/// Serves a vault on a free port, with these variables; the process, its address and the vault key's fingerprint.
pub fn serve(binary: &Path, folder: &Path, variables: &[(&str, &str)]) -> Result<(Child, String, Fingerprint)> {
    let mut server = Command::new(binary)
        .args(["serve".as_ref(), folder.as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()])
        .env("RUST_LOG", "warn")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    let rest = line.trim().strip_prefix("strongroom listening on ").ok_or("the server did not start")?;
    let (address, key) = rest.split_once(", vault key ").ok_or("the server's line is another")?;
    Ok((server, address.to_owned(), key.parse()?))
}
