//! `DATABASE_URL`.

use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;

/// Where the embedded database is without a `DATABASE_URL`.
pub const DEFAULT_FILE: &str = "data/producer.db";

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
        match url.split_once(':') {
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                let options = url.parse::<PgConnectOptions>();
                let options = options
                    .map_err(|error| format!("DATABASE_URL: {}; {ALLOWED}", one_line(&error)))?;
                Ok(Self::Postgres(Box::new(options)))
            }
            Some(("sqlite", rest)) => sqlite_file(rest).map(Self::Sqlite),
            _ => Err(format!("DATABASE_URL: this is no URL of a database; {ALLOWED}")),
        }
    }
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
