//! The command line as real processes: settings, exit statuses, signals, and what the commands print.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A sink that needs no server.
const STDOUT_SINK: &str = "[[sink]]\nname = \"all\"\nkind = \"stdout\"\n";

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("worker.toml"), config).expect("written");
    folder
}

/// The program in the folder, with an empty environment but for the port.
fn worker(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer-worker"));
    command.current_dir(folder.path()).env_clear().env("ADMIN_PORT", "0").stdin(Stdio::null());
    command
}

/// Its output once it has ended; it is killed if it runs instead.
fn output(command: &mut Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().expect("a status").is_none() && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    child.kill().expect("it ended or can be killed");
    child.wait_with_output().expect("it ended")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running worker; killed when dropped.
struct Running {
    process: Child,
    out: BufReader<ChildStdout>,
    log: String,
    address: String,
}

impl Running {
    /// Starts it and reads its log up to the line that says that it runs.
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut running = Self { process, out, log: String::new(), address: String::new() };
        running.read_up_to("\"running\"");
        let address = running.log.split("\"address\":\"").nth(1).expect("an address");
        running.address = address.split('"').next().expect("an address").to_owned();
        running
    }

    fn read_up_to(&mut self, word: &str) {
        while !self.log.contains(word) {
            let read = self.out.read_line(&mut self.log).expect("a line");
            assert!(read > 0, "it ended before {word}: {}", self.log);
        }
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("a port")
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill").success());
    }

    /// The status and the body of `GET path`.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        (status.to_owned(), body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn all_that_is_wrong_with_the_file_is_a_line_each_and_no_secret_is_shown() {
    let wrong = "[[sink]]\nname = \"x\"\nkind = \"webhook\"\nurl = \"ftp://u:${PASSWORD}@h\"\nbatch = 0\n\
                 rate = \"${PASSWORD}\"\nlanes = \"${NONE}\"\n";
    let folder = folder(wrong);
    std::fs::write(folder.path().join(".env"), "PASSWORD=s3cret\n").expect("written");
    for command in ["run", "check"] {
        let output = output(worker(&folder).arg(command));
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        let lines = text(&output.stderr);
        let expected = [
            "worker.toml:4: sink \"x\": url: ",
            "worker.toml:5: sink \"x\": batch: must be 1 to 10,000, not 0",
            "worker.toml:6: sink \"x\": rate: ",
            "worker.toml:7: sink \"x\": lanes: must be a whole number, not a text",
        ];
        assert_eq!(lines.lines().count(), expected.len(), "{lines}");
        for (line, expected) in lines.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
        assert!(!lines.contains("s3cret") && output.stdout.is_empty(), "{lines}");
    }
    let absent = output(worker(&folder).args(["--worker-config", "absent.toml"]));
    assert_eq!(absent.status.code(), Some(2));
    let line = text(&absent.stderr);
    assert!(
        line.starts_with("WORKER_CONFIG: \"absent.toml\" is invalid: it can't be read: "),
        "{line}"
    );
}

#[test]
fn an_invalid_setting_is_one_line() {
    let folder = folder(STDOUT_SINK);
    for (name, value, allowed) in [
        ("ADMIN_PORT", "http", "0 to 65535"),
        ("CLOUDEVENTS_SOURCE", "a b", "a URI or a path"),
        ("DATABASE_LOCK_TIMEOUT", "2s", "less than DATABASE_STATEMENT_TIMEOUT"),
        ("LOG_LEVEL", "loud", "trace, debug"),
        ("DATABASE_URL", "mysql://u:s3cret@h/d", "postgres://"),
    ] {
        let output = output(worker(&folder).env(name, value));
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.starts_with(name) && line.contains(allowed), "{line}");
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[test]
fn help_has_the_settings_that_it_uses_alone() {
    let folder = folder("");
    let help = text(&output(worker(&folder).env_remove("ADMIN_PORT").arg("--help")).stdout);
    // its lines are broken where the terminal's end
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in [
        "WORKER_CONFIG, default worker.toml",
        "CLOUDEVENTS_SOURCE, default /producer",
        "ADMIN_PORT, default 9283",
        "DATABASE_URL_FILE",
        "SHUTDOWN_GRACE, default 25s",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "status",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
    for word in ["TLS_CERT_FILE", "READ_DATABASE_URL", "MAX_CONCURRENT_REQUESTS"] {
        assert!(!help.contains(word), "{word} in {help}");
    }
    let status = text(&output(worker(&folder).args(["status", "--help"])).stdout);
    assert!(status.contains("--watch") && status.contains("exit status 1"), "{status}");
    let version = text(&output(worker(&folder).arg("--version")).stdout);
    assert!(
        version.starts_with("producer-worker 0.") && version.trim_end().ends_with(')'),
        "{version}"
    );
}

#[test]
fn it_runs_until_a_signal_and_is_asked_meanwhile() {
    for signal in ["TERM", "INT"] {
        let folder = folder(STDOUT_SINK);
        let mut running = Running::start(&mut worker(&folder));
        assert_eq!(running.get("/livez").0, "200");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (status, body) = running.get("/readyz");
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            if status == "200" {
                assert_eq!(body, serde_json::json!({"status": "healthy", "database": "up"}));
                break;
            }
            assert!(Instant::now() < deadline, "{status} {body}");
        }
        let (status, metrics) = running.get("/metrics");
        assert_eq!(status, "200");
        for family in
            ["process_open_fds", "producer_ingest_queue_events", "producer_change_readers"]
        {
            assert!(metrics.contains(&format!("# TYPE {family} ")), "{family} in {metrics}");
        }
        let healthcheck =
            |port: &str| output(worker(&folder).args(["healthcheck", "--admin-port", port]));
        assert!(healthcheck(running.port()).status.success());
        let port = running.port().to_owned();
        running.signal(signal);
        assert!(running.process.wait().expect("it ends").success());
        running.read_up_to("\"stopped\"");
        let gone = healthcheck(&port);
        assert_eq!((gone.status.code(), text(&gone.stderr).lines().count()), (Some(1), 1));
    }
}

#[test]
fn status_shows_what_runs_and_fails_where_a_sink_does_not() {
    let folder = folder(STDOUT_SINK);
    let status = |arguments: &[&str]| output(worker(&folder).arg("status").args(arguments));
    let unmigrated = status(&[]);
    let line = text(&unmigrated.stderr);
    assert_eq!((unmigrated.status.code(), line.lines().count()), (Some(1), 1), "{line}");

    let mut running = Running::start(&mut worker(&folder));
    running.read_up_to("running the sink");
    let deadline = Instant::now() + DEADLINE;
    let shown = loop {
        let shown = status(&[]);
        if shown.status.success() {
            break text(&shown.stdout);
        }
        assert!(Instant::now() < deadline, "{}", text(&shown.stdout));
    };
    let [headings, row] = <[&str; 2]>::try_from(shown.lines().collect::<Vec<_>>()).expect("a row");
    assert!(headings.starts_with("ROLE  NAME  KIND    STATE "), "{headings}");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..4], ["sink", "all", "stdout", "running"]);
    assert_eq!(cells[6..8], ["closed", "0"], "{row}");

    running.signal("TERM");
    assert!(running.process.wait().expect("it ends").success());
    let left = status(&["--json"]);
    assert_eq!(left.status.code(), Some(1), "nobody runs it");
    let body: serde_json::Value = serde_json::from_slice(&left.stdout).expect("JSON");
    assert_eq!(body["sinks"][0]["state"], "unassigned", "{body}");
    assert_eq!(body["sinks"][0]["name"], "all", "{body}");
    assert_eq!(body["sources"], serde_json::json!([]));
}

#[test]
fn status_is_shown_again_until_a_signal() {
    let folder = folder(STDOUT_SINK);
    let mut running = Running::start(&mut worker(&folder));
    running.read_up_to("running the sink");
    let mut watch = worker(&folder);
    let mut watch =
        watch.args(["status", "--watch"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    for _ in 0..2 {
        let headings = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ROLE")));
        assert!(headings.is_some_and(|line| line.is_ok_and(|line| !line.contains('\x1b'))));
    }
    let pid = watch.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill").success());
    assert!(watch.wait().expect("it ends").success());
}

#[test]
fn check_reaches_everything_and_says_what_fails() {
    let config = format!(
        "{STDOUT_SINK}\n[[sink]]\nname = \"hanging\"\nkind = \"redis-stream\"\nurl = \"redis://u:s3cret@127.0.0.1:9\"\n\
         stream = \"s\"\n[[source]]\nname = \"shop\"\nkind = \"kafka\"\nurl = \"127.0.0.1:9\"\ntopic = \"t\"\n"
    );
    let checked = output(worker(&folder(&config)).arg("check"));
    let lines = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{lines}{}", text(&checked.stderr));
    let expected = [
        "ok      database  ",
        "ok      sink      all      stdout",
        "failed  sink      hanging  redis-stream: ",
        "failed  source    shop     kafka: ",
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, expected) in lines.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert!(!lines.contains("s3cret"), "{lines}");

    let folder = folder(STDOUT_SINK);
    let fine = output(worker(&folder).arg("check"));
    assert!(fine.status.success(), "{}{}", text(&fine.stdout), text(&fine.stderr));
    assert!(text(&fine.stdout).contains("the start of a worker will migrate it"));
    let unreachable = output(
        worker(&folder).arg("check").env("DATABASE_URL", "postgres://u:s3cret@127.0.0.1:9/d"),
    );
    let lines = text(&unreachable.stdout);
    assert_eq!(unreachable.status.code(), Some(1), "{lines}");
    assert!(lines.starts_with("failed  database  ") && !lines.contains("s3cret"), "{lines}");
}
