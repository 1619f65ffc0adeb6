//! Purges that operators ask for, and what became of them.

use super::answer::Answer;
use super::query::Query;
use super::wish;
use crate::engine::{Configured, Engine, HandedOver, Order, Preview, Receipt};
use crate::rules::purging::{self, Shares};
use crate::upstream::PurgeWay;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A purge that waits goes through everything first.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// What somebody has asked for.
pub(super) struct Asked<'a> {
    pub(super) body: &'a [u8],
    /// How it has come here, as the last one says; `None`: by a way that is too long.
    pub(super) way: Option<PurgeWay>,
    pub(super) peer: IpAddr,
}

#[derive(Serialize)]
struct Previewed {
    dry_run: bool,
    /// Where there are any that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<&'static str>,
    #[serde(flatten)]
    preview: Preview,
}

#[derive(Serialize)]
struct Volatile {
    error: String,
    receipt: Receipt,
}

#[derive(Serialize)]
struct Receipts {
    purges: Vec<Receipt>,
}

/// Purges what the body names. `why_volatile` tells why a purge may not be on stable storage.
pub(super) async fn purge(
    engine: &Arc<Engine>,
    configured: Arc<Configured>,
    asked: Asked<'_>,
    why_volatile: impl FnOnce() -> String,
) -> Answer {
    let Some(way) = asked.way else {
        let message = "the purge comes through too many parents: do some name each other?";
        return Answer::error(508, message);
    };
    let sites = configured.sites();
    let found = wish::parse(asked.body)
        .and_then(|wish| purging::targets(&wish, sites).map(|targets| (wish, targets)));
    let (wish, targets) = match found {
        Ok(found) => found,
        Err(message) => return Answer::error(400, &message),
    };
    let shares = Shares::of(&wish, sites);
    if wish.dry_run {
        let parents = configured.has_parents_for(&shares).then_some("not asked");
        return match timeout(DONE_WITHIN, engine.would_purge(&targets)).await {
            Ok(preview) => Answer::json(200, &Previewed { dry_run: true, parents, preview }),
            Err(_) => too_slow("nothing was purged"),
        };
    }
    let (engine, by) = (engine.clone(), format!("admin {}", asked.peer.to_canonical()));
    // A purge that has begun ends, whether or not somebody waits for it.
    let purge = tokio::spawn(async move {
        let (wish, targets, shares, by, way) = (&wish, &targets, &shares, &*by, &way);
        let configured = &configured;
        engine.purge(&Order { wish, targets, shares, configured, by, way }).await
    });
    match timeout(DONE_WITHIN, purge).await {
        Ok(Ok(Ok(receipt))) => acknowledged(receipt, why_volatile),
        Ok(Ok(Err(HandedOver))) => {
            let message = "nothing was purged: a new process takes over, which has to be asked";
            Answer::error(503, message).with("Retry-After", 1)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a purge broke off");
            Answer::error(500, "the purge broke off; the edge's log tells why")
        }
        Err(_) => too_slow("GET /purges tells what becomes of it"),
    }
}

/// What may come back with the next start is no success, and what parents still may have is not yet
/// one.
fn acknowledged(receipt: Receipt, why_volatile: impl FnOnce() -> String) -> Answer {
    if receipt.durable {
        return Answer::json(receipt.status(), &receipt);
    }
    let error = format!("in force, but not on stable storage: {}", why_volatile());
    Answer::json(503, &Volatile { error, receipt })
}

/// The newest, as many as are asked for.
pub(super) fn list(engine: &Engine, query: Option<&str>) -> Answer {
    let limit = Query::parse(query, &["limit"]).and_then(|query| query.limit());
    match limit {
        Ok(limit) => {
            let mut purges = engine.receipts();
            purges.truncate(limit.unwrap_or(usize::MAX));
            Answer::json(200, &Receipts { purges })
        }
        Err(message) => Answer::error(400, &message),
    }
}

/// One of them.
pub(super) fn one(engine: &Engine, id: &str, query: Option<&str>) -> Answer {
    if let Err(message) = Query::parse(query, &[]) {
        return Answer::error(400, &message);
    }
    match engine.receipt(id) {
        Some(receipt) => Answer::json(200, &receipt),
        None => Answer::error(404, "no purge has this id; GET /purges lists the newest"),
    }
}

fn too_slow(consequence: &str) -> Answer {
    let message = format!("not done within {} s; {consequence}", DONE_WITHIN.as_secs());
    Answer::error(504, &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kinds;

    #[test]
    fn a_purge_that_may_be_undone_by_the_next_start_is_no_success() {
        let receipt = |durable| Receipt {
            id: "1".into(),
            applied_at: "2026-11-21T00:00:00Z".into(),
            by: "admin ::1".into(),
            kinds: Kinds { all: true, ..Kinds::default() },
            items: Vec::new(),
            soft: false,
            objects: 3,
            bytes: 4,
            at_most_more: 0,
            done: true,
            durable,
            parents: Vec::new(),
        };
        let answer = |durable| acknowledged(receipt(durable), || "no space".into());
        let good = serde_json::to_value(receipt(true)).expect("JSON");
        assert_eq!((answer(true).status, json(&answer(true))), (200, good));
        let bad = serde_json::json!({
            "error": "in force, but not on stable storage: no space",
            "receipt": receipt(false),
        });
        assert_eq!((answer(false).status, json(&answer(false))), (503, bad));
    }

    fn json(answer: &Answer) -> serde_json::Value {
        serde_json::from_str(&answer.body).expect("JSON")
    }
}
