//! The examples of the document. They are one story of one loan: sent in their order to an empty
//! database, the requests get these answers but for times, ids and durations (a test does that).

use producer_core::EntityKey;
use producer_core::feed::{Cursor, SnapshotCursor, Token, Types};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// The attributes of the first event.
pub(crate) fn attributes() -> Value {
    json!({"balance": 24439.75, "lastPaidDate": "2024-01-15T10:30:00Z"})
}

/// A single event.
pub(crate) fn event() -> Value {
    json!({
        "eventHeader": {
            "uuid": "550e8400-e29b-41d4-a716-446655440000",
            "eventName": "LoanPaymentSubmitted",
            "eventType": "LoanPaymentSubmitted",
            "createdDate": "2024-01-15T10:30:00Z",
            "savedDate": 1_705_314_605_000_u64
        },
        "eventBody": {"entities": [{
            "entityType": "Loan", "entityId": "loan-12345", "updatedAttributes": attributes()
        }]}
    })
}

/// Its answer.
pub(crate) fn receipt() -> Value {
    json!({
        "success": true,
        "message": "Event processed successfully",
        "eventId": "550e8400-e29b-41d4-a716-446655440000",
        "duplicate": false,
        "entities": [
            {"entityType": "Loan", "entityId": "loan-12345", "version": 1, "created": true}
        ]
    })
}

/// The same event sent again.
pub(crate) fn duplicate_receipt() -> Value {
    let mut receipt = receipt();
    receipt["duplicate"] = true.into();
    receipt
}

/// An array for bulk: a change of two entities, and the first event once more.
pub(crate) fn events() -> Value {
    json!([payment(), event()])
}

fn payment() -> Value {
    json!({
        "eventHeader": {
            "uuid": "7d1a2f60-93c4-4b7e-8a51-0c2f6f1d9e3b",
            "eventName": "LoanPaymentSubmitted",
            "createdDate": "2024-02-15T09:00:00Z"
        },
        "eventBody": {"entities": [
            {"entityType": "Loan", "entityId": "loan-12345", "updatedAttributes": {
                "balance": 23927.38,
                "lastPaidDate": "2024-02-15T09:00:00Z",
                "nextPayment": {"dueDate": "2024-03-15", "amount": 512.37}
            }},
            {"entityType": "LoanPayment", "entityId": "payment-2", "updatedAttributes": {
                "loan": "loan-12345", "amount": 512.37, "currency": "EUR"
            }}
        ]}
    })
}

/// The answer to [`events`].
pub(crate) fn bulk_answer() -> Value {
    json!({
        "success": true,
        "message": "All events processed successfully",
        "processedCount": 2,
        "failedCount": 0,
        "duplicateCount": 1,
        "batchId": "0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a55",
        "processingTimeMs": 4,
        "results": [
            {
                "index": 0,
                "eventId": "7d1a2f60-93c4-4b7e-8a51-0c2f6f1d9e3b",
                "status": "processed",
                "entities": [
                    {"entityType": "Loan", "entityId": "loan-12345", "version": 2, "created": false},
                    {"entityType": "LoanPayment", "entityId": "payment-2", "version": 1, "created": true}
                ]
            },
            {
                "index": 1,
                "eventId": "550e8400-e29b-41d4-a716-446655440000",
                "status": "duplicate",
                "entities": [
                    {"entityType": "Loan", "entityId": "loan-12345", "version": 1, "created": true}
                ]
            }
        ]
    })
}

/// NDJSON: the loan moves on, with a null that removes an attribute; a car is made.
pub(crate) fn ndjson() -> Value {
    let paid_off = r#"{"eventHeader":{"uuid":"b3c5d8e2-1f74-4a6b-9d20-5e8a7c4f6b19","eventName":"LoanPaidOff"},"eventBody":{"entities":[{"entityType":"Loan","entityId":"loan-12345","updatedAttributes":{"balance":0,"nextPayment":null}}]}}"#;
    let created = r#"{"eventHeader":{"uuid":"e9a4b7c1-6d52-4f38-8b0e-3c1d5a9f7e24","eventName":"CarCreated"},"eventBody":{"entities":[{"entityType":"Car","entityId":"car-006","updatedAttributes":{"make":"Skoda","model":"Octavia"}}]}}"#;
    format!("{paid_off}\n{created}\n").into()
}

/// The answer to NDJSON whose first line is an invalid event, whose second line is blank, and whose
/// third is no JSON.
pub(crate) fn failed_bulk_answer() -> Value {
    json!({
        "success": false,
        "message": "Processed 0 events, 2 failed",
        "processedCount": 0,
        "failedCount": 2,
        "duplicateCount": 0,
        "batchId": "0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a56",
        "processingTimeMs": 1,
        "results": [
            {
                "index": 0,
                "status": "invalid",
                "error": "line 1 of the body: /eventBody/entities/0/entityId must not be empty",
                "errors": [{
                    "pointer": "/eventBody/entities/0/entityId", "detail": "must not be empty"
                }]
            },
            {
                "index": 1,
                "status": "invalid",
                "error": "line 3 of the body, column 16: not valid JSON, expected ':'"
            }
        ]
    })
}

/// The first event, read back.
pub(crate) fn logged_event() -> Value {
    let mut logged = event();
    logged["eventHeader"]["savedDate"] = "2024-01-15T10:30:05Z".into();
    logged["eventBody"]["entities"][0]["version"] = 1.into();
    logged["eventBody"]["entities"][0]["created"] = true.into();
    logged["committedAt"] = "2024-01-15T10:30:05.217364Z".into();
    logged
}

/// The loan after the bulk call with [`events`].
pub(crate) fn entity() -> Value {
    json!({
        "entityType": "Loan",
        "entityId": "loan-12345",
        "version": 2,
        "createdAt": "2024-01-15T10:30:05.217364Z",
        "updatedAt": "2024-02-15T09:00:01.402518Z",
        "data": {
            "balance": 23927.38,
            "lastPaidDate": "2024-02-15T09:00:00Z",
            "nextPayment": {"amount": 512.37, "dueDate": "2024-03-15"}
        }
    })
}

/// The loan as the first event left it.
pub(crate) fn first_version() -> Value {
    json!({
        "entityType": "Loan",
        "entityId": "loan-12345",
        "version": 1,
        "createdAt": "2024-01-15T10:30:05.217364Z",
        "updatedAt": "2024-01-15T10:30:05.217364Z",
        "data": attributes()
    })
}

/// The updates of the loan until then.
pub(crate) fn history() -> Value {
    json!({"updates": [
        {
            "kind": "change",
            "entityType": "Loan",
            "entityId": "loan-12345",
            "version": 1,
            "operation": "merge",
            "created": true,
            "eventId": "550e8400-e29b-41d4-a716-446655440000",
            "ordinal": 0,
            "eventName": "LoanPaymentSubmitted",
            "eventType": "LoanPaymentSubmitted",
            "createdDate": "2024-01-15T10:30:00Z",
            "committedAt": "2024-01-15T10:30:05.217364Z",
            "patch": attributes()
        },
        second_update()
    ]})
}

/// Only the last one: a page that another one follows.
pub(crate) fn last_update() -> Value {
    json!({"updates": [second_update()], "nextPageToken": "AAAAAAAAAAL9I6Iwiypd9Q"})
}

fn second_update() -> Value {
    json!({
        "kind": "change",
        "entityType": "Loan",
        "entityId": "loan-12345",
        "version": 2,
        "operation": "merge",
        "created": false,
        "eventId": "7d1a2f60-93c4-4b7e-8a51-0c2f6f1d9e3b",
        "ordinal": 0,
        "eventName": "LoanPaymentSubmitted",
        "createdDate": "2024-02-15T09:00:00Z",
        "committedAt": "2024-02-15T09:00:01.402518Z",
        "patch": {
            "balance": 23927.38,
            "lastPaidDate": "2024-02-15T09:00:00Z",
            "nextPayment": {"amount": 512.37, "dueDate": "2024-03-15"}
        }
    })
}

/// A page of the changes of loans until then.
pub(crate) fn changes() -> Value {
    let mut changes = history()["updates"].take();
    for (change, position) in changes.as_array_mut().into_iter().flatten().zip(1..) {
        change["token"] = token(position).into();
    }
    json!({"changes": changes, "nextToken": token(2), "caughtUp": true})
}

/// The log of the story.
const EPOCH: Uuid = uuid!("0190a5b4-71c4-7e0a-b6a9-5d2e8c1f4703");

fn token(position: u64) -> String {
    Token::in_log(EPOCH, position).to_string()
}

/// The second of them with its state, as server-sent events.
pub(crate) fn events_of_changes() -> Value {
    let mut change = second_update();
    change["token"] = token(2).into();
    change["data"] = entity()["data"].take();
    change["dataVersion"] = 2.into();
    let events = [("change", 2, change), ("bookmark", 3, bookmark())];
    let events = events.map(|(kind, position, item)| {
        format!("id: {}\nevent: {kind}\ndata: {item}\n\n", token(position))
    });
    events.concat().into()
}

/// The payments until then, as lines.
pub(crate) fn snapshot() -> Value {
    let cursor = SnapshotCursor {
        position: 3,
        types: Types::new(vec!["LoanPayment".into()]).unwrap_or_default(),
        filter: None,
        after: EntityKey::new("LoanPayment", "payment-2").ok(),
    };
    let payment = json!({
        "kind": "snapshot",
        "token": Token { epoch: EPOCH, cursor: Cursor::Snapshot(cursor.into()) }.to_string(),
        "entityType": "LoanPayment",
        "entityId": "payment-2",
        "version": 1,
        "updatedAt": "2024-02-15T09:00:01.402518Z",
        "data": {"loan": "loan-12345", "amount": 512.37, "currency": "EUR"}
    });
    let end = json!({"kind": "snapshotEnd", "token": token(3)});
    format!("{payment}\n{end}\n{}\n", bookmark()).into()
}

fn bookmark() -> Value {
    json!({"kind": "bookmark", "token": token(3), "caughtUp": true})
}

/// How its two versions differ.
pub(crate) fn diff() -> Value {
    json!({
        "from": 1,
        "to": 2,
        "patch": {
            "balance": 23927.38,
            "lastPaidDate": "2024-02-15T09:00:00Z",
            "nextPayment": {"amount": 512.37, "dueDate": "2024-03-15"}
        },
        "changes": [
            {"path": "data.balance", "from": 24439.75, "to": 23927.38},
            {
                "path": "data.lastPaidDate",
                "from": "2024-01-15T10:30:00Z",
                "to": "2024-02-15T09:00:00Z"
            },
            {"path": "data.nextPayment.amount", "to": 512.37},
            {"path": "data.nextPayment.dueDate", "to": "2024-03-15"}
        ]
    })
}

/// Where its balance comes from.
pub(crate) fn provenance() -> Value {
    json!({"paths": [{
        "path": "data.balance",
        "version": 2,
        "eventId": "7d1a2f60-93c4-4b7e-8a51-0c2f6f1d9e3b",
        "eventName": "LoanPaymentSubmitted",
        "committedAt": "2024-02-15T09:00:01.402518Z"
    }]})
}

/// The document of a loan.
pub(crate) fn loan() -> Value {
    json!({"balance": 23927.38, "borrower": {"name": "Ada", "phone": "555-0100"}})
}

fn loan_receipt(event_id: &str, entity_id: &str, version: u64, created: bool) -> Value {
    json!({
        "eventId": event_id,
        "duplicate": false,
        "entityType": "Loan",
        "entityId": entity_id,
        "version": version,
        "created": created
    })
}

fn loan_entity(entity_id: &str, version: u64, created_at: &str, data: &Value) -> Value {
    json!({
        "entityType": "Loan",
        "entityId": entity_id,
        "version": version,
        "createdAt": created_at,
        "updatedAt": "2024-03-01T08:00:00.126419Z",
        "data": data
    })
}

/// The answer to the creation of [`loan`].
pub(crate) fn created() -> Value {
    let id = "0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a57";
    loan_receipt(id, id, 1, true)
}

/// The same request sent again with its key.
pub(crate) fn created_before() -> Value {
    let mut receipt = created();
    receipt["duplicate"] = true.into();
    receipt
}

/// The same with `Prefer: return=representation`.
pub(crate) fn created_entity() -> Value {
    let id = "0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a57";
    loan_entity(id, 1, "2024-03-01T08:00:00.126419Z", &loan())
}

/// The answer to the replacement of the loan of the events, which NDJSON left with version 3.
pub(crate) fn replaced() -> Value {
    loan_receipt("0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a58", "loan-12345", 4, false)
}

/// The same once more, with `Prefer: return=representation`.
pub(crate) fn replaced_entity() -> Value {
    loan_entity("loan-12345", 5, "2024-01-15T10:30:05.217364Z", &loan())
}

/// A merge patch of the loan.
pub(crate) fn loan_patch() -> Value {
    json!({"balance": 23415.01, "borrower": {"phone": null}})
}

/// Its answer.
pub(crate) fn merged() -> Value {
    loan_receipt("0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a59", "loan-12345", 6, false)
}

/// The same once more, with `Prefer: return=representation`.
pub(crate) fn merged_entity() -> Value {
    let data = json!({"balance": 23415.01, "borrower": {"name": "Ada"}});
    loan_entity("loan-12345", 7, "2024-01-15T10:30:05.217364Z", &data)
}

/// The answer to the deletion of the loan.
pub(crate) fn deleted() -> Value {
    loan_receipt("0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a5a", "loan-12345", 8, false)
}

/// The answer to the replacement of what is deleted. The versions go on.
pub(crate) fn created_anew() -> Value {
    loan_receipt("0199f2c4-5d3e-7a10-9c41-2b7f0e6d8a5b", "loan-12345", 9, true)
}

/// Ready, or healthy.
pub(crate) fn healthy() -> Value {
    json!({"status": "healthy", "message": "Producer API is healthy", "database": "up"})
}

/// Alive.
pub(crate) fn alive() -> Value {
    json!({"status": "healthy", "message": "Producer API is healthy"})
}

/// Not ready: the database can't be reached.
pub(crate) fn unreachable() -> Value {
    json!({
        "status": "unhealthy",
        "message": "the database can't be reached",
        "database": "unreachable"
    })
}

/// Not ready: the service is stopping.
pub(crate) fn draining() -> Value {
    json!({"status": "unhealthy", "message": "the service is draining", "database": "up"})
}

/// The first lines of the metrics.
pub(crate) fn metrics() -> Value {
    "# HELP producer_entity_updates_total Updates of entities committed\n\
     # TYPE producer_entity_updates_total counter\n\
     producer_entity_updates_total 0\n"
        .into()
}
