use super::*;
use crate::config;
use crate::config::schema::{json_of, key as schema_of, schema};
use jsonschema::Validator;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

fn validator(schema: &Json) -> Validator {
    jsonschema::draft202012::new(schema).expect("a schema")
}

/// What is wrong with a file by the schema alone.
fn faults(validator: &Validator, text: &str) -> Vec<String> {
    let table = DeTable::parse(text).expect("TOML");
    let table = json_of(&DeValue::Table(table.into_inner()));
    validator.iter_errors(&table).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn told(note: &Note) -> Option<&Told> {
    match &note.holds {
        Holds::Value(told) | Holds::List(told) => Some(told),
        Holds::Table | Holds::Tables => None,
    }
}

/// The file with nothing commented out.
fn everything(known: &Known) -> String {
    let mut text = String::new();
    for table in &known.sample.tables {
        let note = known.notes.iter().find(|note| note.path == table.path);
        text += &match note.map(|note| &note.holds) {
            Some(Holds::Tables) => format!("[[{}]]\n", table.path),
            _ => format!("[{}]\n", table.path),
        };
        for key in &table.keys {
            text += &format!("{} = {}\n", key.name, key.value);
        }
    }
    text
}

#[test]
fn the_shipped_file_names_every_key_and_no_other() {
    let known = Known::new();
    let is_in_a_value = |note: &&Note| {
        let table = note.path.rsplit_once('.').map(|(table, _)| table);
        let table = known.notes.iter().find(|other| Some(other.path.as_str()) == table);
        table.is_some_and(|table| told(table).is_some())
    };
    // These have no line of their own: the line of the value shows them.
    for note in known.notes.iter().filter(is_in_a_value) {
        let (value, name) = note.path.rsplit_once('.').expect("in something");
        let shown = known.sample.key(value).expect("a line");
        assert!(shown.comment.contains(&format!("{name} = ")), "{} is not shown", note.path);
    }
    let lines = known.notes.iter().filter(|note| !is_in_a_value(note));
    let understood: BTreeSet<String> =
        lines.filter(|note| told(note).is_some()).map(|note| note.path.clone()).collect();
    let tables = known.sample.tables.iter();
    let named: BTreeSet<String> = tables
        .flat_map(|table| table.keys.iter().map(|key| format!("{}.{}", table.path, key.name)))
        .collect();
    let missing: Vec<_> = understood.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&understood).collect();
    assert!(missing.is_empty(), "edge.toml does not name {missing:?}");
    assert!(unknown.is_empty(), "edge.toml names {unknown:?}, which nobody reads");
}

#[test]
fn the_shipped_file_shows_good_values_and_sets_defaults() {
    let known = Known::new();
    for note in &known.notes {
        let (Some(told), Some(key)) = (told(note), known.sample.key(&note.path)) else { continue };
        let verdict = key.read(&told.judge).expect("TOML");
        assert_ne!(verdict, Verdict::Refused, "{} = {}", note.path, key.value);
        let is_set = known.is_set(key, note);
        if told.default.is_some() && is_set {
            assert_eq!(verdict, Verdict::Default, "{} = {}", note.path, key.value);
        }
        if !note.is_required && is_set {
            assert_eq!(known.without(note, told), Without::Default(&key.value), "{}", note.path);
        }
        assert!(
            !key.comment.is_empty() || EXPLAINED.contains(&note.path.as_str()),
            "{}",
            note.path
        );
    }
}

/// Keys that nobody asks about.
const EXPLAINED: &[&str] =
    &["log.format", "origin.name", "origin.fallback_statuses", "site.origin"];

#[test]
fn every_shipped_configuration_is_one_by_the_schema() {
    let known = Known::new();
    let validator = validator(&schema(&known));
    let mut files = vec![PathBuf::from("edge.toml")];
    let mut folders = vec![PathBuf::from("examples"), PathBuf::from("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "toml" => files.push(path),
                _ => {}
            }
        }
    }
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let faults = faults(&validator, &text);
        assert!(faults.is_empty(), "{}: {faults:#?}", file.display());
    }
    let all = everything(&known);
    let faults = faults(&validator, &all);
    assert!(faults.is_empty(), "{faults:#?}\n{all}");
}

const GOOD: &str = "[[origin]]\nname = 'a'\nservers = ['http://b']\n\
                    [[site]]\nhosts = ['*']\norigin = 'a'\n";

#[test]
fn the_schema_names_what_the_readers_refuse() {
    let validator = validator(&schema(&Known::new()));
    for (more, is_good) in [
        ("", true),
        ("hsts = '365d'", true),
        ("hsts = { max_age = '365d', preload = true }", true),
        ("hsts = { preload = true }", false),
        ("hsts = { max_age = '365d', preloaded = true }", false),
        ("[server]\nhttp = [{ address = '127.0.0.1:0', h2c = true }, '127.0.0.1:0']", true),
        ("[server]\nhttps = [{ address = '127.0.0.1:0', h2c = true }]", false),
        ("[server]\nhttp = [{ h2c = true }]", false),
        ("[server]\nhtpp = ['127.0.0.1:0']", false),
        ("[sever]", false),
        ("[server.limits]\nhead_fields = 1025", false),
        ("[cache.disk]\npath = 'a'", false),
        ("[[origin]]\nname = 'b'\nservers = []", false),
        ("[[origin]]\nname = 'b'\nservers = [{ url = 'http://a', weight = 2 }]", true),
        ("[[origin]]\nname = 'b'\nservers = [{ url = 'http://a', weight = 0 }]", false),
        ("[site.key]\nquery = { allow = ['a'] }", true),
        ("[[site.rule]]\nttl = '1s'", false),
    ] {
        let text = format!("{GOOD}{more}\n");
        let faults = faults(&validator, &text);
        assert_eq!(faults.is_empty(), is_good, "{more}: {faults:?}");
        let read = config::check(&text, "edge.toml", Path::new(""));
        let is_beyond_a_schema = more.contains("https") || more.contains("weight = 2");
        assert!(is_beyond_a_schema || read.settings.is_some() == is_good, "{more}");
    }
    for missing in ["", "[[origin]]\nname = 'a'\nservers = ['http://b']"] {
        assert!(!faults(&validator, missing).is_empty(), "{missing}");
    }
}

/// Good and bad values of every kind; `␣` stands for a space in one.
const VALUES: &str = r#"
    true false -1 0 1 2 20 99 100 101 199 200 256 257 599 600 1000 1001 1024 1025 10000 10001 65535
    65536 1000000 1000001 9223372036854775807 0x10 0.5 1.0 "" "a" "x/y" "␣" "é"
    "all" "none" "json" "JSON" "stdout" "off" "error" "warn" "info" "debug" "trace" "Info"
    "client" "origin" "auto" "never" "always" "round_robin" "least_conn" "hash" "round-robin"
    "1.2" "1.3" "1.1" "required" "optional" "any" "trusted" "text" "combined" "{status}␣{client}" "{nothing}"
    "info,h2=off,brim::upstream=debug" "info,␣h2=warn" "off" "h2=off" "info,h2" "debug,trace" "info,=debug"
    "500ms" "10s" "30d" "1h30m" "1h␣30m" "0s" "0ms" "0m␣0s" "0.0s" "0.5s" "1.5h" "1.s" ".5s" "10" "s"
    "10␣s" "10q" "-1s" "11years" "1M" "1y" "10S" "99999999999999999999s" "0.0000000001s" "1500ms"
    "64KiB" "10GiB" "15MiB" "16MiB" "0B" "1024" "1.5MiB" "1␣kB" "KiB" "1KiBB" "1ki" "-1B" ".5G" "1.B"
    "127.0.0.1:8080" "0.0.0.0:0" "256.0.0.1:80" "127.0.0.1" "[::]:8080" "[::1]:65535" "[::1]:65536"
    "::1" "[fe80::1%1]:80" "[::g]:80" "localhost:80" ":80" "[:::]:80"
    "10.0.0.0/8" "10.0.0.0/33" "10.0.0.1/" "2001:db8::/32" "::/129" "::1/" "10.0.0" "::ffff:10.0.0.0/104"
    "example.com" "*.example.com" "*" "*.*" "www.*.com" "EXAMPLE.com" "example.com." "a_b.example"
    "example.com:8080" "example.com:" "example.com:x" "example.com:65536" "[::1]" "1.2.3" "a..b" "user@a"
    "http://127.0.0.1:3000" "https://example.com" "https://example.com/" "http://a/path" "http://a?b"
    "HTTP://A" "ftp://a" "http://user@a" "http://" "http://[::1]:80" "http://[:::]:80" "http://a:0" "http://a:b"
    "unix:/run/app.sock" "unix:app" "unix:/" "http:a"
    "/" "/healthz" "/a?b=c" "/a#b" "/a␣b" "/a_b" "/é" "/assets/*" "assets/*" "*.css"
    "X-Device" "X_Device" "X:Device" "currency" "a=b" "X-HTTP-Method-Override"
    {allow=["id"]} {deny=["@tracking","a*"]} {allow=[]} {allow=["@other"]} {allow=["a"],deny=["b"]}
    {x=1} {allow="id"} {allow=[""]} {} [] ["a"]
"#;

/// Where the schema takes what the readers do not: by the key, or by the kind's words.
const WIDER: &[(&str, &[&str])] = &[
    // A pattern cannot add up.
    ("a duration", &["\"11years\"", "\"99999999999999999999s\"", "\"0.0000000001s\""]),
    ("site.hsts", &["\"500ms\"", "\"1500ms\"", "\"0.5s\""]),
    (
        "cache.disk.size",
        &[
            "\"15MiB\"",
            "\"0B\"",
            "\"64KiB\"",
            "\"1.5MiB\"",
            "\"1 kB\"",
            "\"1.B\"",
            "\"1M\"",
            "\"1ki\"",
        ],
    ),
    ("a name", &["\"-1s\"", "\"-1B\""]),
    // Neither can it tell a good address from a bad one.
    ("an address with a port", &["\"[:::]:80\""]),
    ("a host, such as \"example.com\" or", &["\"[:::]:80\""]),
    ("an origin", &["\"http://a:0\"", "\"http://[:::]:80\""]),
    ("an OTLP", &["\"http://\"", "\"http://[:::]:80\"", "\"http://a:b\""]),
    // Nor names in a template, nor how many levels there are.
    ("log.format", &["\"{nothing}\""]),
    ("log.level", &["\"debug,trace\""]),
    // To a schema, this is a whole number.
    ("a whole number", &["1.0"]),
    ("a port", &["1.0"]),
];

#[test]
fn readers_and_the_schema_agree_about_every_kind_of_value() {
    let known = Known::new();
    let values: Vec<String> = VALUES.split_whitespace().map(|v| v.replace('␣', " ")).collect();
    let (mut wider, mut unlisted) = (BTreeSet::new(), Vec::new());
    for note in &known.notes {
        let Some(told) = told(note) else { continue };
        let validator = validator(&Json::from(schema_of(&known, note)));
        let is_list = matches!(note.holds, Holds::List(_));
        let (mut taken, mut refused) = (0, 0);
        for value in &values {
            let text = if is_list { format!("[{value}]") } else { value.clone() };
            let parsed = DeValue::parse(&text).expect("TOML");
            let reads = (told.judge)(parsed.get_ref()) != Verdict::Refused;
            let is_valid = validator.is_valid(&json_of(parsed.get_ref()));
            let about = format!("{} = {text}", note.path);
            assert!(!reads || is_valid, "{about} is read, and is none by the schema");
            if is_valid && !reads {
                let is_known = |(kind, values): &&(&str, &[&str])| {
                    let is_of_it = note.path.starts_with(kind) || told.expected.starts_with(kind);
                    is_of_it && values.contains(&value.as_str())
                };
                let known = WIDER.iter().find(is_known);
                match known {
                    Some((kind, _)) => drop(wider.insert((*kind, value.clone()))),
                    None => unlisted.push(about),
                }
            }
            *(if reads { &mut taken } else { &mut refused }) += 1;
        }
        assert!(taken > 0 && refused > 0, "{}: {taken} good, {refused} bad values", note.path);
    }
    assert!(unlisted.is_empty(), "only the schema takes {unlisted:#?}");
    let listed: usize = WIDER.iter().map(|(_, values)| values.len()).sum();
    assert_eq!(wider.len(), listed, "more is listed than is so: {wider:#?}");
}

#[test]
fn the_schema_is_the_same_each_time_and_begins_with_its_dialect() {
    let text = config::schema();
    assert_eq!(text, config::schema());
    assert!(
        text.starts_with("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n")
    );
    assert!(!text.contains("$id"));
}

#[test]
fn the_reference_is_what_the_code_says() {
    let page = std::fs::read_to_string("docs/configuration.md").unwrap_or_default();
    let is_same = page == config::reference();
    assert!(is_same, "write it anew: cargo run -- schema --markdown > docs/configuration.md");
}
