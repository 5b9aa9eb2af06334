//! Says which services this machine has, so that tests that need others are ignored, with the reason.

#[path = "src/find.rs"]
#[allow(dead_code, reason = "the crate uses the rest")]
mod find;

fn main() {
    println!(
        "cargo::rustc-check-cfg=cfg(has_postgres, has_moto, has_azurite, has_softhsm, has_gdb, has_python, has_readers, has_chromium, has_mounts)"
    );
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed=STRONGROOM_TEST_SERVICES");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/find.rs");
    // What changes when a package is installed.
    if std::path::Path::new("/var/lib/dpkg/status").exists() {
        println!("cargo::rerun-if-changed=/var/lib/dpkg/status");
    }
    // What is no package of the system: its installer touches this file.
    let python = find::program("python3");
    let found = [
        ("postgres", find::postgres()),
        ("moto", find::moto()),
        ("azurite", find::azurite()),
        ("softhsm", find::softhsm().map(|(_, module)| module)),
        ("gdb", find::program("gdb")),
        ("python", python.clone()),
        ("readers", find::readers()),
        ("chromium", find::chromium().filter(|_| python.is_some())),
    ];
    for (name, found) in found {
        if found.is_some() {
            println!("cargo::rustc-cfg=has_{name}");
        }
    }
    if find::own_mounts().is_some() {
        println!("cargo::rustc-cfg=has_mounts");
    }
}
