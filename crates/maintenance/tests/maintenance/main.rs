//! Migrations, adoption, rebuild and pruning, each on both databases.

mod adoption;
mod epochs;
mod fixture;
mod indexes;
mod locks;
mod migrations;
mod operations;
mod properties;
mod pruning;
mod pruning_sinks;
mod racing;
mod rebuilding;
mod reverting;
mod rows;
