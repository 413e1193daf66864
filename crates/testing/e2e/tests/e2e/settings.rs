//! `.env.example` against the settings that the binaries have.

use std::collections::BTreeMap;
use std::path::Path;

use producer_e2e::Binary;
use tokio::process::Command;

/// The settings of a binary by its own help, each with its default.
async fn settings(binary: &Path) -> BTreeMap<String, Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary);
    command.env_clear().current_dir(folder.path()).arg("--help");
    let help = command.output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    // each ends with [NAME] or [NAME, default VALUE], perhaps on several lines
    let (_, listed) = help.split_once("\nSettings:\n").unwrap();
    let listed = listed.split_whitespace().collect::<Vec<_>>().join(" ");
    let bracketed = listed.split('[').skip(1).filter_map(|text| Some(text.split_once(']')?.0));
    let named = bracketed.filter(|text| text.starts_with(|first: char| first.is_ascii_uppercase()));
    let settings = named.map(|text| match text.split_once(", default ") {
        Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
        None => (text.to_owned(), None),
    });
    settings.collect()
}

#[tokio::test]
async fn the_example_has_every_setting_with_its_default() {
    let mut settings = settings(&Binary::Rest.path()).await;
    settings.extend(self::settings(&Binary::Grpc.path()).await);
    // last: its ADMIN_PORT has a default
    settings.extend(self::settings(&Binary::Rest.path().with_file_name("producer-worker")).await);
    for name in ["SERVER_PORT", "GRPC_SERVER_PORT", "OTEL_SERVICE_NAME", "WORKER_CONFIG"] {
        assert!(settings.contains_key(name), "{name} in {settings:?}");
    }
    // without a flag
    settings.insert("RUST_LOG".into(), None);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.env.example");
    let example = std::fs::read_to_string(file).unwrap();
    let shown = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let shown = shown.filter(|(name, _)| !name.contains(' '));
    let shown: BTreeMap<_, _> =
        shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let names = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(shown.keys().cloned().collect::<Vec<_>>(), names(&settings));
    for (name, default) in settings {
        if let Some(default) = default {
            assert_eq!(shown[&name], default, "{name}");
        }
    }
}
