//! The forms of gRPC.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{BoxStream, iter, try_unfold};
use futures_util::{StreamExt, TryStreamExt};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::item::{ChangeItem, EntityChange, EntityKey, EntitySnapshot, ReaderError};
use super::request::{ChangesRequest, POLL_INTERVAL};
use crate::proto::change_service_client::ChangeServiceClient;
use crate::proto::{self, ListChangesRequest, WatchChangesRequest, change_item};

/// Far more than any item or page has.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

type Items = BoxStream<'static, Result<ChangeItem, ReaderError>>;

fn client(address: SocketAddr) -> ChangeServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let client = ChangeServiceClient::new(endpoint.connect_lazy());
    client.max_decoding_message_size(MAX_MESSAGE_BYTES)
}

fn error(status: &Status) -> ReaderError {
    // only the service's statuses have details, not those of the client library
    let from_service = !status.details().is_empty();
    let text = format!("{status:?}");
    match status.code() {
        Code::OutOfRange if from_service => ReaderError::Gone(text),
        Code::Unavailable => ReaderError::Unavailable(text),
        _ if from_service => ReaderError::Unexpected(text),
        // the connection broke
        _ => ReaderError::Unavailable(text),
    }
}

pub(super) async fn stream(
    address: SocketAddr,
    wanted: ChangesRequest,
) -> Result<Items, ReaderError> {
    let request = WatchChangesRequest {
        from: wanted.place().to_owned(),
        types: wanted.types,
        include_data: wanted.include_data,
        filter: wanted.filter.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let answer = client(address).watch_changes(request).await.map_err(|status| error(&status))?;
    let items = answer.into_inner().map(|item| item.map_err(|status| error(&status)));
    Ok(items.and_then(async |item| read(item)).boxed())
}

fn read(item: proto::ChangeItem) -> Result<ChangeItem, ReaderError> {
    let unexpected = || ReaderError::Unexpected(format!("not an item: {item:?}"));
    let read = item.item.clone().and_then(|item| match item {
        change_item::Item::Change(change) => match change.kind() {
            proto::ChangeKind::Change => Some(ChangeItem::Change(change_of(change)?)),
            proto::ChangeKind::Left => Some(ChangeItem::Left(change_of(change)?)),
            proto::ChangeKind::Unspecified => None,
        },
        change_item::Item::Snapshot(entity) => Some(ChangeItem::Snapshot(EntitySnapshot {
            token: entity.token,
            key: EntityKey { entity_type: entity.entity_type, entity_id: entity.entity_id },
            version: entity.version,
            data: entity.data_json,
        })),
        change_item::Item::SnapshotEnd(end) => Some(ChangeItem::SnapshotEnd { token: end.token }),
        change_item::Item::Bookmark(bookmark) => {
            let proto::Bookmark { token, caught_up } = bookmark;
            Some(ChangeItem::Bookmark { token, caught_up })
        }
    });
    read.filter(|item| !item.token().is_empty()).ok_or_else(unexpected)
}

fn change_of(change: proto::Change) -> Option<EntityChange> {
    let data = match (change.data_version, change.data_json.clone()) {
        (Some(version), Some(data)) => Some((version, data)),
        (None, None) => None,
        _ => return None,
    };
    let operation = change.operation();
    let is_known = operation != proto::Operation::Unspecified;
    is_known.then_some(EntityChange {
        token: change.token,
        key: EntityKey { entity_type: change.entity_type, entity_id: change.entity_id },
        version: change.version,
        operation,
        created: change.created,
        patch: change.patch_json,
        data,
    })
}

/// Pages, one after the other.
struct Pages {
    client: ChangeServiceClient<Channel>,
    request: ListChangesRequest,
    pause: Duration,
}

pub(super) fn pages(address: SocketAddr, wanted: ChangesRequest, wait: Duration) -> Items {
    let request = ListChangesRequest {
        from: wanted.place().to_owned(),
        types: wanted.types,
        include_data: wanted.include_data,
        filter: wanted.filter.unwrap_or_default().to_owned(),
        page_size: 1000,
        wait: (!wait.is_zero()).then_some(prost_types::Duration {
            seconds: wait.as_secs().cast_signed(),
            nanos: wait.subsec_nanos().cast_signed(),
        }),
    };
    let pages = Pages { client: client(address), request, pause: Duration::ZERO };
    try_unfold(pages, async |mut pages| {
        let items = pages.next().await?;
        Ok::<_, ReaderError>(Some((iter(items.into_iter().map(Ok)), pages)))
    })
    .try_flatten()
    .boxed()
}

impl Pages {
    async fn next(&mut self) -> Result<Vec<ChangeItem>, ReaderError> {
        tokio::time::sleep(self.pause).await;
        let answer = self.client.list_changes(self.request.clone()).await;
        let page = answer.map_err(|status| error(&status))?.into_inner();
        let mut items = page.items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (token, caught_up) = (page.next_token, page.caught_up);
        self.request.from.clone_from(&token);
        let polls = caught_up && self.request.wait.is_none();
        self.pause = if polls { POLL_INTERVAL } else { Duration::ZERO };
        items.push(ChangeItem::Bookmark { token, caught_up });
        Ok(items)
    }
}
