//! Searches for a bounded time, inside the tests.

use std::time::{Duration, Instant};

/// Runs an entry on its seeds, on mutations of them and on each mutation of those, until the time
/// is over; `words` are what mutations put in. A failure prints the input; `BRIM_FUZZ_SEED` repeats
/// the same mutations.
pub(crate) fn fuzz(name: &str, words: &[&str], runs_for: Duration, entry: fn(&[u8])) {
    const POOL_MAX: usize = 2000;
    let seed = std::env::var("BRIM_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("BRIM_FUZZ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut pool: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .expect("seeds")
        .map(|seed| std::fs::read(seed.expect("a seed").path()).expect("a seed"))
        .collect();
    pool.sort();
    assert!(!pool.is_empty());
    let started = Instant::now();
    let mut inputs = 0_u64;
    let mut input = pool[0].clone();
    while started.elapsed() < runs_for {
        let shown = input.clone();
        let outcome = std::panic::catch_unwind(|| entry(&shown));
        if outcome.is_err() {
            panic!("after {inputs} inputs: {:?}", String::from_utf8_lossy(&input));
        }
        inputs += 1;
        if pool.len() < POOL_MAX && random.u8(..) == 0 {
            pool.push(input);
        }
        input = mutate(&mut random, &pool, words);
    }
    println!("{inputs} inputs held");
}

fn mutate(random: &mut fastrand::Rng, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    const BYTES: &[u8] = b"\r\n\t :;,\0\x7f\xffaA09/*#?%\"[]@";
    let mut input = random.choice(pool).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=input.len());
        let end = random.usize(at..=input.len().min(at + 20));
        match random.u8(..6) {
            0 => drop(input.drain(at..end)),
            1 => input.insert(at, random.choice(BYTES).copied().unwrap_or(0)),
            2 if at < input.len() => input[at] = random.u8(..),
            3 => drop(input.splice(at..at, random.choice(words).unwrap_or(&"").bytes())),
            4 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            _ => input.truncate(input.len().min(2000)),
        }
    }
    input
}
