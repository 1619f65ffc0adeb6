//! HTTP rules as pure functions: no I/O, no clock (`now` is an argument).

pub mod forwarding;
pub mod site;
