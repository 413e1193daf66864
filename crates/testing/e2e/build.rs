//! Makes an ordinary gRPC client from the published .proto, as any client would: none of the
//! service's own code stands between these tests and the wire.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../../../proto");
    let files = protox::compile(["producer/v1/event_service.proto"], ["../../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
