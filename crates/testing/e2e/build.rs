//! Generates a gRPC client from the published .proto, as any client would: the tests use none of the
//! service's own code.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../../proto");
    let files = protox::compile(
        ["producer/v1/event_service.proto", "producer/v1/change_service.proto"],
        ["../../../proto"],
    )?;
    tonic_prost_build::configure()
        .build_server(false)
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
