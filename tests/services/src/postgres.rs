//! PostgreSQL: one server in a folder of its own, with as many databases as tests ask for.
//!
//! PostgreSQL refuses to run as root, so root's tests run it as `postgres`, or `nobody`. It listens on a free port of the loopback
//! interface and trusts whoever comes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::find;
use crate::watched::Watched;

/// What to do about a machine without it.
const MISSING: &str = "PostgreSQL is not installed: apt-get install postgresql";
/// How long it may take to start; recovery after a kill is part of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who owns the databases.
const USER: &str = "strongroom";

/// A PostgreSQL server; ended when it is dropped, its folder with it.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    owner: Option<(u32, u32)>,
    settings: Vec<String>,
    server: Option<Watched>,
}

impl Postgres {
    /// Starts a server with these settings beside the usual ones, as `name=value`. Commits are durable unless `fsync=off` is said.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with(&std::env::temp_dir(), settings, &[], None)
    }

    /// Starts a server in a folder below `parent` that sets next to nothing aside: what it writes first goes to a log whose pieces are
    /// of 1 MiB, and few of them.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub fn start_small(parent: &Path) -> Self {
        Self::start_with(parent, &["min_wal_size=2MB", "max_wal_size=8MB"], &["--wal-segsize=1"], None)
    }

    /// Starts one that speaks nothing but TLS, with this chain of certificates and the key of its first, both in PEM.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub fn start_with_tls(chain: &str, key: &str) -> Self {
        Self::start_with(&std::env::temp_dir(), &["ssl=on", "fsync=off"], &[], Some((chain, key)))
    }

    fn start_with(parent: &Path, settings: &[&str], made: &[&str], tls: Option<(&str, &str)>) -> Self {
        let programs = find::postgres().expect(MISSING);
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir_in(parent).unwrap().keep();
        let owner = rustix::process::geteuid().is_root().then(unprivileged);
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Self { programs, folder, port: 0, owner, settings, server: None };
        // An order of text that is not that of bytes, where there is one: what needs the bytes' order must say so.
        let icu = ["--locale-provider=icu", "--icu-locale=en-US"];
        if !postgres.init(&[made, &icu].concat()) {
            assert!(postgres.init(made), "initdb failed");
        }
        if let Some((chain, key)) = tls {
            postgres.write("server.crt", chain);
            postgres.write("server.key", key);
            postgres.write("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
        }
        postgres.restart();
        postgres
    }

    /// One server for all tests of this process that leave it in peace. Its commits are not durable, which no test of a process can see.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["fsync=off"]))
    }

    /// Makes an empty database; its URL.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn database(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("vault_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Makes an empty database whose clock a test can set: there, `clock_timestamp()` is a function of ours. There are
    /// `hex` and `unhex` too, as SQLite has them.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn database_with_clock(&self) -> String {
        let url = self.database();
        let name = database_of(&url);
        self.run(
            name,
            &format!(
                "CREATE SCHEMA test; \
                 CREATE TABLE test.clock (fixed BIGINT, ahead BIGINT); \
                 INSERT INTO test.clock VALUES (NULL, 0); \
                 CREATE FUNCTION test.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL VOLATILE AS \
                 'SELECT coalesce(to_timestamp(fixed / 1000.0), \
                 pg_catalog.clock_timestamp() + ahead * interval ''1 ms'') FROM test.clock'; \
                 CREATE FUNCTION test.hex(bytes BYTEA) RETURNS TEXT LANGUAGE SQL IMMUTABLE AS \
                 'SELECT upper(encode(bytes, ''hex''))'; \
                 CREATE FUNCTION test.unhex(text TEXT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE AS \
                 'SELECT decode($1, ''hex'')'; \
                 ALTER DATABASE {name} SET search_path = public, test, pg_catalog"
            ),
        );
        url
    }

    /// Makes a copy of a database of [`Postgres::database_with_clock`]; its URL. Whoever is connected to it is thrown out.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn copy(&self, url: &str) -> String {
        let copy = self.database();
        let (from, name) = (database_of(url), database_of(&copy));
        let connected = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        self.run("postgres", &connected);
        self.run("postgres", &format!("DROP DATABASE {name}"));
        self.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE {from}"));
        self.run("postgres", &format!("ALTER DATABASE {name} SET search_path = public, test, pg_catalog"));
        copy
    }

    /// Sets the clock of a database of [`Postgres::database_with_clock`] to so many Unix milliseconds, where it stays.
    ///
    /// # Panics
    /// If it is no such database.
    pub fn set_time(&self, url: &str, millis: u64) {
        self.run(database_of(url), &format!("UPDATE test.clock SET fixed = {millis}"));
    }

    /// Sets the clock of a database of [`Postgres::database_with_clock`] so many milliseconds ahead of the machine's.
    ///
    /// # Panics
    /// If it is no such database.
    pub fn set_ahead(&self, url: &str, millis: i64) {
        self.run(database_of(url), &format!("UPDATE test.clock SET fixed = NULL, ahead = {millis}"));
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens, also after it was started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries out statements in a database, as its owner; what they print, a line a row.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn run(&self, database: &str, statements: &str) -> String {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        let ran = command.arg("--dbname").arg(self.url(database)).arg("--command").arg(statements).output().unwrap();
        assert!(ran.status.success(), "{statements}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
    }

    /// The ids of its processes.
    pub fn processes(&self) -> Vec<u32> {
        let main = self.main();
        let all = main.into_iter().chain(main.into_iter().flat_map(children));
        all.map(|process| process.as_raw_nonzero().get().unsigned_abs()).collect()
    }

    /// Kills it as a power cut would end it, but that the disk keeps what it was told: SIGKILL for every process of it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let server = self.server.take().expect("it runs");
        let main = self.main().expect("it has a process");
        // The first one must not see its children die: it would start others.
        signal(main, Signal::STOP);
        children(main).into_iter().for_each(|child| signal(child, Signal::KILL));
        signal(main, Signal::KILL);
        server.end();
    }

    /// Stops it as for maintenance: open connections are ended, and everything is written.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        signal(self.main().expect("it has a process"), Signal::INT);
        self.until("it stopped", |postgres| postgres.main().is_none());
        server.end();
    }

    /// Waits until it answers after whatever befell it, and starts it if it came to its end.
    ///
    /// # Panics
    /// If it does not come to answer.
    pub fn recover(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Some((_, is_ready)) = self.state() {
            if is_ready {
                return;
            }
            assert!(Instant::now() < until, "PostgreSQL does not answer again");
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(server) = self.server.take() {
            server.end();
        }
        self.restart();
    }

    /// Starts it, again on its port if it ran before, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come to answer.
    pub fn restart(&mut self) {
        if self.server.is_some() {
            self.stop();
        }
        for _ in 0..10 {
            if self.port == 0 {
                self.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            }
            if self.try_start() {
                return;
            }
            // Somebody else took the port between.
            self.port = 0;
        }
        panic!("PostgreSQL does not start: {}", std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// Has every process of it stand still, as a machine that hangs.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        let main = self.main().expect("it has a process");
        signal(main, Signal::STOP);
        children(main).into_iter().for_each(|child| signal(child, Signal::STOP));
    }

    /// Goes on after [`Postgres::pause`].
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        let main = self.main().expect("it has a process");
        children(main).into_iter().for_each(|child| signal(child, Signal::CONT));
        signal(main, Signal::CONT);
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes a file among its own that nobody else may read.
    fn write(&self, name: &str, text: &str) {
        let file = self.data().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::chown(&file, Some(user), Some(group)).unwrap();
        }
    }

    fn init(&self, more: &[&str]) -> bool {
        let mut command = Command::new(self.programs.join("initdb"));
        command.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER]).args(more);
        command.arg("--pgdata").arg(self.data()).current_dir(&self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        self.as_owner(&mut command);
        command.status().unwrap().success()
    }

    fn try_start(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let (program, data) = (self.programs.join("postgres"), self.data());
        let (port, sockets) =
            (format!("port={}", self.port), format!("unix_socket_directories={}", self.folder.display()));
        let usual = ["listen_addresses=127.0.0.1", &port, &sockets, "max_connections=200", "shared_buffers=32MB"];
        let mut arguments = vec![program.to_str().unwrap(), "-D", data.to_str().unwrap()];
        for setting in usual.into_iter().chain(self.settings.iter().map(String::as_str)) {
            arguments.extend(["-c", setting]);
        }
        // QUIT ends it at once: nobody wants what is in it.
        let server = Watched::start(&self.folder, "QUIT", &arguments, |command| {
            command.stdout(Stdio::null()).stderr(log);
            self.as_owner(command);
        });
        let until = Instant::now() + PATIENCE;
        loop {
            let state = self.state();
            if state.as_ref().is_some_and(|(_, ready)| *ready) {
                self.server = Some(server);
                return true;
            }
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if log.contains("FATAL") && log.contains("could not create any TCP/IP sockets") {
                server.end();
                return false;
            }
            assert!(Instant::now() < until, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first process, as its file says.
    fn main(&self) -> Option<Pid> {
        self.state().map(|(main, _)| main)
    }

    /// The first process, if it lives, and whether it answers.
    fn state(&self) -> Option<(Pid, bool)> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let mut lines = file.lines();
        let main = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
        let ready = lines.nth(6).is_some_and(|state| state.trim() == "ready");
        // A file that a killed server left behind names nobody who lives.
        rustix::process::test_kill_process(main).ok().map(|()| (main, ready))
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < until, "this never came: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn as_owner(&self, command: &mut Command) {
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
    }
}

/// The name of the database in a URL.
fn database_of(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

/// A user without privileges: `postgres` where there is one.
fn unprivileged() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |name: &str| {
        let mut fields = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    user("postgres").or_else(|| user("nobody")).unwrap_or((65534, 65534))
}

fn signal(process: Pid, signal: Signal) {
    // One that is gone needs no signal.
    let _ = kill_process(process, signal);
}

/// The children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let parent = |process: &Path| {
        let stat = std::fs::read_to_string(process.join("stat")).ok()?;
        // The name, in parentheses, may hold anything.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(|process| parent(&process.path()) == Some(of.as_raw_nonzero().get()));
    processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::on_postgres! {
        #[test]
        fn it_starts_dies_and_comes_back() {
            let mut postgres = Postgres::start(&[]);
            let folder = postgres.folder.clone();
            let url = postgres.database();
            let database = database_of(&url);
            postgres.run(database, "CREATE TABLE kept (n INTEGER); INSERT INTO kept VALUES (7)");
            let port = postgres.port();
            postgres.kill();
            postgres.restart();
            assert_eq!((postgres.port(), &postgres.run(database, "SELECT n FROM kept")[..]), (port, "7"));
            postgres.pause();
            postgres.resume();
            postgres.restart();
            assert_eq!(postgres.run(database, "SELECT n FROM kept"), "7");
            assert_eq!(postgres.run(database, "SHOW fsync"), "on");
            drop(postgres);
            assert!(!folder.exists(), "its folder goes with it");
        }
    }
}
