//! Generates the gRPC service's stubs from a description in Rust, so that nobody needs `protoc`.
//! The messages are in `src/grpc/messages.rs`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name, route, reply| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("crate::grpc::messages::Request")
            .output_type(reply)
            .codec_path("tonic_prost::ProstCodec")
    };
    let counter = Service::builder()
        .name("Counter")
        .package("workloads")
        .method(method("add", "Add", "crate::grpc::messages::Total").build())
        .method(method("watch", "Watch", "crate::grpc::messages::Tick").server_streaming().build())
        .build();
    Builder::new().compile(&[counter]);
    println!("cargo::rerun-if-changed=build.rs");
}
