//! A connection to Redis for sinks and sources: made when it is needed, and anew after it broke.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisError, RedisResult, Script, TlsCertificates, Value, cmd, pipe,
};

use crate::config::{Secret, Secrets};
use crate::sink::Failure;

/// For a connection with its handshake, and for each answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Redis's own default of `proto-max-bulk-len`.
const MAX_BULK: u64 = 512 << 20;

/// One connection at a time, which all calls share. Redis runs what comes over it in order.
///
/// After a failure nobody knows whether Redis still runs what was sent: it may lie in the server's buffers,
/// and would be run behind newer commands of another connection. So a new connection first ends the one
/// before it (`CLIENT KILL`): what that has sent was run by then, or never is.
pub(crate) struct Link {
    client: Client,
    scripts: &'static [&'static LazyLock<Script>],
    response_timeout: Duration,
    /// Held while somebody connects.
    connecting: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    max_bulk: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Connected>,
    /// How the server knows it, or the one before it.
    peer: Option<Peer>,
    /// How many connections there were.
    made: u64,
}

#[derive(Clone)]
struct Connected {
    connection: MultiplexedConnection,
    number: u64,
}

/// How the server knows a connection. Ids begin anew with each start of a server; with the address they name
/// no other client.
#[derive(Clone)]
struct Peer {
    id: String,
    address: String,
}

impl Link {
    /// A link to the server of a URL. Each connection loads the scripts before it is used.
    ///
    /// # Errors
    /// The URL or a certificate can't be read, in one sentence without secrets.
    pub(crate) fn new(
        url: &Secret,
        scripts: &'static [&'static LazyLock<Script>],
    ) -> Result<Self, String> {
        Ok(Self {
            client: client(url)?,
            scripts,
            response_timeout: TIMEOUT,
            connecting: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            max_bulk: AtomicU64::new(MAX_BULK),
        })
    }

    /// The same for commands that Redis answers only after a while.
    pub(crate) fn waits(mut self, longest: Duration) -> Self {
        self.response_timeout += longest;
        self
    }

    /// The longest value that the server takes, as far as it says.
    pub(crate) fn max_bulk(&self) -> usize {
        usize::try_from(self.max_bulk.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// How the server calls the connection, where there is one.
    pub(crate) fn client_id(&self) -> Option<String> {
        let state = self.state();
        state.current.as_ref().and(state.peer.as_ref()).map(|peer| peer.id.clone())
    }

    /// Where it leads.
    fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Connects where there is no connection.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        self.connected().map_ok(drop).await
    }

    /// Whether it can be written to, as far as that can be seen.
    pub(crate) async fn check_writable(&self) -> Result<(), Failure> {
        // not everybody may ask
        let role: RedisResult<Vec<Value>> = self.try_run(&cmd("ROLE")).await?;
        let is_replica =
            role.is_ok_and(|role| role.first() == Some(&Value::BulkString(b"slave".to_vec())));
        if is_replica {
            let place = self.place();
            return Err(Failure::new(format!("Redis at {place} is a replica, which is read-only")));
        }
        Ok(())
    }

    /// The type of a key, such as `stream`; `none` where there is none.
    pub(crate) async fn type_of(&self, key: &str) -> Result<String, Failure> {
        self.run(cmd("TYPE").arg(key)).await
    }

    /// Runs a command.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.try_run(command).await?.map_err(|error| self.failure(&error))
    }

    /// Runs a command whose error may mean something.
    pub(crate) async fn try_run<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<RedisResult<T>, Failure> {
        let mut connected = self.connected().await?;
        let answer = command.query_async(&mut connected.connection).await;
        if let Err(error) = &answer {
            self.look_at(error, connected.number);
        }
        Ok(answer)
    }

    /// Runs commands as one transaction, and gives what became of each. (The crate's own transactions overflow
    /// where `MULTI` itself is refused.)
    ///
    /// # Errors
    /// None was run, or that is not known.
    pub(crate) async fn run_transaction(
        &self,
        commands: Vec<Cmd>,
    ) -> Result<Vec<RedisResult<Value>>, Failure> {
        let mut all = Pipeline::with_capacity(commands.len() + 2);
        all.cmd("MULTI");
        for command in commands {
            all.add_command(command);
        }
        all.cmd("EXEC");
        let mut answers = self.run_all(&mut all).await?;
        let executed = answers.pop();
        if let Some(Ok(Value::Array(results))) = executed {
            return Ok(results.into_iter().map(Value::extract_error).collect());
        }
        // why a command was not queued says more than that the transaction was not run
        let error = answers.into_iter().chain(executed).find_map(Result::err);
        Err(match error {
            Some(error) => self.failure(&error),
            None => Failure::new(format!("Redis at {} did not run the transaction", self.place())),
        })
    }

    /// Runs commands, and gives what became of each.
    ///
    /// # Errors
    /// What became of them is not known.
    pub(crate) async fn run_all(
        &self,
        commands: &mut Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, Failure> {
        let mut connected = self.connected().await?;
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            commands.ignore_errors().query_async(&mut connected.connection).await;
        let errors = match &answers {
            Ok(answers) => answers.iter().find_map(|answer| answer.as_ref().err()),
            Err(error) => Some(error),
        };
        if let Some(error) = errors {
            self.look_at(error, connected.number);
        }
        answers.map_err(|error| self.failure(&error))
    }

    /// Gives a connection up after an error that a new one may not have.
    fn look_at(&self, error: &RedisError, number: u64) {
        // failed over; without its scripts; the user is another now
        const OF_CONNECTION: [&str; 4] = ["READONLY", "NOSCRIPT", "NOAUTH", "NOPERM"];
        let keeps = match error.clone().into_server_errors() {
            Some(errors) => !errors.iter().any(|(_, error)| OF_CONNECTION.contains(&error.code())),
            None => matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Client),
        };
        if keeps {
            return;
        }
        let mut state = self.state();
        if state.current.as_ref().is_some_and(|current| current.number == number) {
            state.current = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, made where there is none. Who waits for another one that connects waits no longer than
    /// for one connection.
    async fn connected(&self) -> Result<Connected, Failure> {
        let current = || self.state().current.clone();
        if let Some(connected) = current() {
            return Ok(connected);
        }
        let connected = tokio::time::timeout(TIMEOUT, async {
            let _turn = self.connecting.lock().await;
            match current() {
                Some(connected) => Ok(connected),
                None => self.connect_anew().await,
            }
        });
        match connected.await {
            Ok(connected) => connected.map_err(|error| self.failure(&error)),
            Err(_elapsed) => Err(self.no_answer()),
        }
    }

    async fn connect_anew(&self) -> RedisResult<Connected> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.response_timeout));
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let before = self.state().peer.clone();
        let peer = self.prepare(&mut connection, before.as_ref()).await?;
        let mut state = self.state();
        state.peer = peer;
        state.made += 1;
        let connected = Connected { connection, number: state.made };
        state.current = Some(connected.clone());
        Ok(connected)
    }

    /// What each new connection begins with, in one round trip.
    async fn prepare(
        &self,
        connection: &mut MultiplexedConnection,
        before: Option<&Peer>,
    ) -> RedisResult<Option<Peer>> {
        let mut commands = pipe();
        commands.ignore_errors();
        if let Some(Peer { id, address }) = before {
            commands.cmd("CLIENT").arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address).ignore();
        }
        commands.cmd("CLIENT").arg("INFO");
        commands.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len");
        let answers: (RedisResult<String>, RedisResult<Vec<String>>) =
            commands.query_async(connection).await?;
        let info = match answers.0 {
            // longer commands would end the connection without saying why
            Err(error) if error.code() == Some("NOAUTH") => return Err(error),
            info => info.ok(),
        };
        // services that are run for one do not let everybody do this
        let limit = answers.1.ok().and_then(|pair| pair.get(1)?.parse().ok());
        self.max_bulk.store(limit.unwrap_or(MAX_BULK), Ordering::Relaxed);
        for script in self.scripts {
            script.load_async(connection).await?;
        }
        Ok(info.and_then(|info| peer(&info)))
    }

    fn no_answer(&self) -> Failure {
        let seconds = TIMEOUT.as_secs();
        Failure::new(format!("Redis at {} did not answer within {seconds} s", self.place()))
    }

    /// An error as a failure, without the password.
    pub(crate) fn failure(&self, error: &RedisError) -> Failure {
        if error.is_timeout() {
            return self.no_answer();
        }
        let place = self.place();
        let detail = match error.clone().into_server_errors().as_deref() {
            Some([(_, first), ..]) => {
                let said = first.details().unwrap_or_default();
                let more = match first.code() {
                    "MOVED" | "ASK" | "CROSSSLOT" => {
                        ": it is a node of a cluster, which is not supported"
                    }
                    _ => "",
                };
                format!("Redis at {place} answers {} {said}{more}", first.code())
            }
            _ if error.is_io_error() => format!("Redis at {place} can't be reached: {error}"),
            _ => format!("Redis at {place}: {error}"),
        };
        Failure::new(self.without_password(&detail))
    }

    /// A server that does not know a command repeats its arguments.
    fn without_password(&self, text: &str) -> String {
        let password = self.client.get_connection_info().redis_settings().password();
        Secrets::new(password.map(str::to_owned)).removed_from(text)
    }
}

/// A call of a script that a [`Link`] loads.
pub(crate) fn call(script: &Script, keys: usize) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys);
    command
}

fn client(url: &Secret) -> Result<Client, String> {
    // without it the crate would look for a provider by itself, which fails where there are two
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unreadable =
        "url must be redis://[user:password@]host[:port][/database], or rediss:// for TLS";
    let info = url.expose().into_connection_info().map_err(|_| unreadable.to_owned())?;
    let is_tls = url.expose().starts_with("rediss:");
    let client = match std::env::var_os("SSL_CERT_FILE").filter(|_| is_tls) {
        Some(file) => {
            let root_cert = std::fs::read(&file).map_err(|error| {
                format!("SSL_CERT_FILE {} can't be read: {error}", file.display())
            })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
            Client::build_with_tls(info, certificates)
        }
        None => Client::open(info),
    };
    client.map_err(|error| format!("Redis can't be used with these settings: {error}"))
}

/// Id and address of `CLIENT INFO`'s answer.
fn peer(info: &str) -> Option<Peer> {
    let value = |name: &str| {
        info.split_ascii_whitespace().find_map(|field| field.strip_prefix(name)).map(str::to_owned)
    };
    Some(Peer { id: value("id=")?, address: value("addr=")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(url: &str) -> Result<Link, String> {
        Link::new(&Secret::from(url.to_owned()), &[])
    }

    #[test]
    fn a_url_that_is_none_is_not_repeated() {
        for url in ["", "http://u:hidden@host", "redis://u:hidden@host:x", "hidden"] {
            let error = link(url).err().expect(url);
            assert!(error.starts_with("url must be") && !error.contains("hidden"), "{error}");
        }
        assert!(link("rediss://:p%40ss@localhost:6380/2").is_ok());
    }

    #[test]
    fn errors_do_not_show_the_password() {
        let link = link("redis://user:p%40ss@localhost").expect("a URL");
        let said = "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'user' 'p@ss'";
        let error = redis::make_extension_error("ERR".into(), Some(said.into()));
        let failure = link.failure(&error).detail;
        assert!(failure.ends_with("'user' '…'") && failure.contains("localhost:6379"), "{failure}");
    }

    #[test]
    fn a_connection_is_known_by_id_and_address() {
        let peer = peer("id=7 addr=127.0.0.1:60516 laddr=127.0.0.1:6379 fd=8 name=").expect("one");
        assert_eq!((&*peer.id, &*peer.address), ("7", "127.0.0.1:60516"));
    }
}
