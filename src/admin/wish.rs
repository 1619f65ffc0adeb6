//! What an operator wishes for, from the JSON that says it.

use crate::config;
use crate::rules::purging::Wish;

/// The wish, or what is wrong with the text and where.
pub(super) fn parse(text: &[u8]) -> Result<Wish, String> {
    // Serde would take a list for a table, its items by position: nobody should purge by accident.
    if text.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(
            "line 1 column 1: expected an object, such as {\"urls\":[\"http://..\"]}".into()
        );
    }
    serde_json::from_slice(text).map_err(|error| told(&error))
}

fn told(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&format!(" at {place}")).unwrap_or(&message);
    format!("{place}: {}", unknown_key(message).unwrap_or_else(|| message.to_owned()))
}

/// In the words of the configuration's errors: "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<String> {
    let (key, known) = message.strip_prefix("unknown field `")?.split_once("`, expected ")?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let hint = match config::nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Some(format!("unknown key `{key}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_understood() {
        let text = r#"{"urls":["u"],"prefixes":["p"],"tags":["t"],"hosts":["h"],"all":true,
                       "soft":true,"all_queries":true,"dry_run":true,"wait":true}"#;
        let expected = Wish {
            urls: vec!["u".into()],
            prefixes: vec!["p".into()],
            tags: vec!["t".into()],
            hosts: vec!["h".into()],
            all: true,
            soft: true,
            all_queries: true,
            dry_run: true,
            wait: true,
        };
        assert_eq!(parse(text.as_bytes()), Ok(expected));
        assert_eq!(parse(b" {} "), Ok(Wish::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let wrong = |text: &str| parse(text.as_bytes()).expect_err(text);
        let unknown = "line 1 column 7: unknown key `urlz`; did you mean `urls`?";
        assert_eq!(wrong(r#"{"urlz":["a"]}"#), unknown);
        assert!(wrong(r#"{"x":1}"#).contains("known here: urls, prefixes, tags, "));
        for (text, start) in [
            ("", "line 1 column 0: EOF"),
            ("{", "line 1 column 1: EOF"),
            ("{\n\"all\":1}", "line 2 column 7: invalid type: integer `1`, expected a boolean"),
            ("{\"urls\":\"a\"}", "line 1 column 11: invalid type: string"),
            ("{\"all\":true,\"all\":false}", "line 1 column 17: duplicate field `all`"),
            ("{} {}", "line 1 column 4: trailing characters"),
            ("[[],[],[],[],true]", "line 1 column 1: expected an object"),
            ("\u{feff}{}", "line 1 column 1: expected an object"),
        ] {
            assert!(wrong(text).starts_with(start), "{text}: {}", wrong(text));
        }
        assert!(parse(b"{\"tags\":[\"\xff\"]}").is_err());
    }
}
