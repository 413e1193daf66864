//! An Apache Kafka broker for tests: one node that is broker and controller at once.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataPartition;

use crate::java::JavaServer;
use crate::port::free_port;

const HEAP: &str = "384m";

/// For a topic; a broker that has just started refuses some.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A broker. It ends with its value, or with the test process in whatever way.
#[derive(Debug)]
pub struct Kafka {
    server: JavaServer,
    port: u16,
}

impl Kafka {
    /// The broker that all tests of this process share, and that none of them stops.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new broker, which the test may freeze, kill and restart. It makes no topic by itself.
    ///
    /// # Panics
    /// If it doesn't start.
    pub fn start() -> Self {
        let (port, controller) = (free_port(), free_port());
        let server = JavaServer::new("kafka", HEAP);
        let kafka = Self { server, port };
        fs::write(kafka.settings(), kafka.properties(controller)).expect("its settings");
        let settings = kafka.settings();
        let cluster = "producer-test-cluster0".as_ref();
        let format: [&OsStr; 5] =
            ["format".as_ref(), "-t".as_ref(), cluster, "-c".as_ref(), settings.as_os_str()];
        kafka.server.run("kafka.tools.StorageTool", &format);
        kafka.server.start("kafka.Kafka", &[settings.as_os_str()], || kafka.listens());
        kafka
    }

    /// `host:port`, as in `url`.
    pub fn url(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a topic with these settings (`max.message.bytes`, …).
    ///
    /// # Panics
    /// If the broker refuses it.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let client: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.url()).create().expect("a client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let deadline = Instant::now() + ADMIN_TIMEOUT;
        loop {
            let made = client.create_topics([&topic], &options).await;
            match made.as_deref() {
                Ok([Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))]) => break,
                other => assert!(Instant::now() < deadline, "topic {name}: {other:?}"),
            }
        }
        // the controller has it; the broker learns it a moment later
        let is_there = || {
            let metadata = client.inner().fetch_metadata(Some(name), ADMIN_TIMEOUT).ok()?;
            let topic = metadata.topics().first()?;
            let led = |partition: &MetadataPartition| partition.error().is_none();
            let complete = topic.error().is_none() && topic.partitions().iter().all(led);
            Some(complete && topic.partitions().len() == usize::try_from(partitions).ok()?)
        };
        while is_there() != Some(true) {
            assert!(Instant::now() < deadline, "topic {name} does not appear");
        }
    }

    /// Kills it (SIGKILL), and waits for its end.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Kills it where it runs, and starts it with the same data.
    pub fn restart(&self) {
        self.server.restart(|| self.listens());
    }

    /// Stops it with SIGSTOP: connections stay open without an answer.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Ends [`Kafka::freeze`].
    pub fn thaw(&self) {
        self.server.thaw();
    }

    /// It listens once it has joined its own controller.
    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn settings(&self) -> PathBuf {
        self.server.folder().join("server.properties")
    }

    fn properties(&self, controller: u16) -> String {
        let (port, data) = (self.port, self.server.folder().join("data"));
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=2\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=2\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            data.display()
        )
    }
}
