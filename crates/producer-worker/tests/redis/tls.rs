//! TLS: `rediss://`.

use std::process::Command;

use producer_test_support::{Redis, free_port};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::support::{Client, change, failure, key, stream_sink};

const URL: &str = "PRODUCER_TEST_REDIS_TLS";

/// Runs itself again with `SSL_CERT_FILE`, which a process can't safely set for itself.
#[tokio::test]
async fn certificates_are_checked_by_the_file_of_ssl_cert_file() {
    if let Ok(url) = std::env::var(URL) {
        let sink = stream_sink(&url, "events", None);
        sink.check().await.expect("it trusts the certificate");
        crate::support::delivered(&*sink, &[change(&key("o-1"), 1, 1)]).await;
        return;
    }
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let files = tempfile::tempdir().expect("a folder");
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), cert.pem()).expect("a file");
    std::fs::write(path("key.pem"), signing_key.serialize_pem()).expect("a file");
    let (cert, key_file) = (path("cert.pem"), path("key.pem"));
    let tls_port = free_port();
    let redis = Redis::with(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key_file,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{tls_port}");
    let untrusted = stream_sink(&url, "events", None);
    let detail = failure(&*untrusted, &[change(&key("o-1"), 1, 1)]).await;
    assert!(detail.contains("certificate"), "{detail}");
    let own = std::env::current_exe().expect("a path");
    let status = Command::new(own)
        .args(["--exact", "tls::certificates_are_checked_by_the_file_of_ssl_cert_file"])
        .env(URL, &url)
        .env("SSL_CERT_FILE", &cert)
        .status();
    assert!(status.expect("it runs").success());
    assert_eq!(Client::of(&redis.url()).await.run::<u64>(&["XLEN", "events"]).await, 1);
}
