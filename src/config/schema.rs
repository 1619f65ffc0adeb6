//! `edge.toml` as a JSON schema, for editors.
//!
//! It is made of what they all understand; a rule about several keys is beyond it, and is told by
//! `brim check` alone:
//! - origins have different names, sites different hosts, listeners different addresses;
//! - `parent`, `fallback` and a site's `origin` name an `[[origin]]`, and lead into no circle;
//! - there is a listener, one `[[certificate]]` at least for those in `https`, trusted proxies for those
//!   with `proxy_protocol`;
//! - a certificate is in `cert` and `key`, or `self_signed`; `client_cert` and `client_key` go together,
//!   `client_auth` with `client_ca`, and the files that they name are good;
//! - one `admin` for each of an origin's `servers`, none twice; `ejection.time_max` is no less than
//!   `time`, `target_size` no more than `head_size`, and both are from 1KiB to 1MiB;
//! - `[site.purge]` names somebody, `health.expect` is not empty, `forward` names fields that are
//!   dropped in the first place.

use super::known::{Known, Without};
use super::notes::{Holds, Note, Told};
use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

/// The dialect; what is used of it has been there since long before.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

pub(super) fn schema(known: &Known) -> Json {
    let mut schema = table(known, "");
    schema.insert("$schema".into(), DIALECT.into());
    schema.insert("title".into(), "The configuration of Brim".into());
    schema.insert("description".into(), known.sample.preface.clone().into());
    schema.into()
}

/// A table whose keys are all known.
fn table(known: &Known, path: &str) -> Map<String, Json> {
    let mut keys = Map::new();
    let mut needed = Vec::new();
    for (name, note) in known.within(path) {
        keys.insert(name.to_owned(), key(known, note).into());
        if note.is_required {
            needed.push(Json::from(name));
        }
    }
    let mut table = Map::new();
    table.insert("type".into(), "object".into());
    table.insert("properties".into(), keys.into());
    if !needed.is_empty() {
        table.insert("required".into(), needed.into());
    }
    table.insert("additionalProperties".into(), false.into());
    table
}

pub(super) fn key(known: &Known, note: &Note) -> Map<String, Json> {
    let mut schema = match &note.holds {
        Holds::Table => table(known, &note.path),
        Holds::Tables => list(note, table(known, &note.path).into()),
        Holds::Value(told) => match or_table(known, note, told) {
            Json::Object(schema) => schema,
            _ => Map::new(),
        },
        Holds::List(told) => list(note, or_table(known, note, told)),
    };
    let mut description = known.comment(note).to_owned();
    if let Holds::Value(told) | Holds::List(told) = &note.holds {
        if let Without::Default(value) = known.without(note, told)
            && let Ok(value) = DeValue::parse(value)
        {
            schema.insert("default".into(), json_of(value.get_ref()));
        }
        let each = if matches!(note.holds, Holds::List(_)) { "a list, each " } else { "" };
        let before = if description.is_empty() { "" } else { "\n\n" };
        description += &format!("{before}Expected: {each}{}", told.expected);
    }
    if !description.is_empty() {
        schema.insert("description".into(), description.into());
    }
    schema
}

fn list(note: &Note, items: Json) -> Map<String, Json> {
    let mut list = Map::new();
    list.insert("type".into(), "array".into());
    list.insert("items".into(), items);
    if note.is_required {
        list.insert("minItems".into(), 1.into());
    }
    list
}

/// Where a table may stand as well, it has keys.
fn or_table(known: &Known, note: &Note, told: &Told) -> Json {
    match known.within(&note.path).next() {
        Some(_) => json!({ "anyOf": [told.schema, table(known, &note.path)] }),
        None => told.schema.clone(),
    }
}

/// Only what `edge.toml` holds: there are no times and dates in it.
pub(super) fn json_of(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Json::Null, Json::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Boolean(value) => Json::from(*value),
        DeValue::Datetime(time) => Json::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())))
            .collect(),
    }
}
