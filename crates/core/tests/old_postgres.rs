//! A PostgreSQL that is too old. None can be had here, so this one knows no more of the protocol
//! than how a session begins, in which a server reports its release.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use producer_core::store::{DatabaseUrl, connect};
use producer_maintenance::{Database, MaintenanceError, migrate};
use support::{default, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves sessions that begin and do nothing more; returns the URL.
async fn server_of_release(release: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(begin_session(stream, release));
        }
    });
    format!("postgres://somebody@127.0.0.1:{port}/some?sslmode=disable")
}

async fn begin_session(mut client: TcpStream, release: &str) -> std::io::Result<()> {
    // the startup message: its length, which counts itself, and parameters
    let length = client.read_u32().await?;
    client.read_exact(&mut vec![0; length as usize - 4]).await?;
    let answers = [
        message(b'R', &0_u32.to_be_bytes()), // AuthenticationOk
        message(b'S', format!("server_version\0{release}\0").as_bytes()),
        message(b'K', &[0; 8]), // BackendKeyData
        message(b'Z', b"I"),    // ReadyForQuery, idle
    ];
    client.write_all(&answers.concat()).await?;
    // whatever else it wants: nobody answers
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(drop)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

#[tokio::test]
async fn a_server_that_is_too_old_ends_the_start_with_one_line() {
    for (release, reported) in [("13.14 (Debian 13.14-1.pgdg120+2)", "13.14"), ("9.6.24", "9.6.24")]
    {
        let url = server_of_release(release).await;
        let Err(error) = connect(&settings(&url, default)).await else { panic!("it was taken") };
        let expected =
            format!("DATABASE_URL: PostgreSQL 14 or newer is needed, the server is {reported}");
        assert_eq!(error.0, expected);
        let database = Database::from(DatabaseUrl::parse(Some(&url)).unwrap());
        let error = migrate::up(&database).await.unwrap_err();
        assert!(matches!(&error, MaintenanceError::Refused(line) if *line == expected), "{error}");
        assert!(!error.is_transient());
    }
}
