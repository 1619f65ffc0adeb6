//! Where passes (and, later, fills) get their answer: connections to origins, and what can go wrong
//! with them.

mod connect;
mod fault;
mod idle;

pub use connect::{Answer, Connection, Upstream};
pub use fault::Fault;
