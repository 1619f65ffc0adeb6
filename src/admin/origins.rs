//! How the origins are, for operators.

use super::answer::Answer;
use super::query::Query;
use crate::engine::Engine;
use crate::upstream::OriginReport;
use serde::Serialize;

#[derive(Serialize)]
struct Origins {
    origins: Vec<OriginReport>,
}

/// All of them, and each of their servers.
pub(super) fn list(engine: &Engine, query: Option<&str>) -> Answer {
    match Query::parse(query, &[]) {
        Ok(_) => Answer::json(200, &Origins { origins: engine.configured().upstream().report() }),
        Err(message) => Answer::error(400, &message),
    }
}
