//! The keys of `edge.toml`: each with its default and its check, once.

mod listeners;
mod log;
mod origin;
mod tls;

use super::notes::Note;
use super::section::{Found, Report, Section, nearest};
use super::values;
use super::*;
use crate::wire::names;
use toml::de::DeTable;

/// Reads the text of a file called `name`.
pub(super) fn read(text: &str, name: &str, folder: &Path) -> Checked {
    let (table, errors) = DeTable::parse_recoverable(text);
    let report = Report::new(name, text, table.get_ref());
    for error in &errors {
        report.add(error.span().unwrap_or(0..0), String::new(), error.message().to_owned(), false);
    }
    // After a syntax error the rest of the file may mean something else than its author meant.
    let settings = if errors.is_empty() { read_all(&report, &table, folder) } else { None };
    let problems = report.into_problems();
    let good = problems.iter().all(|problem| problem.is_warning);
    let document = Document::of(table.get_ref());
    Checked { settings: settings.filter(|_| good), document, problems }
}

/// Every key that a file may have, table by table.
pub(super) fn notes() -> Vec<Note> {
    let nothing = toml::Spanned::new(0..0, DeTable::new());
    let report = Report::noting(nothing.get_ref());
    let _ = read_all(&report, &nothing, Path::new(""));
    report.into_notes()
}

fn read_all<'t>(
    report: &'t Report<'t>,
    table: &'t toml::Spanned<DeTable<'t>>,
    folder: &Path,
) -> Option<Settings> {
    let mut root = Section::root(report, table);
    let server = server(root.section("server"), folder);
    let log = log::log(root.section("log"), folder);
    let trace = log::trace(root.section("trace"));
    let cache = cache(root.section("cache"), folder);
    let certificates = tls::certificates(root.sections("certificate"), folder);
    let origins: Vec<_> = root
        .required_sections("origin")
        .into_iter()
        .map(|section| origin::origin(section, folder))
        .collect();
    let site_sections = root.required_sections("site");
    let names: Vec<_> = origins.iter().map(|read| read.name.as_ref()).collect();
    let sites: Vec<_> = site_sections
        .into_iter()
        .enumerate()
        .map(|(position, section)| site(section, position, &names))
        .collect();
    check_hosts(report, &sites);
    let is_trusting = !server.trusted_proxies.is_empty();
    let wishes = sites.iter().map(ReadSite::wishes);
    tls::check(report, &server.listeners, is_trusting, &certificates, wishes);
    let origins = origin::joined(report, origins);
    root.finish();
    warn_of_hosts_that_parents_do_not_know(report, &sites, origins.as_deref().unwrap_or_default());
    Some(Settings {
        server,
        log,
        trace,
        cache,
        certificates: certificates
            .into_iter()
            .map(|read| read.certificate)
            .collect::<Option<_>>()?,
        origins: origins?,
        sites: sites.into_iter().map(|read| read.site.map(Arc::new)).collect::<Option<_>>()?,
    })
}

fn server(mut section: Section<'_>, folder: &Path) -> Server {
    let mut limits_section = section.section("limits");
    let limits = limits(&mut limits_section);
    let never_limited = networks(&mut limits_section, "allow");
    limits_section.finish();
    let trusted_proxies = networks(&mut section, "trusted_proxies");
    let (listeners, admin) = listeners::listeners(&mut section, &trusted_proxies);
    let tls = tls::tls(section.section("tls"), folder);
    let server = Server {
        listeners,
        admin,
        threads: section.or("threads", 0, values::THREADS),
        admin_token_file: folder.join(section.or(
            "admin_token_file",
            "admin.token".into(),
            values::PATH,
        )),
        https_port: section.optional("https_port", values::PORT),
        tls,
        trusted_proxies,
        reload_on_change: section.or("reload_on_change", false, values::BOOLEAN),
        request_id: section.or("request_id", false, values::BOOLEAN),
        shutdown_timeout: section.or("shutdown_timeout", SHUTDOWN_TIMEOUT, values::DURATION),
        takeover_timeout: section.or("takeover_timeout", TAKEOVER_TIMEOUT, values::DURATION),
        limits,
        never_limited,
    };
    section.finish();
    server
}

fn networks(section: &mut Section<'_>, key: &'static str) -> Vec<IpNet> {
    section.list(key, values::NETWORK).map_or_else(Vec::new, Found::values)
}

fn limits(section: &mut Section<'_>) -> Limits {
    let mut head = HeadLimits::default();
    let size = |bytes: Option<Found<u64>>, default: usize, section: &Section<'_>| {
        let Some(found) = bytes else { return default };
        match usize::try_from(found.value).ok().filter(|n| (1024..=1024 * 1024).contains(n)) {
            Some(bytes) => bytes,
            None => {
                let message = "expected a size from \"1KiB\" to \"1MiB\"".to_owned();
                section.problem(found.at, found.key, message);
                default
            }
        }
    };
    head.head_bytes_max =
        size(section.found("head_size", values::SIZE), head.head_bytes_max, section);
    let target = section.found("target_size", values::SIZE);
    let target_place = target.as_ref().map(|found| found.at.clone());
    // A head limit below the default target limit lowers that too.
    head.target_bytes_max = size(target, head.target_bytes_max.min(head.head_bytes_max), section);
    if let Some(at) = target_place.filter(|_| head.target_bytes_max > head.head_bytes_max) {
        let message = "expected no more than `head_size`, which includes it".to_owned();
        section.problem(at, format!("{}.target_size", section.path()), message);
    }
    head.fields_max = section.or("head_fields", head.fields_max, values::HEAD_FIELDS);
    let mut time = |key, default| section.or(key, secs(default), values::DURATION_ABOVE_ZERO);
    Limits {
        header_timeout: time("header_timeout", 10),
        tls_timeout: time("tls_timeout", 10),
        idle_timeout: time("idle_timeout", 60),
        body_timeout: time("body_timeout", 60),
        write_timeout: time("write_timeout", 60),
        upgrade_idle_timeout: time("upgrade_idle_timeout", 600),
        head,
        rate_min: section.or("rate_min", 64, values::SIZE),
        connections: section.or("connections", 65536, values::COUNT_ABOVE_ZERO),
        connections_per_client: section.or("connections_per_client", 16384, values::AT_ONE_TIME),
        streams: section.or("streams", 100, values::STREAMS),
        fills: section.or("fills", 16384, values::COUNT_ABOVE_ZERO),
    }
}

fn cache(mut section: Section<'_>, folder: &Path) -> Cache {
    let mut memory = section.section("memory");
    let memory_bytes = memory.or("size", 256 << 20, values::SIZE);
    memory.finish();
    let mut disk = section.section("disk");
    let disk = if disk.is_there() {
        let path = disk.required("path", values::PATH);
        let bytes = disk.required("size", values::DISK_SIZE);
        disk.finish();
        path.zip(bytes)
            .map(|(path, bytes)| DiskCache { path: folder.join(path.value), bytes: bytes.value })
    } else {
        None
    };
    section.finish();
    Cache { memory_bytes, disk }
}

fn unknown_origin<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no [[origin]] named \"{name}\"; did you mean \"{near}\"?"),
        None => format!("there is no [[origin]] named \"{name}\""),
    }
}

/// A site as far as it could be read.
struct ReadSite {
    hosts: Vec<Found<String>>,
    host_header: Option<Found<HostHeader>>,
    redirect_to_https: Option<Found<bool>>,
    hsts: Option<Found<()>>,
    site: Option<Site>,
}

impl ReadSite {
    fn wishes(&self) -> tls::Wishes<'_> {
        let (redirect, has_hsts) = (self.redirect_to_https.as_ref(), self.hsts.as_ref());
        tls::Wishes { hosts: &self.hosts, redirect, has_hsts }
    }
}

fn site(mut section: Section<'_>, position: usize, origins: &[Option<&Found<String>>]) -> ReadSite {
    let hosts = section.required_list("hosts", values::HOST);
    let origin = section.required("origin", values::TEXT).and_then(|found| {
        let is_meant = |name: &Option<&Found<String>>| name.is_some_and(|n| n.value == found.value);
        let origin = origins.iter().position(is_meant);
        if origin.is_none() {
            let known = origins.iter().flatten().map(|name| name.value.as_str());
            section.problem(found.at, found.key, unknown_origin(&found.value, known));
        }
        origin
    });
    let host_header = section.found("host_header", values::HOST_HEADER);
    let forward = section.list("forward", values::TEXT);
    let redirect_to_https = section.found("redirect_to_https", values::BOOLEAN);
    let (hsts_place, hsts) = (section.place_of("hsts"), tls::hsts(&mut section));
    let mut key = section.section("key");
    let key_rules = KeyRules {
        query: key.or("query", Query::All, values::QUERY),
        sort_query: key.or("sort_query", false, values::BOOLEAN),
        headers: key.list("headers", values::FIELD_NAME).map_or_else(Vec::new, Found::values),
        cookies: key.list("cookies", values::COOKIE_NAME).map_or_else(Vec::new, Found::values),
        scheme: key.or("scheme", false, values::BOOLEAN),
    };
    key.finish();
    let limits = site_limits(section.section("limits"));
    let purge = purge(section.section("purge"));
    let heuristic_freshness = section.or("heuristic_freshness", true, values::BOOLEAN);
    let strip_set_cookie = section.or("strip_set_cookie", false, values::BOOLEAN);
    let deception_guard = section.or("deception_guard", false, values::BOOLEAN);
    let rules: Vec<_> = section.sections("rule").into_iter().map(rule).collect();
    for found in forward.iter().flat_map(|list| &list.value) {
        if let Some(message) = refuse_to_forward(&found.value) {
            section.problem(found.at.clone(), found.key.clone(), message);
        }
    }
    section.finish();
    let hosts = hosts.map(|list| list.value).unwrap_or_default();
    let names: Vec<String> = hosts.iter().map(|host| host.value.clone()).collect();
    let rules = rules.into_iter().collect::<Option<Vec<_>>>();
    let site = names.first().cloned().zip(origin).zip(rules).map(|((name, origin), rules)| Site {
        name,
        position,
        hosts: names,
        origin,
        host_header: host_header.as_ref().map_or(HostHeader::Client, |found| found.value),
        forward: forward.map_or_else(Vec::new, Found::values),
        heuristic_freshness,
        strip_set_cookie,
        deception_guard,
        redirect_to_https: redirect_to_https.as_ref().is_some_and(|found| found.value),
        hsts,
        trouble_page: None,
        key: key_rules,
        limits,
        purge,
        rules,
    });
    ReadSite { hosts, host_header, redirect_to_https, hsts: hsts_place, site }
}

fn site_limits(mut section: Section<'_>) -> SiteLimits {
    let requests = section.or("requests_per_client", 4096, values::AT_ONE_TIME);
    let rate = section.or("rate", 0, values::A_SECOND);
    let burst = section.found("burst", values::A_SECOND_ABOVE_ZERO);
    if let Some(burst) = burst.as_ref().filter(|_| rate == 0) {
        section.warn(burst, "it does nothing without a `rate`");
    }
    let burst = burst.map_or(rate.max(1), |found| found.value);
    let never_limited = networks(&mut section, "allow");
    section.finish();
    SiteLimits { requests, rate, burst, never_limited }
}

fn purge(mut section: Section<'_>) -> Option<SitePurge> {
    if !section.is_there() {
        return None;
    }
    let purge = SitePurge {
        networks: networks(&mut section, "networks"),
        token: section.or("token", false, values::BOOLEAN),
    };
    if purge == SitePurge::default() {
        section.problem_of_table("names nobody: `networks`, or `token = true`".to_owned());
    }
    section.finish();
    Some(purge)
}

fn refuse_to_forward(name: &str) -> Option<String> {
    if names::is_written_by_us(name) {
        return Some(format!(
            "{name} is written by Brim; name the proxies in front of it in server.trusted_proxies"
        ));
    }
    (!names::is_misleading(name)).then(|| format!("{name} is not dropped in the first place"))
}

fn check_hosts(report: &Report<'_>, sites: &[ReadSite]) {
    let mut seen: Vec<&str> = Vec::new();
    for found in sites.iter().flat_map(|read| &read.hosts) {
        if seen.contains(&found.value.as_str()) {
            let message = format!("\"{}\" is already the host of a [[site]]", found.value);
            report.add(found.at.clone(), found.key.clone(), message, false);
        }
        seen.push(&found.value);
    }
}

/// A site may well have parents for its origin and nothing behind them: they are asked like any
/// other server, but choose their own site by the Host.
fn warn_of_hosts_that_parents_do_not_know(
    report: &Report<'_>,
    sites: &[ReadSite],
    origins: &[Arc<Origin>],
) {
    for read in sites {
        let origin = read.site.as_ref().and_then(|site| origins.get(site.origin));
        let is_parent = origin.is_some_and(|origin| origin.is_parent);
        let own = |found: &&Found<HostHeader>| found.value == HostHeader::Origin;
        if let Some(found) = read.host_header.as_ref().filter(own).filter(|_| is_parent) {
            report.warn(
                found,
                "the origin's servers are parents, which know sites by the client's Host",
            );
        }
    }
}

fn rule(mut section: Section<'_>) -> Option<Rule> {
    let path = section.required("path", values::PATH_PATTERN);
    let rule = Rule {
        path: path.map(|found| found.value).unwrap_or_default(),
        ttl: section.optional("ttl", values::DURATION),
        default_ttl: section.optional("default_ttl", values::DURATION),
        negative_ttl: section.optional("negative_ttl", values::DURATION),
        stale_while_revalidate: section.optional("stale_while_revalidate", values::DURATION),
        stale_if_error: section.optional("stale_if_error", values::DURATION),
        cache: section.optional("cache", values::BOOLEAN),
    };
    section.finish();
    (!rule.path.is_empty()).then_some(rule)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
