//! TLS of the services, for clients of both APIs and for operators.

use std::io::ErrorKind;
use std::net::SocketAddr;

use producer_e2e::proto::HealthRequest;
use producer_e2e::proto::event_service_client::EventServiceClient;
use producer_e2e::{Binary, Certificate, CertificateFiles, SentEvent, Service, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

async fn start(binary: Binary, files: &CertificateFiles) -> Service {
    let settings = files.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
    Service::start(binary, &settings).await
}

/// The response of `/readyz` to a client that trusts only this certificate.
async fn readyz(address: SocketAddr, trusted: &Certificate) -> std::io::Result<String> {
    let mut connection = trusted.connect(address).await?;
    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn rest_serves_over_tls_and_logs_it() {
    let certificate = Certificate::new();
    let files = CertificateFiles::new(&certificate);
    let service = start(Binary::Rest, &files).await;
    assert!(service.log_tail().contains(r#""scheme":"https""#), "{}", service.log_tail());
    let answer = readyz(service.address(), &certificate).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(readyz(service.address(), &Certificate::new()).await.is_err(), "another certificate");

    let health = service.healthcheck().await;
    assert!(health.status.success(), "{health:?}");
    service.signal(producer_e2e::Signal::STOP);
    let health = service.healthcheck().await;
    assert_eq!(health.status.code(), Some(1), "a stopped process isn't ready");
    service.signal(producer_e2e::Signal::CONT);
    service.stop().await;
}

/// Settings of `healthcheck` that aren't those of the service.
#[tokio::test]
async fn healthcheck_says_when_only_one_side_speaks_tls() {
    let files = CertificateFiles::new(&Certificate::new());
    let tls = files.settings();
    let tls: Vec<_> = tls.iter().map(|(name, value)| (*name, &**value)).collect();
    for (binary, setting) in [(Binary::Rest, "SERVER_PORT"), (Binary::Grpc, "GRPC_SERVER_PORT")] {
        let with = start(binary, &files).await;
        let without = Service::start(binary, &[]).await;
        for (service, settings, words) in [
            (&with, &[][..], "the port speaks TLS: set TLS_CERT_FILE"),
            (&without, &tls[..], "the port speaks no TLS: unset TLS_CERT_FILE"),
        ] {
            let port = service.address().port().to_string();
            let mut command = binary.command(service.folder(), settings);
            let asked = command.arg("healthcheck").env(setting, port).output().await.unwrap();
            let line = String::from_utf8_lossy(&asked.stderr).into_owned();
            assert_eq!(asked.status.code(), Some(1), "{line}");
            assert!(line.contains(words) && line.lines().count() == 1, "{line}");
        }
    }
}

/// With both versions of HTTP.
#[tokio::test]
async fn curl_posts_over_tls() {
    let certificate = Certificate::new();
    let files = CertificateFiles::new(&certificate);
    let service = start(Binary::Rest, &files).await;
    let url = format!("https://localhost:{}/api/v1/events", service.address().port());
    for (version, flag) in [("1.1", "--http1.1"), ("2", "--http2")] {
        let event = SentEvent::new("Car", version, json!({"by": "curl"})).json().to_string();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", flag, "--write-out", " %{http_version}"]);
        curl.arg("--cacert").arg(files.cert()).args(["--noproxy", "*", "--json", &event, &url]);
        let output = match curl.output().await {
            // not installed: the other tests have their own clients
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            output => output.unwrap(),
        };
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.contains(r#""success":true"#), "{answer} {output:?}");
        assert!(answer.ends_with(&format!(" {version}")), "{answer}");
    }
    service.stop().await;
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("https://localhost:{}", address.port())).unwrap()
}

async fn grpc(address: SocketAddr, trusted: &Certificate) -> Option<EventServiceClient<Channel>> {
    let ca = tonic::transport::Certificate::from_pem(&trusted.pem);
    let tls = ClientTlsConfig::new().ca_certificate(ca);
    let channel = endpoint(address).tls_config(tls).unwrap().connect().await;
    channel.ok().map(EventServiceClient::new)
}

#[tokio::test]
async fn grpc_serves_over_tls() {
    let certificate = Certificate::new();
    let files = CertificateFiles::new(&certificate);
    let service = start(Binary::Grpc, &files).await;
    let mut client = grpc(service.address(), &certificate).await.expect("a connection");
    let event = SentEvent::new("Car", "car-1", json!({"colour": "red"}));
    let answer = client.process_event(event.message()).await.unwrap().into_inner();
    assert_eq!(answer.entities[0].version, 1);
    let request = HealthRequest { service: String::new() };
    assert!(client.health_check(request).await.unwrap().into_inner().healthy);
    assert!(grpc(service.address(), &Certificate::new()).await.is_none(), "another certificate");
    let health = service.healthcheck().await;
    assert!(health.status.success(), "{health:?}");
    drop(client);
    service.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_once_its_key_matches() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = CertificateFiles::new(&old);
    let service = start(Binary::Rest, &files).await;
    let address = service.address();
    let mut open = old.connect(address).await.unwrap();
    open.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_ne!(open.read_buf(&mut Vec::with_capacity(9)).await.unwrap(), 0, "a response starts");

    files.write_cert(&new);
    let stays = "the previous certificate stays";
    eventually("a warning", async || service.log_tail().contains(stays)).await;
    assert!(service.log_tail().contains("TLS_KEY_FILE"), "{}", service.log_tail());
    assert!(readyz(address, &old).await.is_ok());

    files.write_key(&new);
    eventually("the new certificate is used", async || readyz(address, &new).await.is_ok()).await;
    assert!(readyz(address, &old).await.is_err());
    assert!(service.healthcheck().await.status.success());

    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    open.write_all(request).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    let answers = answer.matches("\r\n\r\n{").count();
    assert_eq!(answers, 2, "an open connection continues: {answer}");
    service.stop().await;
}

#[tokio::test]
async fn the_admin_port_has_no_tls() {
    let files = CertificateFiles::new(&Certificate::new());
    let mut settings = files.settings().to_vec();
    settings.push(("ADMIN_PORT", "0".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
    let service = Service::start(Binary::Grpc, &settings).await;
    let log = service.log_tail();
    let address = log.lines().find(|line| line.contains("serving the admin port")).unwrap();
    let address = address.split(r#""address":""#).nth(1).unwrap().split('"').next().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    service.stop().await;
}
