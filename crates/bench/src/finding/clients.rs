//! Clients that ask one question after the other. Of an answer they look at its first and last bytes only.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::sleep;

use super::cars::{self, Cars, DEALERS, WORDS};
use super::steps::Question;
use crate::Result;
use crate::generator::{Clients, Connection, Schedule, connect, to_text};
use crate::meter::Meter;

/// What is percent-encoded in the value of a query parameter.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long a client waits after a refusal: `Retry-After` says so.
const PAUSE: Duration = Duration::from_secs(1);
/// The end of a page, behind its entities, has at most so many bytes.
const PAGE_END: usize = 4096;

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// By the routes of finding.
    Question(Question),
    /// An entity by its key.
    Entity,
}

/// Makes the requests of a client, and takes their answers.
pub(super) struct Asker {
    asked: Asked,
    cars: Cars,
    random: Rng,
    /// Of the next page; none before the first.
    token: Option<String>,
}

impl Asker {
    /// About these cars.
    pub(super) fn new(asked: Asked, cars: Cars) -> Self {
        Self { asked, cars, random: Rng::with_seed(crate::next_seed()), token: None }
    }

    /// The next request's path with its query.
    pub(super) fn path(&mut self) -> String {
        let kind = cars::TYPE;
        let list = |filter: &str| {
            let filter = utf8_percent_encode(filter, VALUE);
            format!("/api/v1/entities/{kind}?pageSize=100&filter={filter}")
        };
        let path = match self.asked {
            Asked::Question(Question::List) => format!("/api/v1/entities/{kind}?pageSize=100"),
            Asked::Question(Question::Unindexed) => list("data.price < 0"),
            Asked::Question(Question::Indexed) => {
                let dealer = cars::dealer(self.random.u64(..DEALERS));
                list(&format!("data.dealer == \"{dealer}\""))
            }
            Asked::Question(Question::Types) => "/api/v1/types".to_owned(),
            Asked::Question(Question::Search) => {
                let [one, other] = [(); 2].map(|()| cars::word(self.random.u64(..WORDS)));
                format!("/api/v1/search?query={one}%20{other}&type={kind}&facet=data.make")
            }
            Asked::Entity => {
                format!(
                    "/api/v1/entities/{kind}/{}",
                    self.cars.id(self.random.u64(..self.cars.count))
                )
            }
        };
        match &self.token {
            Some(token) => format!("{path}&pageToken={}", utf8_percent_encode(token, VALUE)),
            None => path,
        }
    }

    /// Whether the answer is what was asked for. Keeps the token of the next page.
    pub(super) fn take(&mut self, body: &[u8]) -> bool {
        let is_right = body.starts_with(self.start().as_bytes());
        if let Asked::Question(Question::List | Question::Unindexed) = self.asked {
            self.token = next_token(body);
        }
        is_right
    }

    /// How a right answer begins.
    fn start(&self) -> &'static str {
        const CARS: &str = r#"{"entities":[{"entityType":"Car","entityId":"car-"#;
        match self.asked {
            Asked::Question(Question::List) => CARS,
            Asked::Question(Question::Indexed) if self.cars.of_a_dealer() > 0 => CARS,
            Asked::Question(Question::Indexed) => r#"{"entities":["#,
            Asked::Question(Question::Unindexed) => r#"{"entities":[]"#,
            Asked::Question(Question::Types) => r#"{"types":[{"#,
            Asked::Question(Question::Search) => r#"{"hits":["#,
            Asked::Entity => r#"{"entityType":"Car","entityId":"car-"#,
        }
    }
}

/// The token of the page behind this one.
fn next_token(page: &[u8]) -> Option<String> {
    const NAME: &str = r#""nextPageToken":""#;
    let end = &page[page.len().saturating_sub(PAGE_END)..];
    let end = String::from_utf8_lossy(end);
    let (_, token) = end.rsplit_once(NAME)?;
    Some(token.split_once('"')?.0.to_owned())
}

/// A request without a body.
pub(super) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
}

/// So many clients that ask as often as the schedule lets them. They stop when the value is dropped.
pub(super) async fn start(
    address: SocketAddr,
    count: usize,
    (asked, cars): (Asked, Cars),
    schedule: &Schedule,
    meter: &Meter,
) -> Result<Clients> {
    let mut clients = Clients::default();
    for connection in connect(address, count).await? {
        let asker = Asker::new(asked, cars);
        clients.spawn(ask(connection, asker, schedule.clone(), meter.clone()));
    }
    Ok(clients)
}

async fn ask(mut connection: Connection, mut asker: Asker, schedule: Schedule, meter: Meter) {
    loop {
        let time = schedule.next().await;
        let request = request("GET", &asker.path());
        match connection.call(request.as_bytes()).await {
            Ok(response) if response.status == 200 && asker.take(response.body) => meter.read(time),
            Ok(response) if response.status == 503 => {
                meter.refusal(time, || to_text(&response));
                sleep(PAUSE).await;
            }
            Ok(response) => {
                return meter.record_error(|| format!("{request}{}", to_text(&response)));
            }
            Err(error) => return meter.record_error(|| format!("connection error: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_with_the_token_and_begins_again_behind_the_last_page() {
        let mut asker = Asker::new(Asked::Question(Question::List), Cars { count: 1000 });
        let first = asker.path();
        let page =
            r#"{"entities":[{"entityType":"Car","entityId":"car-1"}],"nextPageToken":"a+b"}"#;
        assert!(asker.take(page.as_bytes()));
        assert_eq!(asker.path(), format!("{first}&pageToken=a%2Bb"));
        let last = r#"{"entities":[{"entityType":"Car","entityId":"car-1"}]}"#;
        assert!(asker.take(last.as_bytes()));
        assert_eq!(asker.path(), first);
        assert!(!asker.take(br#"{"entities":[]}"#));
    }

    #[test]
    fn a_filter_is_encoded() {
        let mut asker = Asker::new(Asked::Question(Question::Unindexed), Cars { count: 1000 });
        assert_eq!(asker.path(), "/api/v1/entities/Car?pageSize=100&filter=data.price%20%3C%200");
        assert_eq!(request("GET", "/x"), "GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    }
}
