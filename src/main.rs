//! The `brim` command.

use tikv_jemallocator::Jemalloc;

/// A cache lives long and holds many small things of different ages: with the C library's allocator a
/// memory tier of small objects took several times what they weigh.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> std::process::ExitCode {
    brim::cli::main()
}
