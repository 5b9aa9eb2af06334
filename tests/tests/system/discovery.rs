//! What a load balancer and a curious client ask any gRPC server: are you well, and what do you speak?

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorProto;
use strongroom_client::Identity;
use strongroom_tests::TestVault;
use strongroom_tests::raw::Raw;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ErrorResponse, ServerReflectionRequest};

const SERVICES: [&str; 7] = ["Admin", "Audit", "Grants", "Keys", "Sessions", "Vault", "Vendors"];

#[tokio::test]
async fn health_is_told_to_whoever_comes_through_tls() {
    let mut vault = TestVault::start().await;
    let known = vault.raw(&vault.operator()).await;
    let stranger = vault.raw(&Identity::generate().unwrap()).await;
    // A load balancer has no identity, and needs none to hear whether the server is well.
    let nobody = Raw::connect(vault.address(), None).await.unwrap();
    for caller in [&known, &stranger, &nobody] {
        let mut health = HealthClient::new(caller.channel.clone());
        let answer = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
        assert_eq!(answer, HealthCheckResponse { status: ServingStatus::Serving.into() });
    }
    let mut health = HealthClient::new(known.channel.clone());
    let unknown = health.check(HealthCheckRequest { service: "strongroom.v1.Nothing".into() }).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);

    // Whoever watches is told when the server goes down.
    let mut watch = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // And the server does not wait for them.
    let last = async { (watch.message().await.unwrap().unwrap().status(), watch.message().await.unwrap()) };
    let (last, ()) = tokio::join!(last, vault.stop());
    assert_eq!(last, (ServingStatus::NotServing, None));
}

#[tokio::test]
async fn reflection_lists_the_services_and_serves_their_descriptors() {
    let vault = TestVault::start().await;
    let raw = vault.raw(&vault.operator()).await;
    let MessageResponse::ListServicesResponse(list) = ask(&raw, MessageRequest::ListServices(String::new())).await
    else {
        panic!("it answers something else")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains("grpc.health.v1.Health"), "{names:?}");
    let own: BTreeSet<String> = SERVICES.map(|name| format!("strongroom.v1.{name}")).into();
    let told: BTreeSet<String> = names.into_iter().filter(|name| name.starts_with("strongroom.")).collect();
    assert_eq!(told, own);

    for name in SERVICES {
        let symbol = format!("strongroom.v1.{name}");
        let MessageResponse::FileDescriptorResponse(files) =
            ask(&raw, MessageRequest::FileContainingSymbol(symbol)).await
        else {
            panic!("it has no file of {name}")
        };
        let files = files.file_descriptor_proto.iter().map(|file| FileDescriptorProto::decode(&file[..]).unwrap());
        let mut services = files.flat_map(|file| file.service);
        let service = services.find(|service| service.name() == name).unwrap();
        assert!(!service.method.is_empty());
        if name == "Vault" {
            let get = service.method.iter().find(|method| method.name() == "Get").unwrap();
            assert_eq!((get.input_type(), get.output_type()), (".strongroom.v1.GetRequest", ".strongroom.v1.GetFrame"));
            assert!(get.server_streaming() && !get.client_streaming());
        }
    }
    let MessageResponse::ErrorResponse(unknown) =
        ask(&raw, MessageRequest::FileContainingSymbol("strongroom.v1.Nothing".into())).await
    else {
        panic!("it describes what there is not")
    };
    assert_eq!(unknown.error_code, i32::from(tonic::Code::NotFound));
}

async fn ask(raw: &Raw, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut client = ServerReflectionClient::new(raw.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    match answers.message().await {
        Ok(answer) => answer.unwrap().message_response.unwrap(),
        Err(status) => MessageResponse::ErrorResponse(ErrorResponse {
            error_code: status.code().into(),
            error_message: status.message().to_owned(),
        }),
    }
}
