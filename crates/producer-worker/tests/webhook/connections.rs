//! Which connections are made, and how many.

use std::sync::Arc;

use producer_test_support::free_port;
use producer_worker::sink::{Failure, Sink};
use producer_worker::sinks::webhook::Surroundings;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::receiver::{Receiver, serve};
use crate::sinks::{Names, Settings, change, deliver, failure, open, surroundings};

#[tokio::test]
async fn private_addresses_are_not_reached() {
    let receiver = Receiver::answering(204).await;
    let port = receiver.port();
    let names = Names::at(&["10.1.2.3", "127.0.0.1"]);
    for (host, shown, address) in [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe", "64:ff9b::a9fe:a9fe"),
        ("hooks.partner.test", "hooks.partner.test", "10.1.2.3"),
    ] {
        let settings = Settings {
            allow_private: false,
            surroundings: surroundings(0, names.clone()),
            ..Settings::new(format!("http://{host}:{port}/hook"))
        };
        let sink = settings.open();
        let detail = format!(
            "{shown} is at {address}, which is no public address, and allow_private is not set"
        );
        assert_eq!(failure(&sink).await, Failure::new(detail.clone()), "{host}");
        assert_eq!(sink.check().await, Err(Failure::new(detail)), "{host}");
    }
    assert_eq!((receiver.connections(), names.asked()), (0, 2));
}

#[tokio::test]
async fn private_addresses_are_reached_where_they_are_allowed() {
    let receiver = Receiver::answering(204).await;
    let names = Names::at(&["127.0.0.1"]);
    let url = format!("http://hooks.partner.test:{}/hook", receiver.port());
    let settings = Settings { surroundings: surroundings(0, names.clone()), ..Settings::new(url) };
    let sink = settings.open();
    assert_eq!(deliver(&sink, change("o-1", 1)).await, Ok(()));
    let host = format!("hooks.partner.test:{}", receiver.port());
    assert_eq!(receiver.received()[0].header("host"), host);
    assert_eq!((receiver.connections(), names.asked()), (1, 1));
}

#[tokio::test]
async fn a_check_connects_and_posts_nothing() {
    let receiver = Receiver::answering(500).await;
    assert_eq!(open(receiver.url()).check().await, Ok(()));
    assert_eq!(receiver.received().len(), 0);
    let closed = open(format!("http://127.0.0.1:{}", free_port())).check().await.unwrap_err();
    assert!(closed.detail.contains(": Connection refused"), "{closed}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver = Receiver::start(|_| {
        let mut answer = crate::receiver::Received::answer(200);
        *answer.body_mut() = axum::body::Body::from("thanks");
        answer
    });
    let receiver = receiver.await;
    let sink = open(receiver.url());
    for version in 1..=20 {
        assert_eq!(deliver(&sink, change("o-1", version)).await, Ok(()));
    }
    assert_eq!((receiver.received().len(), receiver.connections()), (20, 1));
    let lanes = (0..16).map(|lane| {
        let sink = &sink;
        async move {
            for version in 1..=20 {
                assert_eq!(deliver(sink, change(&lane.to_string(), version)).await, Ok(()));
            }
        }
    });
    futures_util::future::join_all(lanes).await;
    assert_eq!(receiver.received().len(), 340);
    assert!(receiver.connections() <= 16, "{}", receiver.connections());
}

#[tokio::test]
async fn tls_needs_a_trusted_certificate() {
    let made = rcgen::generate_simple_self_signed(["hooks.partner.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let address = serve_tls(certificate.clone(), made.signing_key.serialize_der()).await;
    let sink = |trusted: &[CertificateDer<'static>], name: &str| {
        let names = Names::at(&["127.0.0.1"]);
        let surroundings = Surroundings { trusted: trusted.to_vec(), ..surroundings(0, names) };
        let url = format!("https://{name}:{}/hook", address.port());
        Settings { surroundings, ..Settings::new(url) }.open()
    };
    let trusted = std::slice::from_ref(&certificate);
    let good = sink(trusted, "hooks.partner.test");
    assert_eq!(good.check().await, Ok(()));
    assert_eq!(deliver(&good, change("o-1", 1)).await, Ok(()));

    let unknown = sink(&[], "hooks.partner.test");
    let start = format!(
        "no connection to hooks.partner.test:{}: invalid peer certificate: ",
        address.port()
    );
    for failure in [failure(&unknown).await, unknown.check().await.unwrap_err()] {
        assert!(failure.detail.starts_with(&start), "{failure}");
    }
    let other = failure(&sink(trusted, "other.partner.test")).await;
    assert!(other.detail.contains("invalid peer certificate: "), "{other}");

    // it does not speak TLS
    let plain = Receiver::answering(204).await;
    let failure = failure(&open(format!("https://127.0.0.1:{}/", plain.port()))).await;
    assert!(failure.detail.starts_with("no connection to 127.0.0.1:"), "{failure}");
}

async fn serve_tls(certificate: CertificateDer<'static>, key: Vec<u8>) -> std::net::SocketAddr {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // the sink may close the connection at any time
                    let _ = serve(stream, b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            });
        }
    });
    address
}
