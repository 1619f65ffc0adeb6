//! Single values of the file: each function reads one kind, or says in words what it expected.

use super::{
    AccessLog, Balance, Collector, ErrorFormat, HostHeader, Http2, OriginServer, Parents, Place,
    Query,
};
use bytesize::ByteSize;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

type Value<T> = Result<T, String>;

pub(super) fn text(value: &DeValue<'_>) -> Value<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| "a text in quotes, not empty".into())
}

pub(super) fn boolean(value: &DeValue<'_>) -> Value<bool> {
    value.as_bool().ok_or_else(|| "true or false".into())
}

pub(super) fn path(value: &DeValue<'_>) -> Value<PathBuf> {
    text(value).map(PathBuf::from).map_err(|_| "a path in quotes".into())
}

pub(super) fn count(value: &DeValue<'_>) -> Value<usize> {
    let number = match value {
        DeValue::Integer(number) => usize::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    number.ok_or_else(|| "a whole number".into())
}

pub(super) fn threads(value: &DeValue<'_>) -> Value<usize> {
    let threads = count(value).ok().filter(|n| *n <= 1024);
    threads.ok_or_else(|| "a whole number up to 1024; 0 for one per core".into())
}

pub(super) fn count_above_zero(value: &DeValue<'_>) -> Value<usize> {
    count(value).ok().filter(|n| *n > 0).ok_or_else(|| "a whole number above 0".into())
}

pub(super) fn streams(value: &DeValue<'_>) -> Value<usize> {
    let streams = count(value).ok().filter(|n| (1..=10_000).contains(n));
    streams.ok_or_else(|| "a whole number from 1 to 10000".into())
}

pub(super) fn duration(value: &DeValue<'_>) -> Value<Duration> {
    let expected = || "a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"".to_owned();
    let duration = humantime::parse_duration(value.as_str().ok_or_else(expected)?);
    let duration = duration.map_err(|_| expected())?;
    // Far beyond any use, and far below what a clock can add.
    if duration > DURATION_MAX { Err("at most 10 years".into()) } else { Ok(duration) }
}

const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86400);

pub(super) fn duration_above_zero(value: &DeValue<'_>) -> Value<Duration> {
    let duration = duration(value)?;
    if duration.is_zero() { Err("a duration above 0".into()) } else { Ok(duration) }
}

/// It is told in seconds; less than one would be none, which means to forget.
pub(super) fn hsts_age(value: &DeValue<'_>) -> Value<Duration> {
    let duration = duration(value)?;
    let is_whole = duration.subsec_nanos() == 0;
    if is_whole && (!duration.is_zero() || value.as_str() == Some("0s")) {
        Ok(duration)
    } else {
        Err("whole seconds above 0, such as \"365d\", or \"0s\" to be forgotten".into())
    }
}

/// Below this there is not room for enough segments.
const DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;

pub(super) fn size(value: &DeValue<'_>) -> Value<u64> {
    let expected = || "a size with a unit, such as \"64KiB\" or \"10GiB\"".to_owned();
    let text = value.as_str().ok_or_else(expected)?;
    // A number without a unit is more often a mistake than a number of bytes.
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        return Err(expected());
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| expected())
}

/// A capacity of the disk tier.
pub(super) fn disk_size(value: &DeValue<'_>) -> Value<u64> {
    let bytes = size(value)?;
    if bytes < DISK_BYTES_MIN {
        return Err("at least \"16MiB\"".to_owned());
    }
    Ok(bytes)
}

pub(super) fn address(value: &DeValue<'_>) -> Value<SocketAddr> {
    let address = value.as_str().and_then(|text| text.parse().ok());
    address
        .ok_or_else(|| "an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"".into())
}

pub(super) fn network(value: &DeValue<'_>) -> Value<IpNet> {
    let text = value.as_str().unwrap_or_default();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map(as_v4)
        .map_err(|_| "an address or a network, such as \"10.0.0.0/8\" or \"::1\"".into())
}

/// IPv4 clients of IPv6 listeners are IPv4 clients here.
fn as_v4(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let bits = v6.prefix_len().checked_sub(96);
    let v4 = v6.addr().to_ipv4_mapped().zip(bits);
    v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

pub(super) fn access_log(value: &DeValue<'_>) -> Value<AccessLog> {
    match text(value).map_err(|_| "\"off\", \"stdout\" or a file's path")?.as_str() {
        "off" => Ok(AccessLog::Off),
        "stdout" => Ok(AccessLog::Stdout),
        path => Ok(AccessLog::File(path.into())),
    }
}

pub(super) fn error_format(value: &DeValue<'_>) -> Value<ErrorFormat> {
    match value.as_str() {
        Some("text") => Ok(ErrorFormat::Text),
        Some("json") => Ok(ErrorFormat::Json),
        _ => Err("\"text\" or \"json\"".into()),
    }
}

pub(super) fn share(value: &DeValue<'_>) -> Value<f64> {
    let share = match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    };
    let share = share.filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share from 0.0, none, to 1.0, all".into())
}

pub(super) fn parents(value: &DeValue<'_>) -> Value<Parents> {
    match value.as_str() {
        Some("any") => Ok(Parents::Any),
        Some("trusted") => Ok(Parents::Trusted),
        _ => Err("\"any\" or \"trusted\"".into()),
    }
}

/// The collector's address; without a path it is asked at the one that OTLP has for it.
pub(super) fn collector(value: &DeValue<'_>) -> Value<Collector> {
    let expected = "an OTLP/HTTP collector without TLS, such as \"http://127.0.0.1:4318\"";
    let read = || {
        let mut url = url::Url::parse(value.as_str()?).ok()?;
        let is_good = url.scheme() == "http"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        is_good.then(|| Collector { url: url.into() })
    };
    read().ok_or_else(|| expected.into())
}

pub(super) fn balance(value: &DeValue<'_>) -> Value<Balance> {
    match value.as_str() {
        Some("round_robin") => Ok(Balance::RoundRobin),
        Some("least_conn") => Ok(Balance::LeastConn),
        Some("hash") => Ok(Balance::Hash),
        _ => Err("\"round_robin\", \"least_conn\" or \"hash\"".into()),
    }
}

pub(super) fn host_header(value: &DeValue<'_>) -> Value<HostHeader> {
    match value.as_str() {
        Some("client") => Ok(HostHeader::Client),
        Some("origin") => Ok(HostHeader::Origin),
        _ => Err("\"client\" or \"origin\"".into()),
    }
}

pub(super) fn http2(value: &DeValue<'_>) -> Value<Http2> {
    match value.as_str() {
        Some("auto") => Ok(Http2::Auto),
        Some("never") => Ok(Http2::Never),
        Some("always") => Ok(Http2::Always),
        _ => Err("\"auto\", \"never\" or \"always\"".into()),
    }
}

pub(super) fn status(value: &DeValue<'_>) -> Value<u16> {
    let status = count(value).ok().and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| (200..600).contains(status));
    status.ok_or_else(|| "a status from 200 to 599".into())
}

/// More at one time than any machine has room for is a mistake.
const AT_ONE_TIME_MAX: usize = 1_000_000;

pub(super) fn at_one_time(value: &DeValue<'_>) -> Value<usize> {
    let number = count(value).ok().filter(|number| *number <= AT_ONE_TIME_MAX);
    number.ok_or_else(|| format!("a whole number up to {AT_ONE_TIME_MAX}"))
}

pub(super) fn at_one_time_above_zero(value: &DeValue<'_>) -> Value<usize> {
    let number = at_one_time(value).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("a whole number from 1 to {AT_ONE_TIME_MAX}"))
}

/// Requests a second: a rate beyond what any machine answers is none.
pub(super) fn a_second(value: &DeValue<'_>) -> Value<u32> {
    let number = at_one_time(value).ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("a whole number up to {AT_ONE_TIME_MAX}"))
}

pub(super) fn a_second_above_zero(value: &DeValue<'_>) -> Value<u32> {
    let number = a_second(value).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("a whole number from 1 to {AT_ONE_TIME_MAX}"))
}

pub(super) fn percent(value: &DeValue<'_>) -> Value<u32> {
    let percent = count(value).ok().and_then(|percent| u32::try_from(percent).ok());
    let percent = percent.filter(|percent| *percent <= 100);
    percent.ok_or_else(|| "a whole number of percent, from 0 to 100".into())
}

pub(super) fn few(value: &DeValue<'_>) -> Value<u32> {
    let few = count(value).ok().and_then(|few| u32::try_from(few).ok());
    few.filter(|few| *few <= 1000).ok_or_else(|| "a whole number up to 1000".into())
}

pub(super) fn few_above_zero(value: &DeValue<'_>) -> Value<u32> {
    let few = few(value).ok().filter(|few| *few > 0);
    few.ok_or_else(|| "a whole number from 1 to 1000".into())
}

/// What a server is asked for: path and query, as a request line takes them.
pub(super) fn request_path(value: &DeValue<'_>) -> Value<String> {
    let is_good = |text: &String| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    };
    let path = text(value).ok().filter(is_good);
    path.ok_or_else(|| "a path, such as \"/healthz\"".into())
}

/// A name as certificates have them.
pub(super) fn server_name(value: &DeValue<'_>) -> Value<String> {
    let name = text(value).ok();
    let name = name.filter(|name| rustls_pki_types::ServerName::try_from(name.as_str()).is_ok());
    name.ok_or_else(|| "a name in certificates, such as \"origin.example.com\"".into())
}

/// A name or an address that a certificate can be made out to.
pub(super) fn certificate_name(value: &DeValue<'_>) -> Value<String> {
    let name = text(value).ok();
    let is_good = |name: &String| {
        let known = name.strip_prefix("*.").unwrap_or(name);
        rustls_pki_types::ServerName::try_from(known).is_ok()
    };
    name.filter(is_good).map(|name| name.to_ascii_lowercase()).ok_or_else(|| {
        "a name or an address without a port, such as \"localhost\" or \"127.0.0.1\"".into()
    })
}

/// The lowest version of TLS; whether 1.2 is spoken, too.
pub(super) fn allows_tls12(value: &DeValue<'_>) -> Value<bool> {
    match value.as_str() {
        Some("1.2") => Ok(true),
        Some("1.3") => Ok(false),
        _ => Err("\"1.2\" or \"1.3\"".into()),
    }
}

/// Whether clients need a certificate.
pub(super) fn is_required(value: &DeValue<'_>) -> Value<bool> {
    match value.as_str() {
        Some("required") => Ok(true),
        Some("optional") => Ok(false),
        _ => Err("\"required\" or \"optional\"".into()),
    }
}

pub(super) fn port(value: &DeValue<'_>) -> Value<u16> {
    let port = count(value).ok().and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).ok_or_else(|| "a port from 1 to 65535".into())
}

/// A Host field's value.
pub(super) fn authority(value: &DeValue<'_>) -> Value<String> {
    let text = text(value).ok();
    let authority = text.filter(|text| crate::wire::authority::parse(text.as_bytes()).is_some());
    authority.ok_or_else(|| "a host, such as \"example.com\" or \"example.com:8080\"".into())
}

/// The URL of one server.
pub(super) fn server(value: &DeValue<'_>) -> Value<OriginServer> {
    origin_server(value.as_str().unwrap_or_default())
}

/// A server's share beside the others.
pub(super) fn weight(value: &DeValue<'_>) -> Value<usize> {
    let weight = count(value).ok().filter(|weight| (1..=256).contains(weight));
    weight.ok_or_else(|| "a whole number from 1 to 256".into())
}

/// `http://host:port`, nothing behind it, or `unix:/path`. Also what the command line takes for an
/// origin.
pub fn origin_server(text: &str) -> Result<OriginServer, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_server(path);
    }
    let expected = || {
        "an origin, such as \"http://127.0.0.1:3000\", \"https://example.com\" or \
         \"unix:/run/app.sock\""
    };
    let url = url::Url::parse(text).map_err(|_| expected())?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(expected().into()),
    };
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{} (no path, query or user: requests bring their own)", expected()));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(expected)?;
    let port = url.port_or_known_default().filter(|port| *port > 0).ok_or_else(expected)?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    // URLs allow more in a host than a Host field does here.
    crate::wire::authority::parse(authority.as_bytes()).ok_or_else(expected)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(OriginServer { tls, place: Place::Net(host, port), authority, weight: 1 })
}

fn unix_server(path: &str) -> Result<OriginServer, String> {
    let fits = path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
    if !path.starts_with('/') || path == "/" || !fits {
        return Err(format!(
            "a socket's path from the root on, such as \"unix:/run/app.sock\", of at most \
             {SOCKET_PATH_BYTES_MAX} bytes"
        ));
    }
    // As everybody calls whoever is behind a socket.
    let authority = "localhost".to_owned();
    Ok(OriginServer { tls: false, place: Place::Unix(path.into()), authority, weight: 1 })
}

/// As many as a socket's address takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn query(value: &DeValue<'_>) -> Value<Query> {
    let expected = || "\"all\", \"none\", { allow = [..] } or { deny = [..] }".to_owned();
    match value {
        DeValue::String(text) if text == "all" => Ok(Query::All),
        DeValue::String(text) if text == "none" => Ok(Query::None),
        DeValue::Table(table) => {
            let mut entries = table.iter();
            let (Some((key, names)), None) = (entries.next(), entries.next()) else {
                return Err(expected());
            };
            let names = names.get_ref().as_array().ok_or_else(expected)?.iter();
            let names = names.map(|name| text(name.get_ref()).map_err(|_| expected()));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            match key.get_ref().as_ref() {
                "allow" => Ok(Query::Allow(with_presets(names)?)),
                "deny" => Ok(Query::Deny(with_presets(names)?)),
                _ => Err(expected()),
            }
        }
        _ => Err(expected()),
    }
}

/// Parameters that tell advertisers where a visitor came from, and no origin anything.
const TRACKING: &[&str] = &[
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "_openstat",
    "dclid",
    "fbclid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "igshid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "msclkid",
    "mtm_*",
    "pk_*",
    "s_kwcid",
    "srsltid",
    "ttclid",
    "twclid",
    "utm_*",
    "vero_id",
    "wbraid",
    "yclid",
];

/// Names of parameters, `*` at the end for any; `@tracking` stands for a list of them.
fn with_presets(names: Vec<String>) -> Value<Vec<String>> {
    let mut all = Vec::new();
    for name in names {
        match name.as_str() {
            "@tracking" => all.extend(TRACKING.iter().map(|&name| name.to_owned())),
            preset if preset.starts_with('@') => {
                return Err("parameter names, or the preset \"@tracking\"".into());
            }
            _ => all.push(name),
        }
    }
    Ok(all)
}

pub(super) fn field_name(value: &DeValue<'_>) -> Value<String> {
    let name = text(value).ok().filter(|name| http::HeaderName::try_from(name).is_ok());
    name.map(|name| name.to_ascii_lowercase())
        .ok_or_else(|| "the name of a field, such as \"X-Device\"".into())
}

pub(super) fn cookie_name(value: &DeValue<'_>) -> Value<String> {
    let name = text(value).ok().filter(|name| http::HeaderName::try_from(name).is_ok());
    name.ok_or_else(|| "the name of a cookie, such as \"currency\"".into())
}

/// An exact name, `*.` and a name, or `*`; in lower case, without a port.
pub(super) fn host(value: &DeValue<'_>) -> Value<String> {
    let host = value.as_str().unwrap_or_default().to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let good = crate::wire::authority::parse(name.as_bytes())
        .is_some_and(|read| read.port.is_none() && !name.ends_with('.'));
    if host == "*" || good {
        Ok(host)
    } else {
        Err("a host, such as \"example.com\", \"*.example.com\" or \"*\" (no port)".into())
    }
}

pub(super) fn path_pattern(value: &DeValue<'_>) -> Value<String> {
    let path = text(value).ok().filter(|text| text.starts_with('/') || text.starts_with('*'));
    path.ok_or_else(|| "a path, such as \"/assets/*\"".into())
}
