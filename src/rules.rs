//! HTTP rules as pure functions: no I/O, no clock (`now` is an argument).

pub mod bypass;
pub mod cache_control;
pub mod cache_status;
pub mod client_cert;
pub mod conditional;
pub mod date;
pub mod forwarding;
pub mod freshness;
pub mod https;
pub mod key;
pub mod loops;
pub mod packed;
pub mod policy;
pub mod purging;
pub mod range;
pub mod redirects;
pub mod signed;
pub mod site;
pub mod storing;
pub mod tags;
pub mod trace_context;
pub mod vary;
