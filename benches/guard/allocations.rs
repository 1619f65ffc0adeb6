//! Counts what is asked of the allocator, by the whole process: whatever else runs in it while an
//! operation is counted allocates nothing, or so rarely that one of a few rounds is without it.

use super::{COUNTED, Operation, WARM_UP};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 5;

/// Allocations, of which one that grows is another, and their bytes for each operation. `planted` is done
/// as often.
pub(super) fn count(operation: &Operation, planted: impl Fn(usize)) -> (f64, f64) {
    let mut least = (f64::MAX, f64::MAX);
    (operation.prepare)(&mut |work| {
        work(WARM_UP);
        for _ in 0..ROUNDS {
            let region = Region::new(ALLOCATOR);
            work(COUNTED);
            planted(COUNTED);
            let seen = region.change();
            let each = |count: usize| count as f64 / COUNTED as f64;
            let allocations = each(seen.allocations + seen.reallocations);
            least.0 = least.0.min(allocations);
            least.1 = least.1.min(each(seen.bytes_allocated));
        }
    });
    least
}
