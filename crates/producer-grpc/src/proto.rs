//! Generated from the .proto files: messages, clients and servers.

#![expect(missing_docs, reason = "generated; the .proto files document it")]
#![expect(clippy::allow_attributes_without_reason, reason = "generated")]
#![expect(clippy::large_enum_variant, reason = "generated; most items are changes")]

use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Package `producer.v1`.
pub mod v1 {
    tonic::include_proto!("producer.v1");
}

/// Package `com.example.grpc`: only the service, its messages are those of [`v1`].
pub mod legacy {
    tonic::include_proto!("com.example.grpc");
}

/// Both services with undecoded events: see [`crate::wire`].
#[expect(unreachable_pub, reason = "generated")]
pub(crate) mod server {
    /// Package `producer.v1`.
    pub(crate) mod v1 {
        include!(concat!(env!("OUT_DIR"), "/server/producer.v1.rs"));
    }

    /// Package `com.example.grpc`.
    pub(crate) mod legacy {
        include!(concat!(env!("OUT_DIR"), "/server/com.example.grpc.rs"));
    }
}

/// What reflection returns: our .proto files and their imports.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The paths of all rpcs: of our services, health and reflection.
pub(crate) fn rpcs() -> Result<Vec<String>, DecodeError> {
    let sets = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut paths = Vec::new();
    for set in sets {
        for file in FileDescriptorSet::decode(set)?.file {
            for service in &file.service {
                let path = |rpc: &str| format!("/{}.{}/{rpc}", file.package(), service.name());
                paths.extend(service.method.iter().map(|rpc| path(rpc.name())));
            }
        }
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Adds server reflection in both versions, since clients support one or the other.
pub(crate) fn with_reflection(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // lets clients decode the details of errors
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
