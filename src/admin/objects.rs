//! What the cache holds, for operators.

use super::answer::Answer;
use super::query::Query;
use crate::engine::{Engine, Held};
use crate::rules::purging::{self, Targets, Wish};
use crate::rules::site::SiteMap;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const LIMIT: usize = 100;
/// The disk may have much to tell.
const FOUND_WITHIN: Duration = Duration::from_secs(90);

#[derive(Serialize)]
struct Objects {
    objects: Vec<Held>,
    complete: bool,
}

/// Those that are meant, or some of all.
pub(super) async fn list(engine: &Arc<Engine>, sites: &SiteMap, query: Option<&str>) -> Answer {
    let (meant, limit) = match asked_for(sites, query) {
        Ok(asked_for) => asked_for,
        Err(message) => return Answer::error(400, &message),
    };
    match timeout(FOUND_WITHIN, engine.held(meant.as_ref(), limit)).await {
        Ok((objects, complete)) => Answer::json(200, &Objects { objects, complete }),
        Err(_) => {
            let message = format!("not found within {} s", FOUND_WITHIN.as_secs());
            Answer::error(504, &message)
        }
    }
}

fn asked_for(sites: &SiteMap, query: Option<&str>) -> Result<(Option<Targets>, usize), String> {
    let query = Query::parse(query, &["prefix", "tag", "host", "limit"])?;
    let limit = query.limit()?.unwrap_or(LIMIT);
    let list = |name: &str| query.value(name).map(str::to_owned).into_iter().collect();
    let wish = Wish {
        prefixes: list("prefix"),
        tags: list("tag"),
        hosts: list("host"),
        ..Wish::default()
    };
    let meant = match wish.prefixes.len() + wish.tags.len() + wish.hosts.len() {
        0 => None,
        1 => Some(purging::targets(&wish, sites)?),
        _ => return Err("one of `prefix`, `tag` and `host` at a time".to_owned()),
    };
    Ok((meant, limit))
}
