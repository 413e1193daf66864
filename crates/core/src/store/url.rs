//! `DATABASE_URL` and `READ_DATABASE_URL`.

use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// Where the embedded database is without a `DATABASE_URL`.
pub const DEFAULT_FILE: &str = "data/producer.db";

/// The parameters that sqlx knows, beside `options[NAME]`. It ignores others.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Up to so many edits a name is taken for a typing error of another.
const TYPO: usize = 2;

const ALLOWED: &str = "allowed are postgres://USER@HOST/DATABASE and sqlite://FILE";

/// A database that `DATABASE_URL` names.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// PostgreSQL, as the URL says, with nothing of our own set yet.
    Postgres(Box<PgConnectOptions>),
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl fmt::Debug for DatabaseUrl {
    /// Leaves out the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(options) => {
                let (host, port) = (options.get_host(), options.get_port());
                let database = options.get_database().unwrap_or_default();
                write!(f, "Postgres({host}:{port}/{database})")
            }
            Self::Sqlite(file) => write!(f, "Sqlite({})", file.display()),
        }
    }
}

impl DatabaseUrl {
    /// Parses the setting; unset is the embedded file.
    ///
    /// # Errors
    /// One line that says what is allowed. It doesn't repeat the URL, which may hold a password.
    pub fn parse(url: Option<&str>) -> Result<Self, String> {
        let Some(url) = url else {
            return Ok(Self::Sqlite(DEFAULT_FILE.into()));
        };
        if url.is_empty() {
            return Err(format!(
                "DATABASE_URL: it is set but empty; unset it for the embedded {DEFAULT_FILE}"
            ));
        }
        let named = |why| format!("DATABASE_URL: {why}");
        match url.split_once(':') {
            _ if is_postgres(url) => {
                let options = postgres(url).map_err(|why| named(format!("{why}; {ALLOWED}")))?;
                Ok(Self::Postgres(Box::new(options)))
            }
            Some(("sqlite", rest)) => sqlite_file(rest).map(Self::Sqlite),
            _ => Err(named(format!("this is no URL of a database; {ALLOWED}"))),
        }
    }
}

/// Parses `READ_DATABASE_URL`, which names a replica.
///
/// # Errors
/// As [`DatabaseUrl::parse`].
pub(super) fn parse_replica(url: &str) -> Result<PgConnectOptions, String> {
    const ALLOWED: &str = "allowed is postgres://USER@HOST/DATABASE";
    let named = |why| format!("READ_DATABASE_URL: {why}; {ALLOWED}");
    if !is_postgres(url) {
        return Err(named("this is no URL of a PostgreSQL".to_owned()));
    }
    postgres(url).map_err(named)
}

fn is_postgres(url: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
}

fn postgres(url: &str) -> Result<PgConnectOptions, String> {
    check_parameters(url)?;
    url.parse().map_err(|error: sqlx::Error| one_line(&error))
}

/// The file behind `sqlite:`. Parameters are refused rather than ignored, and so is a database in
/// memory: it would lose what was acknowledged.
fn sqlite_file(rest: &str) -> Result<PathBuf, String> {
    let file = rest.strip_prefix("//").unwrap_or(rest);
    if file.is_empty() || file == ":memory:" {
        return Err(format!("DATABASE_URL: the SQLite file's name is missing; {ALLOWED}"));
    }
    if file.contains('?') {
        return Err("DATABASE_URL: sqlite://FILE takes no parameters (behind '?')".into());
    }
    Ok(file.into())
}

/// A parameter that would be ignored is an error: `sslmod=verify-full` would verify nothing. What can't
/// be parsed at all is left to sqlx.
fn check_parameters(url: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(url) else { return Ok(()) };
    for (name, _) in url.query_pairs() {
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if !is_option && !PARAMETERS.contains(&&*name) {
            return Err(unknown_parameter(&name));
        }
    }
    Ok(())
}

fn unknown_parameter(name: &str) -> String {
    let distance = |known: &str| strsim::osa_distance(&name.to_lowercase(), known);
    let nearest = PARAMETERS.into_iter().min_by_key(|known| distance(known));
    match nearest.filter(|known| distance(known) <= TYPO) {
        Some(known) => {
            format!("the parameter {name:?} is unknown; did you mean {known}?")
        }
        None => format!("the parameter {name:?} is unknown; known are {}", PARAMETERS.join(", ")),
    }
}

fn one_line(error: &impl ToString) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: Option<&str>) -> Option<PathBuf> {
        match DatabaseUrl::parse(url) {
            Ok(DatabaseUrl::Sqlite(file)) => Some(file),
            _ => None,
        }
    }

    #[test]
    fn unset_is_the_embedded_file() {
        assert_eq!(file(None), Some("data/producer.db".into()));
    }

    #[test]
    fn sqlite_takes_relative_and_absolute_files() {
        assert_eq!(file(Some("sqlite://a/b.db")), Some("a/b.db".into()));
        assert_eq!(file(Some("sqlite:///data/b.db")), Some("/data/b.db".into()));
        assert_eq!(file(Some("sqlite:b.db")), Some("b.db".into()));
    }

    #[test]
    fn postgres_goes_by_both_names() {
        for url in ["postgres://u:p@h:1/d?sslmode=require", "postgresql://h/d"] {
            assert!(matches!(DatabaseUrl::parse(Some(url)), Ok(DatabaseUrl::Postgres(_))), "{url}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let Ok(url) = DatabaseUrl::parse(Some("postgres://user:hidden@host:1/name")) else {
            panic!("a URL");
        };
        assert_eq!(format!("{url:?}"), "Postgres(host:1/name)");
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_a_suggestion_and_without_its_value() {
        for (query, words) in [
            ("sslmod=s3cret", "\"sslmod\" is unknown; did you mean sslmode?"),
            ("sslmode=require&sslrootcrt=s3cret", "did you mean sslrootcert?"),
            ("SSLMODE=s3cret", "did you mean sslmode?"),
            ("connect_timeout=s3cret", "\"connect_timeout\" is unknown; known are sslmode,"),
        ] {
            let parsed = DatabaseUrl::parse(Some(&format!("postgres://u@h/d?{query}")));
            let error = parsed.expect_err(query);
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
        let known: Vec<_> = PARAMETERS
            .iter()
            .map(|name| match *name {
                "sslmode" | "ssl-mode" => format!("{name}=prefer"),
                "port" | "statement-cache-capacity" => format!("{name}=7"),
                "hostaddr" => format!("{name}=127.0.0.1"),
                _ => format!("{name}=x"),
            })
            .collect();
        let all = format!("postgres://h/d?{}&options[geqo]=off", known.join("&"));
        assert!(DatabaseUrl::parse(Some(&all)).is_ok());
    }

    #[test]
    fn a_replica_is_a_postgres() {
        assert!(parse_replica("postgres://u@h/d?sslmode=require").is_ok());
        for url in [
            "",
            "x",
            "sqlite://a.db",
            "postgres://u:secret@h:port/d",
            "postgres://u@h/d?sslmod=secret",
        ] {
            let Err(error) = parse_replica(url) else { panic!("{url} was taken") };
            assert!(error.starts_with("READ_DATABASE_URL: "), "{error}");
            assert!(error.ends_with("allowed is postgres://USER@HOST/DATABASE"), "{error}");
            assert!(!error.contains('\n') && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn others_are_refused_in_one_line_without_the_url() {
        let wrong = [
            "",
            "x",
            "mysql://u:secret@h/d",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://a?mode=ro",
            "postgres://u:secret@h:port/d",
        ];
        for url in wrong {
            let Err(error) = DatabaseUrl::parse(Some(url)) else { panic!("{url} was taken") };
            assert!(error.starts_with("DATABASE_URL: "), "{error}");
            assert!(!error.contains('\n') && !error.contains("secret"), "{error}");
        }
    }
}
