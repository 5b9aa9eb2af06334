//! Compiles the protos without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=strongroom");
    let services = ["admin", "audit", "common", "grants", "keys", "sessions", "vault", "vendors"];
    let files = services.map(|service| format!("strongroom/v1/{service}.proto"));
    let descriptors = protox::compile(&files, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
