//! The tasks of the clients, and their requests.

use tokio::task::JoinSet;

use crate::cells::Cell;
use crate::events::Template;

/// Running clients; they stop when this is dropped.
#[derive(Default)]
pub(crate) struct Clients {
    tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn spawn(&mut self, client: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(client);
    }
}

/// The request of one client; no two clients send the same uuids.
pub(super) fn template(bytes: Vec<u8>, cell: &Cell) -> Template {
    Template::new(bytes, cell.keys, crate::next_seed())
}
