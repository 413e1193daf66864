//! Migrations, adoption and rebuild, each on both databases.

mod adoption;
mod bench;
mod migrations;
mod rebuilding;
