//! A node of OpenSearch.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use crate::java::JavaServer;
use crate::port::free_port;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A node of OpenSearch on this machine, without security.
#[derive(Debug)]
pub struct OpenSearch {
    server: JavaServer,
    port: u16,
}

impl OpenSearch {
    /// The node that all tests of this process share; it ends with the process in whatever way.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<OpenSearch> = OnceLock::new();
        SHARED.get_or_init(Self::own)
    }

    /// A node of a test's own. It ends when dropped.
    ///
    /// # Panics
    /// As [`JavaServer::start`].
    pub fn own() -> Self {
        let server = JavaServer::new("opensearch", "512m");
        let [http, transport] = [free_port(), free_port()];
        let ports = [http.to_string(), transport.to_string()];
        let folder = server.folder().join("node");
        let arguments = [folder.as_os_str(), OsStr::new(&ports[0]), OsStr::new(&ports[1])];
        server.start("OpenSearchNode", &arguments, || answers(http));
        Self { server, port: http }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it (SIGKILL), and waits for its end.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Kills it where it runs, and starts it with the same data.
    pub fn restart(&self) {
        self.server.restart(|| answers(self.port));
    }

    /// Stops it with SIGSTOP: connections stay open without an answer.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Ends [`OpenSearch::freeze`].
    pub fn thaw(&self) {
        self.server.thaw();
    }

    /// Its process.
    pub const fn server(&self) -> &JavaServer {
        &self.server
    }
}

/// Whether it takes requests, and has looked for its indexes.
fn answers(port: u16) -> bool {
    let health = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let path = "/_cluster/health?wait_for_status=yellow&timeout=2s";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    health().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}
