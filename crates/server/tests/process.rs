//! The command line as real processes: settings, exit statuses, signals.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{sql, tiny, tiny_file};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Its output once it has ended; it is killed if it serves instead.
fn output(command: &mut Command) -> Output {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("a status").is_none() && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    child.kill().expect("it ended or can be killed");
    child.wait_with_output().expect("it ended")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn refused_in_one_line(output: &Output, words: &[&str]) {
    let line = text(&output.stderr);
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    for word in words {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_invalid_value_is_one_line_with_setting_value_and_what_is_allowed() {
    let folder = folder();
    let cases = [
        ("SERVER_PORT", "http", "0 to 65535"),
        ("BIND_ADDRESS", "localhost", "IP address"),
        ("LOG_LEVEL", "loud", "trace, debug"),
        ("REQUEST_TIMEOUT", "3", "500ms"),
        ("DATABASE_STATEMENT_TIMEOUT", "400h", "to 24h"),
        ("SLOW_REQUEST", "1", "or 0 for off"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector", "https://host:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "xray", "parentbased_"),
        ("MAX_BODY_BYTES", "16XB", "16MiB"),
        ("MIGRATE_ON_START", "maybe", "true, false, 1, 0, yes or no"),
        ("DATABASE_MAX_CONNECTIONS", "1", "from 2"),
        ("DATABASE_POOLER", "session", "none or transaction"),
        ("MAX_CONNECTIONS", "-1", "from 1"),
        ("MAX_CONCURRENT_REQUESTS", "0", "from 1"),
        ("MAX_CHANGE_READERS", "0", "from 1"),
        ("ADMIN_PORT", "on", "0 to 65535"),
        ("ADMIN_BIND_ADDRESS", "localhost", "IP address"),
    ];
    for (name, value, allowed) in cases {
        let flag = format!("--{}={value}", name.to_lowercase().replace('_', "-"));
        for command in [tiny(&folder).env(name, value), tiny(&folder).args(["migrate", &flag])] {
            refused_in_one_line(&output(command), &[name, value, allowed]);
        }
    }
    for wrong in [vec!["--no-such-flag"], vec!["dance"], vec!["migrate", "down"]] {
        refused_in_one_line(&output(tiny(&folder).args(wrong)), &[]);
    }
    refused_in_one_line(&output(tiny(&folder).env("RUST_LOG", "a=loud")), &["RUST_LOG"]);
}

/// Else a row that another session locks fails the statement for the whole batch.
#[test]
fn a_lock_is_waited_for_less_than_a_statement() {
    let folder = folder();
    for (name, value) in [("DATABASE_LOCK_TIMEOUT", "2s"), ("DATABASE_STATEMENT_TIMEOUT", "100ms")]
    {
        let wrong = output(tiny(&folder).args(["migrate", "status"]).env(name, value));
        let words = ["DATABASE_LOCK_TIMEOUT", "DATABASE_STATEMENT_TIMEOUT", value, "less than"];
        refused_in_one_line(&wrong, &words);
    }
}

#[test]
fn a_databases_password_is_never_shown() {
    let folder = folder();
    let wrong =
        tiny(&folder).env("DATABASE_URL", "mysql://u:secret@h/d").output().expect("it runs");
    refused_in_one_line(&wrong, &["DATABASE_URL", "postgres://"]);
    assert!(!text(&wrong.stderr).contains("secret"));
    let help = tiny(&folder)
        .env("DATABASE_URL", "postgres://u:secret@h/d")
        .arg("--help")
        .output()
        .expect("it runs");
    assert!(!text(&help.stdout).contains("secret"));
}

#[test]
fn a_databases_url_may_stand_in_a_file() {
    let folder = folder();
    let secret = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file
    };
    let migrate = |file: &PathBuf| {
        let mut command = tiny(&folder);
        command.arg("migrate").env("DATABASE_URL_FILE", file);
        command
    };
    let good = secret("good", "sqlite://secret.db\n");
    assert!(output(&mut migrate(&good)).status.success());
    assert!(folder.path().join("secret.db").exists(), "a line's end is no part of the URL");

    let both = output(migrate(&good).env("DATABASE_URL", "sqlite://other.db"));
    refused_in_one_line(&both, &["DATABASE_URL_FILE", "good", "DATABASE_URL is set too"]);
    let absent = folder.path().join("absent");
    for file in [secret("empty", " \n"), absent, folder.path().to_owned()] {
        let name = file.display().to_string();
        let words = ["DATABASE_URL_FILE", &name, "allowed is a file that holds the URL"];
        refused_in_one_line(&output(&mut migrate(&file)), &words);
    }
    let wrong = output(&mut migrate(&secret("wrong", "mysql://u:hidden@h/d")));
    refused_in_one_line(&wrong, &["postgres://"]);
    assert!(!text(&wrong.stderr).contains("hidden"));
}

/// A new certificate and its key as PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn invalid_tls_files_end_the_start() {
    let folder = folder();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file
    };
    let (cert, key) = certificate();
    let (good, key) = (file("good", &cert), file("key", &key));
    let (empty, absent) = (file("empty", ""), folder.path().join("absent"));
    let mangled = file("mangled", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let foreign = file("foreign", &certificate().1);
    let cases = [
        (&absent, &key, "TLS_CERT_FILE", "absent", "No such file"),
        (&empty, &key, "TLS_CERT_FILE", "empty", "it holds no certificate"),
        (&key, &key, "TLS_CERT_FILE", "key", "it holds no certificate"),
        (&mangled, &key, "TLS_CERT_FILE", "mangled", "certificate"),
        (&good, &absent, "TLS_KEY_FILE", "absent", "No such file"),
        (&good, &good, "TLS_KEY_FILE", "good", "it holds no private key"),
        (&good, &foreign, "TLS_KEY_FILE", "foreign", "doesn't belong to TLS_CERT_FILE"),
    ];
    for (cert, key, name, value, why) in cases {
        let files = [("TLS_CERT_FILE", cert), ("TLS_KEY_FILE", key)];
        let wrong = output(tiny(&folder).env("SERVER_PORT", "0").envs(files));
        refused_in_one_line(&wrong, &[name, value, why, "allowed is a PEM file"]);
    }
    for (name, file) in [("TLS_CERT_FILE", &good), ("TLS_KEY_FILE", &key)] {
        let wrong = output(tiny(&folder).env(name, file));
        refused_in_one_line(&wrong, &[name, "isn't set", "both or neither"]);
    }
}

#[test]
fn a_file_without_certificates_to_trust_ends_the_start() {
    let folder = folder();
    std::fs::write(folder.path().join("empty"), "").expect("written");
    let receiver = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4318");
    for (file, why) in [("absent", "No such file"), ("empty", "it holds no certificate")] {
        let trusted = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file);
        let output = output(tiny(&folder).env("SERVER_PORT", "0").envs([receiver, trusted]));
        refused_in_one_line(&output, &[trusted.0, file, why, "allowed is a PEM file"]);
    }
}

#[test]
fn help_lists_every_setting_with_its_default_and_version_the_commit() {
    let folder = folder();
    let help = text(&output(tiny(&folder).env("REQUEST_TIMEOUT", "9s").arg("--help")).stdout);
    for setting in ["--server-port", "SERVER_PORT, default 9083", "REQUEST_TIMEOUT, default 3s"] {
        assert!(help.contains(setting), "{setting} in {help}");
    }
    let version = text(&output(tiny(&folder).arg("--version")).stdout);
    assert!(version.starts_with("tiny 0."), "{version}");
    assert!(version.trim_end().ends_with(')'), "{version}");
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name).exists();
    std::fs::write(folder.path().join(".env"), "DATABASE_URL=sqlite://file.db\n").expect("written");
    let migrate = |command: &mut Command| assert!(output(command).status.success());
    migrate(tiny(&folder).arg("migrate").env("MIGRATE_ON_START", ""));
    assert!(file("file.db"), "an empty variable counts as unset");
    migrate(tiny(&folder).arg("migrate").env("DATABASE_URL", "sqlite://environment.db"));
    assert!(file("environment.db"));
    let flag = ["migrate", "--database-url", "sqlite://flag.db"];
    migrate(tiny(&folder).args(flag).env("DATABASE_URL", "sqlite://other.db"));
    assert!(file("flag.db") && !file("other.db"));
}

/// Whoever sets it doesn't want the embedded file.
#[test]
fn an_empty_databases_url_is_an_error() {
    let folder = folder();
    let words = ["DATABASE_URL", "set but empty", "unset it for the embedded data/producer.db"];
    for arguments in [&[][..], &["migrate"], &["prune", "--older-than", "1d"]] {
        refused_in_one_line(&output(tiny(&folder).args(arguments).env("DATABASE_URL", "")), &words);
    }
    std::fs::write(folder.path().join(".env"), "DATABASE_URL=\n").expect("written");
    refused_in_one_line(&output(&mut tiny(&folder)), &words);
    let flag = ["migrate", "--database-url", "sqlite://flag.db"];
    assert!(output(tiny(&folder).args(flag)).status.success(), "a flag wins");
}

#[test]
fn an_unknown_parameter_of_the_url_is_an_error() {
    let folder = folder();
    let url = "postgres://user:secret@127.0.0.1:1/d?sslmod=verify-full";
    let wrong = output(tiny(&folder).env("DATABASE_URL", url));
    refused_in_one_line(&wrong, &["DATABASE_URL", "\"sslmod\"", "did you mean sslmode?"]);
    assert!(!text(&wrong.stderr).contains("secret"));
}

#[test]
fn a_misspelt_name_in_the_file_is_a_warning_with_its_line_and_without_its_value() {
    let folder = folder();
    let file = "# settings\nDATABSE_URL=sqlite://s3cret.db\nlog_level=s3cret\nPOSTGRES_PORT=5432\n";
    std::fs::write(folder.path().join(".env"), file).expect("written");
    let migrate = output(tiny(&folder).arg("migrate"));
    assert!(migrate.status.success());
    let shown = text(&migrate.stderr);
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            ".env: line 2: DATABSE_URL is no setting and is ignored; did you mean DATABASE_URL?",
            ".env: line 3: log_level is no setting and is ignored; did you mean LOG_LEVEL?",
        ]
    );
    let service = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
    let warnings: Vec<_> = service.log.iter().filter(|line| line.contains(".env has")).collect();
    assert_eq!(warnings.len(), 2, "{:?}", service.log);
    for word in ["WARN", "DATABSE_URL", "\"line\":2", "\"did_you_mean\":\"DATABASE_URL\""] {
        assert!(warnings[0].contains(word), "{word} in {}", warnings[0]);
    }
    assert!(service.log.iter().all(|line| !line.contains("s3cret")), "{:?}", service.log);
}

#[test]
fn a_commands_own_options_come_before_the_settings() {
    let folder = folder();
    for (arguments, own) in [
        (&["rebuild", "--help"][..], &["--write"][..]),
        (&["prune", "--help"], &["--older-than", "--dry-run", "--yes"]),
        (&["migrate", "down", "--help"], &["--to", "--dry-run", "--yes", "--force"]),
        (&["migrate", "new-epoch", "--help"], &["restored", "--yes"]),
        (&["types", "apply", "--help"], &["--dry-run", "<FILE>", "status is 2"]),
        (&["migrate", "--help"], &["down", "adopt", "new-epoch"]),
    ] {
        let help = text(&output(tiny(&folder).args(arguments)).stdout);
        let (before, after) = help.split_once("\nSettings:\n").expect("a heading");
        for option in own {
            assert!(before.contains(option), "{option} in {help}");
        }
        assert!(!before.contains("--database-url") && after.contains("--database-url"), "{help}");
    }
}

#[test]
fn the_line_that_says_that_it_serves_names_the_documentation() {
    let folder = folder();
    for bind in ["127.0.0.1", "0.0.0.0"] {
        let service =
            Service::start(tiny(&folder).envs([("SERVER_PORT", "0"), ("BIND_ADDRESS", bind)]));
        let line = service.log.last().expect("a line");
        let docs = line.split("\"docs\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let docs = docs.expect("a URL");
        let port = docs.strip_prefix("http://127.0.0.1:").and_then(|r| r.strip_suffix("/docs"));
        assert!(port.is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0)), "{line}");
    }
}

#[test]
fn what_deletes_asks_or_needs_yes() {
    let folder = folder();
    let run = |arguments: &[&str]| output(tiny(&folder).args(arguments));
    let down = ["migrate", "down", "--to", "0"];
    let prune = ["prune", "--older-than", "1d"];
    assert!(run(&["migrate"]).status.success());
    let nothing = run(&prune);
    assert!(nothing.status.success(), "nothing is old: {}", text(&nothing.stderr));
    sql(
        &folder,
        "INSERT INTO event_log (event_uuid, ordinal, kind, version, committed_at, created,
             entity_type, entity_id, event_name, patch)
         VALUES (x'00000000000000000000000000000001', 0, 0, 1, 0, 1, 'Car', 'a', 'Test', '{}');
         INSERT INTO entities (entity_type, entity_id, version, size, data, created_at, updated_at)
         VALUES ('Car', 'a', 1, 2, '{}', 0, 0)",
    );
    for (command, words) in [
        (&down[..], ["--yes", "--dry-run", "event_log (1 row)"]),
        (&prune[..], ["--yes", "--dry-run", "1 log entries of 1 entities"]),
    ] {
        refused_in_one_line(&run(command), &words);
    }
    let dry = |command: &[&str]| {
        let output = run(&[command, &["--dry-run"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(dry(&prune).starts_with("1 log entries would be deleted, 1 entities would"));
    let plan = dry(&down);
    for line in ["would revert 20261121000000", "would delete the table event_log with 1 row\n"] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    let yes = |command: &[&str]| text(&run(&[command, &["--yes"]].concat()).stdout);
    assert!(yes(&prune).starts_with("1 log entries deleted"), "the dry run deleted nothing");
    assert!(yes(&down).ends_with("is at 0\n"));
    let again = run(&down);
    assert!(again.status.success(), "nothing to revert: {}", text(&again.stderr));
    assert!(dry(&down).contains("nothing to revert"));
}

#[test]
fn a_new_epoch_asks_or_needs_yes() {
    let folder = folder();
    let run = |arguments: &[&str]| output(tiny(&folder).arg("migrate").args(arguments));
    assert!(!run(&["new-epoch", "--yes"]).status.success(), "nothing is migrated");
    assert!(run(&[]).status.success());
    refused_in_one_line(&run(&["new-epoch"]), &["--yes", "ends the tokens of all readers"]);
    let renewed = run(&["new-epoch", "--yes"]);
    assert!(renewed.status.success(), "{}", text(&renewed.stderr));
    let line = text(&renewed.stdout);
    assert!(line.ends_with("has a new epoch: tokens from before are gone\n"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn down_refuses_while_a_service_runs() {
    let folder = folder();
    let mut service = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let dry = output(tiny(&folder).args(["migrate", "down", "--to", "0", "--dry-run"]));
        assert!(dry.status.success(), "{}", text(&dry.stderr));
        if text(&dry.stdout).contains("in use by") {
            break; // it opens the file within moments after its start
        }
        assert!(Instant::now() < deadline, "{}", text(&dry.stdout));
    }
    let refused = output(tiny(&folder).args(["migrate", "down", "--to", "0", "--yes"]));
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    let line = text(&refused.stderr);
    assert!(line.contains("in use") && line.contains("--force"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    service.signal("TERM");
    assert!(service.process.wait().expect("it ends").success());
    assert!(output(tiny(&folder).args(["migrate", "down", "--to", "0", "--yes"])).status.success());
}

#[test]
fn migrate_goes_up_and_down_and_shows_its_status() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let output = output(tiny(&folder).arg("migrate").args(arguments));
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&[]);
    assert!(run(&["status"]).contains("applied"));
    run(&["down", "--to", "0", "--yes"]);
    assert!(run(&["status"]).contains("pending"));
    run(&["up"]);
    assert!(run(&["adopt"]).contains("no table car_entities"));
    let rebuild = output(tiny(&folder).arg("rebuild"));
    assert!(rebuild.status.success(), "{}", text(&rebuild.stderr));
}

#[test]
fn skipped_rows_make_status_three() {
    let folder = folder();
    assert!(output(tiny(&folder).arg("migrate")).status.success());
    sql(
        &folder,
        "DROP VIEW car_entities;
         CREATE TABLE car_entities (id TEXT PRIMARY KEY, entity_type, created_at, updated_at, data);
         INSERT INTO car_entities VALUES ('good', 'Car', NULL, NULL, '{}'), ('bad', 'Car', NULL, NULL, '[]')",
    );
    let adopt = output(tiny(&folder).args(["migrate", "adopt"]));
    assert_eq!(adopt.status.code(), Some(3), "{}", text(&adopt.stderr));
    assert!(text(&adopt.stdout).contains("1 rows adopted, 1 skipped"), "{}", text(&adopt.stdout));
    sql(&folder, "UPDATE entities SET data = '{\"x\":1}'");
    assert_eq!(output(tiny(&folder).arg("rebuild")).status.code(), Some(1));
    assert!(output(tiny(&folder).args(["rebuild", "--write"])).status.success());
    sql(&folder, "DELETE FROM event_log");
    assert_eq!(output(tiny(&folder).args(["rebuild", "--write"])).status.code(), Some(3));
}

/// A running service; killed when dropped.
struct Service {
    process: Child,
    log: Vec<String>,
    port: String,
}

impl Service {
    /// Starts it and reads its log up to the line that says that it serves.
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let stdout = process.stdout.take().expect("a pipe");
        let mut log = Vec::new();
        for line in BufReader::new(stdout).lines() {
            log.push(line.expect("a line"));
            if log.iter().any(|line| line.contains("\"serving\"")) {
                break;
            }
        }
        let serving = log.last().expect("it serves");
        let port = serving.split("\"address\":\"").nth(1).expect("an address");
        let port = port.split('"').next().and_then(|address| address.rsplit(':').next());
        let port = port.expect("a port");
        let port = port.chars().take_while(char::is_ascii_digit).collect();
        Self { process, log, port }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn serves_from_the_embedded_file_until_a_signal() {
    for signal in ["TERM", "INT"] {
        let folder = folder();
        let mut service = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
        assert!(service.log.iter().any(|line| line.contains("embedded")), "{:?}", service.log);
        assert!(service.log.iter().all(|line| line.starts_with('{')), "JSON where no terminal is");
        let port = service.port.clone();
        let healthcheck =
            |port: &str| output(tiny(&folder).args(["healthcheck", "--server-port", port]));
        assert!(healthcheck(&port).status.success());

        let taken = output(tiny(&folder).env("SERVER_PORT", &port));
        assert_eq!(taken.status.code(), Some(1));
        let line = text(&taken.stderr);
        assert!(line.starts_with(&format!("SERVER_PORT: can't listen on 127.0.0.1:{port}: ")));
        assert_eq!(line.lines().count(), 1, "{line}");

        service.signal(signal);
        assert!(service.process.wait().expect("it ends").success());
        assert_eq!(healthcheck(&port).status.code(), Some(1));
    }
}

/// The body of `GET path`.
fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

#[test]
fn types_are_applied_beside_a_service() {
    let folder = folder();
    let _service = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
    let file = r#"{"Car": {"indexes": ["data.x"]}}"#;
    std::fs::write(folder.path().join("cars.json"), file).expect("a file");
    let applied = output(tiny(&folder).args(["types", "apply", "cars.json"]));
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert_eq!(text(&applied.stdout), "Car: created: 1 index\n");
}

#[test]
fn operators_have_a_port_of_their_own_if_they_want() {
    let folder = folder();
    let without = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
    assert!(without.log.iter().all(|line| !line.contains("metrics")), "{:?}", without.log);
    drop(without);

    let settings = [("SERVER_PORT", "0"), ("ADMIN_PORT", "0")];
    let mut service = Service::start(tiny(&folder).envs(settings));
    let line = service.log.iter().find(|line| line.contains("serving the admin port"));
    let line = line.expect("the log names the address");
    let address = line.split("\"address\":\"").nth(1).expect("an address");
    let address = address.split('"').next().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "loopback by default: {address}");
    let text = get(address, "/metrics");
    for name in ["producer_events_total", "producer_requests_in_flight", "process_open_fds"] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} in {text}");
    }
    let database: serde_json::Value =
        serde_json::from_str(&get(address, "/metrics/db")).expect("JSON");
    assert_eq!((&database["pool"]["max"], &database["writers"]), (&4.into(), &1.into()));
    for name in ["open", "idle", "inUse"] {
        assert!(database["pool"][name].is_u64(), "{name} in {database}");
    }

    let port = address.rsplit(':').next().expect("a port");
    let taken = output(tiny(&folder).envs([("SERVER_PORT", "0"), ("ADMIN_PORT", port)]));
    assert_eq!(taken.status.code(), Some(1));
    let line = self::text(&taken.stderr);
    assert!(line.starts_with(&format!("ADMIN_PORT: can't listen on {address}: ")), "{line}");
    let foreign = [("SERVER_PORT", "0"), ("BIND_ADDRESS", "192.0.2.1")];
    let line = self::text(&output(tiny(&folder).envs(foreign)).stderr);
    assert!(line.starts_with("BIND_ADDRESS: can't listen on 192.0.2.1:0: "), "{line}");
    service.signal("TERM");
    assert!(service.process.wait().expect("it ends").success());
}

#[test]
fn healthcheck_gives_up_on_a_service_that_hangs() {
    let folder = folder();
    let still = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = still.local_addr().expect("an address").port().to_string();
    let ask = ["healthcheck", "--server-port", &port, "--request-timeout", "200ms"];
    let answer = output(tiny(&folder).args(ask));
    assert_eq!(answer.status.code(), Some(1));
    assert!(text(&answer.stderr).contains("no answer within 200ms"), "{}", text(&answer.stderr));
}

#[test]
fn the_older_services_table_is_logged() {
    let folder = folder();
    assert!(output(tiny(&folder).arg("migrate")).status.success());
    sql(&folder, "DROP VIEW car_entities; CREATE TABLE car_entities (id TEXT PRIMARY KEY)");
    let service = Service::start(tiny(&folder).env("SERVER_PORT", "0"));
    assert!(service.log.iter().any(|line| line.contains("migrate adopt")), "{:?}", service.log);
}

#[test]
fn a_database_out_of_reach_is_waited_for() {
    let folder = folder();
    let url = "postgres://user:secret@127.0.0.1:1/none";
    let mut service =
        Service::start(tiny(&folder).envs([("SERVER_PORT", "0"), ("DATABASE_URL", url)]));
    assert!(service.log.iter().any(|line| line.contains("can't be reached")), "{:?}", service.log);
    assert!(service.log.iter().all(|line| !line.contains("secret")), "{:?}", service.log);
    service.signal("TERM");
    assert!(service.process.wait().expect("it ends").success());
}

/// The program below a limit of 256 open files; `-S` is the soft one alone.
fn limited(folder: &tempfile::TempDir, kind: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit {kind} -n 256 && exec {}", tiny_file().display());
    command.args(["-c", &script]).current_dir(folder.path()).env_clear().env("SERVER_PORT", "0");
    command
}

#[test]
fn a_soft_limit_of_open_files_is_no_limit() {
    let folder = folder();
    let service = Service::start(limited(&folder, "-S").env("MAX_CONNECTIONS", "400"));
    assert!(service.log.iter().all(|line| !line.contains("open files")), "{:?}", service.log);
    let connect = |_| {
        let address = format!("127.0.0.1:{}", service.port);
        let mut connection = std::net::TcpStream::connect(address).expect("it listens");
        let mut ready = [0; 5];
        connection.read_exact(&mut ready).expect("it serves");
        connection
    };
    let connections: Vec<_> = (0..300).map(connect).collect();
    drop(connections);
}

#[test]
fn a_hard_limit_of_open_files_that_is_too_low_is_logged() {
    let folder = folder();
    let service = Service::start(limited(&folder, "").env("MAX_CONNECTIONS", "400"));
    let lines: Vec<_> = service.log.iter().filter(|line| line.contains("open files")).collect();
    assert_eq!(lines.len(), 1, "{:?}", service.log);
    for word in ["WARN", "MAX_CONNECTIONS", "256", "ulimit"] {
        assert!(lines[0].contains(word), "{word} in {}", lines[0]);
    }
}
