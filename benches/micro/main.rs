//! Micro-benchmarks: what single steps of a request's way take, and the whole way where it is answered
//! out of memory. `make bench` prints the times; compare medians of one run, not across machines.

mod heads;
mod hits;
mod look_up;
mod rules;

#[path = "../kit/edge.rs"]
mod kit;

fn main() {
    divan::main();
}
