//! One file a command.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod door;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod log_level;
mod own_key;
pub(crate) mod purge;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod store;
pub(crate) mod upgrade;
