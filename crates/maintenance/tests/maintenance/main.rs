//! Migrations, adoption, rebuild and pruning, each on both databases.

mod adoption;
mod fixture;
mod locks;
mod migrations;
mod pruning;
mod rebuilding;
mod reverting;
