//! The gRPC binary.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    producer_server::cli::main::<producer_grpc::Grpc>()
}
