//! Migrations, adoption, rebuild and pruning, each on both databases.

mod adoption;
mod bench;
mod migrations;
mod pruning;
mod rebuilding;
