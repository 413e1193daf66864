//! What the build makes of the .proto files: messages, servers and clients.

#![expect(missing_docs, reason = "generated; the .proto files document it")]

use tonic_reflection::server::{v1 as reflection, v1alpha as reflection_alpha};

/// Package `producer.v1`.
#[expect(clippy::all, unreachable_pub, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("producer.v1");
}

/// Package `com.example.grpc`: the service alone, its messages are those of [`v1`].
#[expect(clippy::all, reason = "generated")]
pub mod legacy {
    tonic::include_proto!("com.example.grpc");
}
