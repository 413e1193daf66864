//! Migrations, adoption, rebuild and pruning, each on both databases.

mod adoption;
mod fixture;
mod migrations;
mod pruning;
mod rebuilding;
