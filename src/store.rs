//! Where objects are kept. It knows bytes, weights and keys, and no rule of HTTP.

pub mod memory;
