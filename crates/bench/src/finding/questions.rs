//! Clients that ask the same all the time, and pgbench that asks it in SQL.

use std::net::SocketAddr;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::cars::{self, Cars};
use super::clients::{self, Asked, Asker, request};
use super::setup::Setup;
use super::sql;
use super::steps::{Amount, Question};
use crate::Result;
use crate::generator::{Connection, Schedule, to_text};
use crate::meter::Meter;
use crate::postgres::Database;
use crate::results::Measurement;

/// Asks by the REST API.
pub(super) async fn measure(
    setup: &mut Setup,
    question: Question,
    amount: Amount,
) -> Result<Measurement> {
    let database = setup.filled(question.filled(amount)).await?;
    let cars = setup.databases.cars(amount)?;
    let service = setup.service(&database.url).await?;
    check(service.address(), question, cars, &database).await?;
    let meter = Meter::new()?;
    let (schedule, asked) = (Schedule::new(None, &meter), Asked::Question(question));
    let address = service.address();
    let clients = clients::start(address, question.clients(), (asked, cars), &schedule, &meter);
    let clients = clients.await?;
    let measurement = setup.window(&meter, &service).await?;
    drop(clients);
    service.stop().await?;
    Ok(measurement)
}

/// Asks in SQL.
pub(super) async fn measure_pgbench(
    setup: &mut Setup,
    question: Question,
    amount: Amount,
) -> Result<Measurement> {
    let database = setup.filled(question.filled(amount)).await?;
    let script = sql::script(question, setup.databases.cars(amount)?, question.clients())?;
    let meter = Meter::new()?;
    let measurement = setup.bench.pgbench(&database, &script, &meter).await?;
    Ok(Measurement { error: meter.error(), ..measurement })
}

/// Looks at one answer as a whole, before they are counted.
async fn check(
    address: SocketAddr,
    question: Question,
    cars: Cars,
    database: &Database,
) -> Result<()> {
    let path = Asker::new(Asked::Question(question), cars).path();
    let mut connection = Connection::open(address).await?;
    let response = connection.call(request("GET", &path).as_bytes()).await?;
    if response.status != 200 {
        return Err(format!("{path}: {}", to_text(&response)).into());
    }
    let answer: Value = serde_json::from_slice(response.body)?;
    let count = |member: &str| answer[member].as_array().map_or(0, Vec::len) as u64;
    let is_right = match question {
        Question::List => count("entities") == cars.count.min(100),
        Question::Indexed => {
            // where dealers have no equal numbers, some have one more
            let few = cars.of_a_dealer();
            (few..=(few + 1).min(100)).contains(&count("entities"))
        }
        Question::Unindexed => count("entities") == 0,
        Question::Types => estimate(&answer).is_some_and(|value| {
            (cars.count as f64 * 0.9..cars.count as f64 * 1.1).contains(&value)
        }),
        Question::Search => {
            let found = found_by_sql(&path, database).await?;
            answer["total"]["value"] == found && count("hits") == found.min(20)
        }
    };
    if is_right { Ok(()) } else { Err(format!("{path}: {answer:.1000}").into()) }
}

/// How many cars there are, as the list of types says.
fn estimate(types: &Value) -> Option<f64> {
    let cars = types["types"].as_array()?.iter().find(|entry| entry["type"] == cars::TYPE)?;
    cars["entities"]["value"].as_f64()
}

/// How many cars have the words of the request.
async fn found_by_sql(path: &str, database: &Database) -> Result<u64> {
    let words = path.split_once("query=").and_then(|(_, query)| query.split('&').next());
    let words = words.ok_or("a search without words")?.replace("%20", " ");
    let mut connection = PgConnection::connect(&database.url).await?;
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM cars WHERE words @@ plainto_tsquery('simple', $1)",
    )
    .bind(words)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(u64::try_from(count)?)
}
