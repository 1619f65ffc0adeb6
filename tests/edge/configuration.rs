//! `edge.toml`: what is good is served, what is wrong is named, all of it at once.

use crate::kit::Command;
use crate::kit::tls::Authority;
use brim::config;
use std::path::Path;

fn problems(text: &str) -> Vec<String> {
    let checked = config::check(text, "edge.toml", Path::new(""));
    let has_error = checked.problems.iter().any(|problem| !problem.is_warning);
    assert_eq!(checked.settings.is_none(), has_error, "{:?}", checked.problems);
    checked.problems.iter().map(ToString::to_string).collect()
}

const GOOD: &str = "[[origin]]\nname = 'main'\nservers = ['http://127.0.0.1:3000']\n\
                    [[site]]\nhosts = ['*']\norigin = 'main'\n";

#[test]
fn every_problem_is_named_at_once_with_its_line_and_the_nearest_key() {
    let text = "\
[server]
htpp = ['0.0.0.0:8080']
admin = 9180
threads = -1
[server.limits]
header_timout = '10s'
idle_timeout = 60
write_timeout = '0s'
head_size = '64'
head_fields = 5000
[sever]
[log]
level = 'loud'
format = 'xml'
[[origin]]
name = 'main'
servers = ['127.0.0.1:3000', 'http://b']
balance = 'random'
[[origin]]
name = 'main'
servers = []
parent = 'sheild'
[[site]]
hosts = ['a.test', 'http://b.test']
origin = 'mian'
forward = ['X-Forwarded-For', 'Accept']
[site.key]
query = 'some'
[[site.rule]]
path = 'assets/*'
ttl = '30'
[[site]]
hosts = ['a.test']
origin = 'main'
[[site]]
hosts = ['a.test']
";
    let duration = "expected a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"";
    let expected = [
        "edge.toml:2: server.htpp: unknown key; did you mean `http`?".to_owned(),
        "edge.toml:3: server.admin: expected an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"".into(),
        "edge.toml:4: server.threads: expected a whole number up to 1024; 0 for one per core".into(),
        "edge.toml:6: server.limits.header_timout: unknown key; did you mean `header_timeout`?".into(),
        format!("edge.toml:7: server.limits.idle_timeout: {duration}"),
        "edge.toml:8: server.limits.write_timeout: expected a duration above 0".into(),
        "edge.toml:9: server.limits.head_size: expected a size with a unit, such as \"64KiB\" or \"10GiB\"".into(),
        "edge.toml:10: server.limits.head_fields: expected a whole number from 1 to 1024".into(),
        "edge.toml:11: sever: unknown key; did you mean `server`?".into(),
        "edge.toml:13: log.level: expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\", also for targets as in \"info,brim::upstream=debug\"".into(),
        "edge.toml:14: log.format: expected \"json\", \"combined\" or a template such as \"{client} {status}\"".into(),
        "edge.toml:17: origin[0].servers[0]: expected an origin, such as \"http://127.0.0.1:3000\", \"https://example.com\" or \"unix:/run/app.sock\"".into(),
        "edge.toml:18: origin[0].balance: expected \"round_robin\", \"least_conn\" or \"hash\"".into(),
        "edge.toml:20: origin[1].name: another [[origin]] is already named \"main\"".into(),
        "edge.toml:21: origin[1].servers: expected at least one".into(),
        "edge.toml:22: origin[1].parent: there is no [[origin]] named \"sheild\"".into(),
        "edge.toml:24: site[0].hosts[1]: expected a host, such as \"example.com\", \"*.example.com\" or \"*\" (no port)".into(),
        "edge.toml:25: site[0].origin: there is no [[origin]] named \"mian\"; did you mean \"main\"?".into(),
        "edge.toml:26: site[0].forward[0]: X-Forwarded-For is written by Brim; name the proxies in front of it in server.trusted_proxies".into(),
        "edge.toml:26: site[0].forward[1]: Accept is not dropped in the first place".into(),
        "edge.toml:28: site[0].key.query: expected \"all\", \"none\", { allow = [..] } or { deny = [..] }".into(),
        "edge.toml:30: site[0].rule[0].path: expected a path, such as \"/assets/*\"".into(),
        format!("edge.toml:31: site[0].rule[0].ttl: {duration}"),
        "edge.toml:33: site[1].hosts[0]: \"a.test\" is already the host of a [[site]]".into(),
        "edge.toml:35: site[2]: `origin` is missing".into(),
        "edge.toml:36: site[2].hosts[0]: \"a.test\" is already the host of a [[site]]".into(),
    ];
    let mut errors = problems(text);
    errors.retain(|line| !line.contains(": warning: "));
    assert_eq!(errors, expected);
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_line() {
    let found = problems("[server]\nhttp = [\n[[site]\n");
    assert!(found.iter().all(|line| line.starts_with("edge.toml:")), "{found:#?}");
    assert!(!found.is_empty());
    assert!(!problems("[server]\nadmin = 1\nadmin = 2\n").is_empty());
    let deaf = problems(&format!("[server]\nhttp = []\n{GOOD}"));
    assert_eq!(
        deaf,
        ["edge.toml:2: server.http: expected at least one listener, here or in `https`"]
    );
    let tiny = problems(&format!("{GOOD}[cache.disk]\npath = \"d\"\nsize = \"15MiB\"\n"));
    assert!(tiny[0].ends_with(": cache.disk.size: expected at least \"16MiB\""), "{tiny:?}");
    let needed = |key: &str| format!("edge.toml:1: {key}: at least one [[{key}]] is needed");
    assert_eq!(problems(""), [needed("origin"), needed("site")]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let settings = config::check(GOOD, "edge.toml", Path::new("")).settings.expect("good");
    let sample = config::load(Path::new("edge.toml")).expect("the sample is there");
    assert!(sample.problems.is_empty(), "{:#?}", sample.problems);
    let mut sample = sample.settings.expect("no problems");
    // Whoever names the default asks for it; else nobody minds if it is taken.
    assert_eq!((sample.server.admin.take(), settings.server.admin), (Some(config::ADMIN), None));
    // The sample names every default; it is the documentation of them.
    assert_eq!(sample, settings);
}

#[test]
fn every_shipped_configuration_is_good() {
    for folder in ["examples", "deploy", "deploy/compose", "deploy/kubernetes"] {
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let checked = config::load(&path).expect("readable");
            assert!(checked.problems.is_empty(), "{}: {:#?}", path.display(), checked.problems);
            count += 1;
        }
        assert!(count > 0, "no configuration in {folder}");
    }
}

#[test]
fn the_file_of_the_design_is_understood() {
    let text = r#"
[server]
http  = ["0.0.0.0:8080"]
https = ["0.0.0.0:8443"]
admin = "127.0.0.1:9180"
threads = 0
admin_token_file = "admin.token"
[server.limits]
header_timeout = "10s"
idle_timeout = "60s"
write_timeout = "60s"
head_size = "64KiB"
head_fields = 200
connections = 65536
[log]
access = "stdout"
format = "json"
level = "info"
[cache.memory]
size = "256MiB"
[cache.disk]
path = "/var/lib/brim"
size = "10GiB"
[[certificate]]
cert = "cert.pem"
key = "key.pem"
[[origin]]
name = "main"
servers = ["http://127.0.0.1:3000"]
balance = "round_robin"
parent = "shield"
connect_timeout = "2s"
response_timeout = "30s"
read_timeout = "30s"
[[origin]]
name = "shield"
servers = ["http://10.0.0.2:8080"]
admin = ["http://10.0.0.2:9180"]
[[site]]
hosts = ["www.example.com", "*.example.org"]
origin = "main"
[site.key]
query = { deny = ["utm_source"] }
[[site.rule]]
path = "/assets/*"
ttl = "30d"
default_ttl = "1m"
stale_while_revalidate = "60s"
stale_if_error = "1d"
cache = true
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let issued = Authority::new().issue(&["www.example.com", "*.example.org"]);
    std::fs::write(folder.path().join("cert.pem"), issued.cert).expect("written");
    std::fs::write(folder.path().join("key.pem"), issued.key).expect("written");
    let checked = config::check(text, "edge.toml", folder.path());
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    let settings = checked.settings.expect("good");
    assert_eq!(settings.origins[0].parent, Some(1));
    assert_eq!(settings.server.admin_token_file, folder.path().join("admin.token"));
    assert_eq!(settings.cache.disk.expect("a disk").bytes, 10 << 30);
    assert_eq!(settings.sites[0].rules[0].ttl.expect("a ttl").as_secs(), 30 * 86400);
}

#[test]
fn check_exits_with_zero_or_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let path = file.to_str().expect("a path");
    let check = || Command::run(&["check", "--config", path]);

    let missing = check();
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains(path) && missing.stderr.lines().count() == 1);

    std::fs::write(&file, GOOD).expect("written");
    let good = check();
    assert_eq!(good.code, Some(0));
    assert_eq!(good.stdout, format!("{path}: good: 1 site, 1 origin\n"));

    std::fs::write(&file, format!("{GOOD}colour = 1\n[cache]\nsize = 1\n")).expect("written");
    let bad = check();
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(1), ""));
    assert!(bad.stderr.contains("edge.toml:7: site[0].colour: unknown key"), "{}", bad.stderr);
    assert!(bad.stderr.contains("edge.toml:9: cache.size: unknown key"), "{}", bad.stderr);

    std::fs::write(&file, [0xff, 0xfe]).expect("written");
    assert_eq!(check().code, Some(1));
    assert_eq!(Command::run(&["run", "--config", path]).code, Some(1));
}

#[test]
fn listeners_that_exclude_each_other_are_found_before_they_are_bound() {
    let listeners = |list: &str| problems(&format!("[server]\nhttp = [{list}]\n{GOOD}"));
    assert_eq!(listeners("'0.0.0.0:80', '[::]:80', '127.0.0.1:81'"), [""; 0]);
    let excluded = "cannot both be listened on";
    for list in
        ["'1.1.1.1:80', '1.1.1.1:80'", "'0.0.0.0:80', '127.0.0.1:80'", "'[::1]:80', '[::]:80'"]
    {
        let found = listeners(list);
        assert!(found[0].starts_with("edge.toml:2: server.http[1]: "), "{found:?}");
        assert!(found[0].ends_with(excluded), "{found:?}");
    }
    // The operator's listener is one of them if it is asked for; its default gives way.
    assert_eq!(listeners("'0.0.0.0:9180'"), [""; 0]);
    let asked_for = listeners("'0.0.0.0:9180']\nadmin = '127.0.0.1:9180'\ntrusted_proxies = [");
    assert_eq!(asked_for.len(), 1, "{asked_for:?}");
    assert!(asked_for[0].starts_with("edge.toml:3: server.admin: "), "{asked_for:?}");
    assert!(asked_for[0].ends_with(excluded), "{asked_for:?}");
}

#[test]
fn every_bad_item_of_a_list_is_named() {
    let text =
        "[server]\ntrusted_proxies = [\n  'x',\n  '10.0.0.0/8',\n  'y',\n]\n".to_owned() + GOOD;
    let expected = "expected an address or a network, such as \"10.0.0.0/8\" or \"::1\"";
    assert_eq!(
        problems(&text),
        [
            format!("edge.toml:3: server.trusted_proxies[0]: {expected}"),
            format!("edge.toml:5: server.trusted_proxies[2]: {expected}"),
        ]
    );
}

#[test]
fn who_purges_on_the_front_door_is_named() {
    let purge = |lines: &str| {
        let text = format!("{GOOD}[site.purge]\n{lines}\n");
        config::check(&text, "edge.toml", Path::new("")).settings.expect("good").sites[0]
            .purge
            .clone()
            .map(|purge| (purge.networks.len(), purge.token))
    };
    assert_eq!(purge("networks = ['10.0.0.0/8', '::1']"), Some((2, false)));
    assert_eq!(purge("token = true"), Some((0, true)));
    assert_eq!(purge("networks = ['127.0.0.1']\ntoken = true"), Some((1, true)));
    let good = config::check(GOOD, "edge.toml", Path::new("")).settings.expect("good");
    assert_eq!(good.sites[0].purge, None);
    let nobody = "edge.toml:7: site[0].purge: names nobody: `networks`, or `token = true`";
    for lines in ["", "token = false", "networks = []"] {
        assert_eq!(problems(&format!("{GOOD}[site.purge]\n{lines}\n")), [nobody], "{lines}");
    }
    let bad = "[site.purge]\nnetworks = ['10.0.0.0/8', 'x']\ntoken = 'yes'\ntokens = true\n";
    assert_eq!(
        problems(&format!("{GOOD}{bad}")),
        [
            "edge.toml:8: site[0].purge.networks[1]: expected an address or a network, such as \"10.0.0.0/8\" or \"::1\"",
            "edge.toml:9: site[0].purge.token: expected true or false",
            "edge.toml:10: site[0].purge.tokens: unknown key; did you mean `token`?",
        ]
    );
    let table = problems(&GOOD.replace("hosts", "purge = true\nhosts"));
    assert_eq!(table, ["edge.toml:5: site[0].purge: expected a table, [site[0].purge]"]);
}

#[test]
fn every_key_of_the_cache_is_understood() {
    let text = "\
[server.limits]
fills = 100
[cache.memory]
size = '64MiB'
[[origin]]
name = 'main'
servers = ['http://127.0.0.1:3000']
[[site]]
hosts = ['*']
origin = 'main'
heuristic_freshness = false
strip_set_cookie = true
deception_guard = true
[site.key]
query = { deny = ['@tracking', 'session*'] }
sort_query = true
headers = ['X-Device']
cookies = ['currency']
scheme = true
[[site.rule]]
path = '*.css'
ttl = '30d'
default_ttl = '10m'
negative_ttl = '0s'
stale_while_revalidate = '60s'
stale_if_error = '1d'
cache = true
[[site.rule]]
path = '/never/*'
cache = false
";
    let checked = config::check(text, "edge.toml", Path::new(""));
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    let settings = checked.settings.expect("good");
    assert_eq!((settings.server.limits.fills, settings.cache.memory_bytes), (100, 64 << 20));
    let site = &settings.sites[0];
    assert!(!site.heuristic_freshness && site.strip_set_cookie && site.deception_guard);
    assert!(site.key.sort_query && site.key.scheme);
    // Names of fields have no case, those of cookies have one.
    assert_eq!(
        (&site.key.headers[..], &site.key.cookies[..]),
        (&["x-device".into()][..], &["currency".into()][..])
    );
    assert_eq!((site.rules.len(), site.rules[1].cache), (2, Some(false)));
    assert_eq!(site.rules[0].negative_ttl.map(|ttl| ttl.as_secs()), Some(0));
}

#[test]
fn every_bad_key_of_the_cache_is_named() {
    let text = "\
[server.limits]
fills = 0
[cache.memory]
size = '64'
sise = '1GiB'
[[origin]]
name = 'main'
servers = ['http://127.0.0.1:3000']
[[site]]
hosts = ['*']
origin = 'main'
heuristic_freshness = 1
strip_set_cookie = 'yes'
deception_guards = true
[site.key]
query = { deny = ['@trackers'] }
sort_query = 'a'
headers = ['X Device']
cookies = ['a=b']
scheme = 'https'
cookie = ['a']
[[site.rule]]
path = '*.css'
default_ttl = '10'
negative_ttl = -1
stale_while_revalidate = 'soon'
stale_if_error = '100y'
cache = 'no'
";
    let duration = "expected a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"";
    let expected = [
        "edge.toml:2: server.limits.fills: expected a whole number above 0".to_owned(),
        "edge.toml:4: cache.memory.size: expected a size with a unit, such as \"64KiB\" or \"10GiB\"".into(),
        "edge.toml:5: cache.memory.sise: unknown key; did you mean `size`?".into(),
        "edge.toml:12: site[0].heuristic_freshness: expected true or false".into(),
        "edge.toml:13: site[0].strip_set_cookie: expected true or false".into(),
        "edge.toml:14: site[0].deception_guards: unknown key; did you mean `deception_guard`?".into(),
        "edge.toml:16: site[0].key.query: expected parameter names, or the preset \"@tracking\"".into(),
        "edge.toml:17: site[0].key.sort_query: expected true or false".into(),
        "edge.toml:18: site[0].key.headers[0]: expected the name of a field, such as \"X-Device\"".into(),
        "edge.toml:19: site[0].key.cookies[0]: expected the name of a cookie, such as \"currency\"".into(),
        "edge.toml:20: site[0].key.scheme: expected true or false".into(),
        "edge.toml:21: site[0].key.cookie: unknown key; did you mean `cookies`?".into(),
        format!("edge.toml:24: site[0].rule[0].default_ttl: {duration}"),
        format!("edge.toml:25: site[0].rule[0].negative_ttl: {duration}"),
        format!("edge.toml:26: site[0].rule[0].stale_while_revalidate: {duration}"),
        "edge.toml:27: site[0].rule[0].stale_if_error: expected at most 10 years".into(),
        "edge.toml:28: site[0].rule[0].cache: expected true or false".into(),
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn what_one_client_may_have_is_understood_and_what_is_wrong_with_it_is_named() {
    let limits =
        "[server.limits]\nconnections_per_client = 5\nrate_min = '1KiB'\nallow = ['10.0.0.0/8']\n";
    let site = "[site.limits]\nrequests_per_client = 6\nrate = 7\nburst = 8\nallow = ['::1', '10.0.0.1']\n";
    let text = format!("{limits}{GOOD}{site}");
    let settings = config::check(&text, "edge.toml", Path::new("")).settings.expect("good");
    let server = &settings.server;
    assert_eq!((server.limits.connections_per_client, server.limits.rate_min), (5, 1024));
    assert_eq!(server.never_limited.len(), 1);
    let of_site = &settings.sites[0].limits;
    assert_eq!((of_site.requests, of_site.rate, of_site.burst), (6, 7, 8));
    assert_eq!(of_site.never_limited.len(), 2);
    // A burst is what comes in a second, where nothing is said.
    let burst = |lines: &str| {
        let text = format!("{GOOD}[site.limits]\n{lines}\n");
        let settings = config::check(&text, "edge.toml", Path::new("")).settings.expect("good");
        settings.sites[0].limits.burst
    };
    assert_eq!((burst("rate = 9"), burst("")), (9, 1));
    let bad = "[server.limits]\nconnections_per_client = -1\nrate_min = 64\nallow = ['x']\n";
    assert_eq!(
        problems(&format!("{bad}{GOOD}")),
        [
            "edge.toml:2: server.limits.connections_per_client: expected a whole number up to 1000000",
            "edge.toml:3: server.limits.rate_min: expected a size with a unit, such as \"64KiB\" or \"10GiB\"",
            "edge.toml:4: server.limits.allow[0]: expected an address or a network, such as \"10.0.0.0/8\" or \"::1\"",
        ]
    );
    let bad = "[site.limits]\nrequests_per_client = '5'\nrate = 0.5\nburst = 0\nrates = 1\n";
    assert_eq!(
        problems(&format!("{GOOD}{bad}")),
        [
            "edge.toml:8: site[0].limits.requests_per_client: expected a whole number up to 1000000",
            "edge.toml:9: site[0].limits.rate: expected a whole number up to 1000000",
            "edge.toml:10: site[0].limits.burst: expected a whole number from 1 to 1000000",
            "edge.toml:11: site[0].limits.rates: unknown key; did you mean `rate`?",
        ]
    );
    let alone = problems(&format!("{GOOD}[site.limits]\nburst = 5\n"));
    assert_eq!(
        alone,
        ["edge.toml:8: warning: site[0].limits.burst: it does nothing without a `rate`"]
    );
}
