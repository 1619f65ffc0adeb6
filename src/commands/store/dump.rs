//! `brim store dump`: what is stored for one key.

use super::stored::{self, Body, Stored};
use super::{Out, counted, key_text};
use crate::store::disk::CHUNK_BYTES;
use crate::store::disk::inspect::Inspected;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::SystemTime;

/// Candidates that are named where a URL means several.
const CANDIDATES_MAX: usize = 20;
const CHUNK_STEP: usize = CHUNK_BYTES as usize;

/// What of an entry is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// No body.
    pub(crate) only_head: bool,
    /// Of several answers to one key, counted from 1.
    pub(crate) variant: Option<NonZeroUsize>,
}

pub(super) fn dump(
    store: &Inspected,
    asked: &str,
    what: Part,
    out: &mut Out<'_>,
) -> io::Result<ExitCode> {
    let key = match find(store, asked)? {
        Found::One(key) => key,
        Found::Several(keys) => {
            eprintln!("brim: {asked} can mean any of these, name one as it stands here:");
            for key in keys.iter().take(CANDIDATES_MAX) {
                eprintln!("  {}", key_text::shown(key));
            }
            if keys.len() > CANDIDATES_MAX {
                eprintln!("  and {} more", keys.len() - CANDIDATES_MAX);
            }
            return Ok(ExitCode::FAILURE);
        }
        Found::None => {
            eprintln!("brim: nothing is stored for {asked}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some((_, content)) = store.entry(&key)? else {
        eprintln!("brim: {} cannot be read, or is gone", key_text::shown(&key));
        return Ok(ExitCode::FAILURE);
    };
    let all = stored::read(&key, &content, store.purges(), SystemTime::now());
    print(store, &all, what, out)
}

fn print(store: &Inspected, all: &[Stored], what: Part, out: &mut Out<'_>) -> io::Result<ExitCode> {
    let chosen = match what.variant {
        Some(number) => all.get(number.get() - 1..number.get()),
        None => Some(all),
    };
    let Some(chosen) = chosen else {
        eprintln!("brim: no such variant, {} stored", are(all.len()));
        return Ok(ExitCode::FAILURE);
    };
    if what.only_head {
        for (number, stored) in chosen.iter().enumerate() {
            out.write_all(if number > 0 { b"\n" } else { b"" })?;
            out.write_all(stored.facts.as_bytes())?;
            write_safely(&stored.head, out)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let [stored] = chosen else {
        eprintln!("brim: {} stored, choose one with --variant; --head shows all", are(all.len()));
        return Ok(ExitCode::FAILURE);
    };
    write_safely(&stored.head, out)?;
    out.write_all(b"\n")?;
    match &stored.body {
        Body::Whole(bytes) => write_safely(bytes, out)?,
        Body::InChunks { generation, total } => {
            for (number, start) in (0..).zip((0..*total).step_by(CHUNK_STEP)) {
                let wanted = CHUNK_BYTES.min(total - start);
                let chunk = store.read_chunk(*generation, number)?;
                let Some(chunk) = chunk.filter(|chunk| chunk.len() as u64 == wanted) else {
                    out.flush()?;
                    eprintln!("brim: bytes from {start} on (of {total}) are not stored");
                    return Ok(ExitCode::FAILURE);
                };
                write_safely(&chunk, out)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn are(count: usize) -> String {
    format!(
        "{} {}",
        counted(count as u64, "variant", "variants"),
        if count == 1 { "is" } else { "are" }
    )
}

/// The keys that somebody may have meant.
enum Found {
    None,
    One(Vec<u8>),
    Several(Vec<Vec<u8>>),
}

fn find(store: &Inspected, asked: &str) -> io::Result<Found> {
    if let Some(key) = key_text::read(asked)
        && store.entry(&key)?.is_some_and(|(entry, _)| !stored::is_gone(store, &entry))
    {
        return Ok(Found::One(key));
    }
    let Some(wanted) = key_text::Wanted::by(asked) else { return Ok(Found::None) };
    let mut keys: Vec<Vec<u8>> = store
        .entries()
        .filter(|entry| wanted.is(&entry.key) && !stored::is_gone(store, entry))
        .map(|entry| entry.key.to_vec())
        .collect();
    Ok(match keys.len() {
        0 => Found::None,
        1 => Found::One(keys.remove(0)),
        _ => Found::Several(keys),
    })
}

/// A terminal does not get to obey what came from an origin.
fn write_safely(bytes: &[u8], out: &mut Out<'_>) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return out.write_all(bytes);
    }
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        for chunk in line.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' | '\t' => write!(out, "{character}")?,
                    _ if character.is_control() => write!(out, "\\x{:02x}", u32::from(character))?,
                    _ => write!(out, "{character}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
    }
    Ok(())
}
