//! Compiles the .proto files with protox, so that no protoc needs to be installed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// The messages of both services.
const LEGACY_MESSAGES: [&str; 7] = [
    "EventRequest",
    "EventHeader",
    "EventBody",
    "EntityUpdate",
    "EventResponse",
    "HealthRequest",
    "HealthResponse",
];

/// The requests that write one entity.
const ENTITY_WRITES: [&str; 4] =
    ["CreateEntityRequest", "ReplaceEntityRequest", "MergeEntityRequest", "DeleteEntityRequest"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../proto");
    let mut compiler = protox::Compiler::new(["../../proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files([
        "producer/v1/change.proto",
        "producer/v1/change_service.proto",
        "producer/v1/event_service.proto",
        "producer/v1/entity_service.proto",
        "producer/v1/type_service.proto",
        "producer/v1/search_service.proto",
        "producer/v1/worker_service.proto",
        "legacy/event_service.proto",
    ])?;

    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    let files = compiler.file_descriptor_set();
    messages_and_clients().compile_fds(files.clone())?;
    let folder = PathBuf::from(env::var("OUT_DIR")?).join("server");
    fs::create_dir_all(&folder)?;
    servers().out_dir(folder).compile_fds(files)?;
    Ok(())
}

fn configure() -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::wire::codec::StrictCodec")
        .emit_rerun_if_changed(false)
}

/// All messages, and the clients.
fn messages_and_clients() -> tonic_prost_build::Builder {
    LEGACY_MESSAGES.iter().fold(configure().build_server(false), |builder, message| {
        let ours = format!("crate::proto::v1::{message}");
        builder.extern_path(format!(".com.example.grpc.{message}"), ours)
    })
}

/// The services, which get messages with attributes undecoded.
fn servers() -> tonic_prost_build::Builder {
    let builder = ENTITY_WRITES.iter().fold(configure().build_client(false), |builder, message| {
        let undecoded = "crate::wire::entity_write::EntityWriteMessage";
        builder.extern_path(format!(".producer.v1.{message}"), undecoded)
    });
    let builder = builder.extern_path(
        ".producer.v1.BatchGetEntitiesRequest",
        "crate::wire::small_request::BatchGetMessage",
    );
    ["producer.v1", "com.example.grpc"].iter().fold(builder, |builder, package| {
        builder
            .extern_path(format!(".{package}"), "crate::proto::v1")
            .extern_path(format!(".{package}.EventRequest"), "crate::wire::event::EventMessage")
            .extern_path(
                format!(".{package}.ProcessEventsRequest"),
                "crate::wire::event::EventsMessage",
            )
    })
}
