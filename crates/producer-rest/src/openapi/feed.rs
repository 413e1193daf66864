//! The schemas of the change feed.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use super::schemas::{count, filter};
use crate::routes::history::ChangeBody;

/// Which changes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct ChangesQuery {
    /// A token, behind which it goes on; `start`: the oldest change that is kept; `now`; `snapshot`: the
    /// entities as they are, then their changes; or a time (RFC 3339, or Unix milliseconds): what was
    /// committed from then on. `start` for pages and `now` for streams if it is absent
    #[param(required = false)]
    from: String,
    /// `now`: a stream ends where the log stands when it begins
    #[param(required = false, schema_with = now)]
    until: String,
    /// Only changes of this `entityType`; several with several of it
    #[param(required = false, explode = true, schema_with = names)]
    r#type: Vec<String>,
    /// Only changes that match, and of a snapshot entities that do: `type`, `id`, `version`, `createdAt`,
    /// `updatedAt`, `data.a.b`, `operation`, `created`, `committedAt`, `eventName`, `eventType`, `eventSource`,
    /// `eventActor`, `patch.a.b`, `touches("data.a")`, in a subset of CEL's syntax. One that names `data` judges the
    /// state as read with the change, and no deleted entity matches it
    #[param(required = false, schema_with = filter)]
    filter: String,
    /// `data`: changes have the state of their entity too
    #[param(required = false, schema_with = data)]
    include: String,
    /// How many items a page has at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// How long a page waits for its first item, such as `30s` or `500ms`, or in seconds; 60 s at most, and
    /// not at all if it is absent
    #[param(required = false, pattern = "^[0-9]+(ms|s|m)?$")]
    wait: String,
}

fn now() -> Schema {
    only("now")
}

fn data() -> Schema {
    only("data")
}

fn only(value: &str) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value]));
    Schema::Object(text.build())
}

fn names() -> Schema {
    let name =
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    Schema::Array(ArrayBuilder::new().items(name).build())
}

/// Where a browser goes on.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct LastEventHeader {
    /// With `text/event-stream`: the id of the last event, behind which it goes on, instead of `from`
    #[param(rename = "Last-Event-ID", required = false)]
    last_event_id: String,
}

/// A page of changes.
#[derive(Debug, ToSchema)]
#[schema(as = ChangesPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route writes")]
pub(crate) struct ChangesPageDoc {
    /// With `from=snapshot` entities and their end too
    changes: Vec<FeedItemDoc>,
    /// `from` of the next page
    next_token: String,
    /// Whether nothing more was there
    caught_up: bool,
}

/// An item of the feed, of the kind that `kind` names. There may be other kinds in later releases.
#[derive(Debug, ToSchema)]
#[schema(as = FeedItem)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) enum FeedItemDoc {
    Change(FeedChangeDoc),
    Snapshot(FeedSnapshotDoc),
    SnapshotEnd(FeedSnapshotEndDoc),
    Bookmark(FeedBookmarkDoc),
    End(FeedEndDoc),
}

/// One update: `change`, or `left`.
#[derive(Debug, ToSchema)]
#[schema(as = FeedChange, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) struct FeedChangeDoc {
    #[serde(flatten)]
    change: ChangeBody,
    /// `from=` with it goes on behind this change
    token: String,
    /// With `include=data`: the state of the entity; absent where it is deleted by now, and of `left`
    #[schema(value_type = Object, required = false)]
    data: serde_json::Value,
    /// The version of `data`: `version` or a later one
    #[schema(required = false)]
    data_version: u64,
}

/// An entity as it is.
#[derive(Debug, ToSchema)]
#[schema(as = FeedSnapshot, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) struct FeedSnapshotDoc {
    #[schema(pattern = "^snapshot$")]
    kind: String,
    /// `from=` with it goes on with the rest of the snapshot
    token: String,
    entity_type: String,
    entity_id: String,
    version: u64,
    /// When its last update took effect
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

/// All entities were sent: what is kept and was not sent is gone. Changes follow.
#[derive(Debug, ToSchema)]
#[schema(as = FeedSnapshotEnd)]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) struct FeedSnapshotEndDoc {
    #[schema(pattern = "^snapshotEnd$")]
    kind: String,
    token: String,
}

/// Of streams: where the reader is.
#[derive(Debug, ToSchema)]
#[schema(as = FeedBookmark, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) struct FeedBookmarkDoc {
    #[schema(pattern = "^bookmark$")]
    kind: String,
    token: String,
    /// There, and true, where nothing more was there when it was sent
    #[schema(required = false)]
    caught_up: bool,
}

/// Of streams, the last item: what it would send next is not kept (`gone`), or the service can't go on with
/// the stream now (`unavailable`).
#[derive(Debug, ToSchema)]
#[schema(as = FeedEnd, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core writes")]
pub(crate) struct FeedEndDoc {
    #[schema(pattern = "^(gone|unavailable)$")]
    kind: String,
    /// `urn:producer:problem:` and the problem's name
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    retryable: bool,
    request_id: String,
}
