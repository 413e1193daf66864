//! Compiles the .proto files with protox, so that no protoc needs to be installed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// The messages that both services speak.
const LEGACY_MESSAGES: [&str; 7] = [
    "EventRequest",
    "EventHeader",
    "EventBody",
    "EntityUpdate",
    "EventResponse",
    "HealthRequest",
    "HealthResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto");
    let mut compiler = protox::Compiler::new(["../../proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(["producer/v1/event_service.proto", "legacy/event_service.proto"])?;

    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::StrictCodec")
        .emit_rerun_if_changed(false);
    for message in LEGACY_MESSAGES {
        builder = builder.extern_path(
            format!(".com.example.grpc.{message}"),
            format!("crate::proto::v1::{message}"),
        );
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
