//! What must hold for any value of one field: it means the same however it is spelled, and to
//! another parser that knows the grammar, where there is one.

use brim::rules::cache_control::{Demands, Directives};
use brim::rules::cache_status;
use brim::rules::date;
use brim::rules::loops::{self, Identity, Looped};
use brim::rules::range::{self, Asked, ContentRange, Resolved};
use brim::rules::vary::{self, Variant};
use brim::wire::authority;
use brim::wire::fields::{Composer, Fields};
use http_range_header::{EndPosition, StartPosition, SyntacticallyCorrectRange};
use sfv::{Dictionary, FieldType, List};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When it is.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// The lines of a text that can stand in a head, as the values that a parser of heads would make of
/// them.
fn values(data: &[u8]) -> Vec<&[u8]> {
    let can_stand =
        |line: &&[u8]| line.iter().all(|byte| *byte >= b' ' && *byte != 127 || *byte == b'\t');
    data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(can_stand).collect()
}

/// One field line for each value.
fn of_name<'a>(name: &str, values: impl IntoIterator<Item = &'a [u8]>) -> Fields {
    of_lines(values.into_iter().map(|value| (name, value)))
}

fn of_lines<'a>(lines: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Fields {
    let mut composer = Composer::new(b"GET / HTTP/1.1");
    lines.into_iter().for_each(|(name, value)| composer.add(name, value));
    composer.finish()
}

/// Lines of `name: value`, and what is no such line is left out.
fn lines(data: &[u8]) -> Vec<(&str, &[u8])> {
    let line = |line| -> Option<(&str, &[u8])> {
        let line: &[u8] = line;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        is_name.then_some((name, line[colon + 1..].trim_ascii()))
    };
    values(data).into_iter().filter_map(line).collect()
}

/// A Range is read as another parser reads it, and what it comes to is a part of what was asked and
/// of what is there, once.
pub(crate) fn range(data: &[u8]) {
    for value in values(data) {
        range_like_another_parser(value);
        if let Some(asked) = range::parse(value) {
            range_of_one_spelling(value, &asked);
            let near = asked.iter().flat_map(|asked| match *asked {
                Asked::From(first, last) => [first, last.unwrap_or(first)],
                Asked::Last(bytes) => [bytes, bytes],
            });
            let near = near.flat_map(|at| [at.saturating_sub(1), at, at.saturating_add(1)]);
            let totals = [0, 1, 2, 127, 128, 129, 300, 1 << 20, 1 << 32, u64::MAX - 1, u64::MAX];
            totals.into_iter().chain(near).for_each(|total| range_of_length(&asked, total));
        }
        if let Some(ContentRange { part, total }) = range::content_range(value) {
            assert!(part.start < part.end && total.is_none_or(|total| part.end <= total));
            let total_text = total.map_or("*".to_owned(), |total| total.to_string());
            let text = format!("Bytes {}-{}/{total_text}", part.start, part.end - 1);
            assert_eq!(range::content_range(text.as_bytes()), Some(ContentRange { part, total }));
        }
    }
}

fn written(asked: &[Asked]) -> Vec<String> {
    let write = |asked: &Asked| match asked {
        Asked::From(first, None) => format!("{first}-"),
        Asked::From(first, Some(last)) => format!("{first}-{last}"),
        Asked::Last(bytes) => format!("-{bytes}"),
    };
    asked.iter().map(write).collect()
}

fn range_of_one_spelling(value: &[u8], asked: &[Asked]) {
    assert!((1..=16).contains(&asked.len()));
    let parts = written(asked);
    for text in
        [format!("bytes={}", parts.join(",")), format!("BYTES=,, {}\t,", parts.join(" ,,\t"))]
    {
        assert_eq!(range::parse(text.as_bytes()).as_deref(), Some(asked), "{text} {value:?}");
    }
    assert_eq!(range::parse(&[value, b",x"].concat()), None);
    assert_eq!(range::parse(&[value, b",9-8"].concat()), None);
    assert_eq!(range::parse(&[value, &b",1-"[..].repeat(16)].concat()), None);
}

/// The other one is stricter about spaces, zeros and numbers that do not fit, and knows no limit.
fn range_like_another_parser(value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else {
        return assert_eq!(range::parse(value), None);
    };
    let ours = range::parse(value);
    if let Ok(theirs) = http_range_header::parse_range_header(text) {
        let theirs: Option<Vec<Asked>> = theirs.ranges.iter().map(same_range).collect();
        let theirs = theirs.filter(|parts| parts.len() <= 16);
        assert_eq!(ours, theirs, "{text}");
    }
    let Some(ours) = ours else { return };
    let strictly = format!("bytes={}", written(&ours).join(","));
    let has_none = ours.contains(&Asked::Last(0));
    match http_range_header::parse_range_header(&strictly) {
        Ok(theirs) => {
            let theirs: Option<Vec<Asked>> = theirs.ranges.iter().map(same_range).collect();
            assert_eq!(theirs, Some(ours), "{strictly}");
        }
        Err(error) => assert!(has_none, "{strictly}: {error}"),
    }
}

/// `None`: it ends before it begins.
fn same_range(theirs: &SyntacticallyCorrectRange) -> Option<Asked> {
    match (theirs.start, theirs.end) {
        (StartPosition::Index(first), EndPosition::LastByte) => Some(Asked::From(first, None)),
        (StartPosition::Index(first), EndPosition::Index(last)) => {
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
        (StartPosition::FromLast(bytes), _) => Some(Asked::Last(bytes)),
    }
}

fn range_of_length(asked: &[Asked], total: u64) {
    let parts = |asked: &[Asked]| match range::resolve(asked, total) {
        Resolved::One(part) => vec![part],
        Resolved::Several(parts) => {
            assert!(parts.len() > 1);
            parts
        }
        Resolved::None => Vec::new(),
    };
    let in_order = |asked: &[Asked]| {
        let mut parts = parts(asked);
        parts.sort_by_key(|part| part.start);
        parts
    };
    let found = in_order(asked);
    assert!(found.iter().all(|part| part.start < part.end && part.end <= total));
    // Apart from each other, so that all of them together are never more than the whole.
    assert!(found.windows(2).all(|pair| pair[1].start - pair[0].end > 128));
    assert!(
        found.iter().map(|part| u128::from(part.end - part.start)).sum::<u128>() <= total.into()
    );
    // Whatever was asked for and is there is in one of them, and each begins and ends with it.
    let there: Vec<Range<u64>> = asked.iter().filter_map(|asked| clipped(*asked, total)).collect();
    let holds =
        |part: &Range<u64>, one: &Range<u64>| part.start <= one.start && one.end <= part.end;
    assert!(there.iter().all(|one| found.iter().any(|part| holds(part, one))));
    for part in &found {
        assert!(there.iter().any(|one| one.start == part.start));
        assert!(there.iter().any(|one| one.end == part.end));
    }
    // Nothing that nobody asked for is sent but gaps that are cheaper than another part.
    if total <= 300 {
        let is_asked = |at: u64| there.iter().any(|one| one.contains(&at));
        for part in &found {
            let unasked = part.clone().fold((0, 0), |(run, longest): (u64, u64), at| {
                let run = if is_asked(at) { 0 } else { run + 1 };
                (run, longest.max(run))
            });
            assert!(unasked.1 <= 128);
        }
    }
    let mut backwards = asked.to_vec();
    backwards.reverse();
    assert_eq!(in_order(&backwards), found);
    let again: Vec<Asked> =
        parts(asked).iter().map(|part| Asked::From(part.start, Some(part.end - 1))).collect();
    assert_eq!(parts(&again), parts(asked));
}

fn clipped(asked: Asked, total: u64) -> Option<Range<u64>> {
    let part = match asked {
        Asked::From(first, None) => first..total,
        Asked::From(first, Some(last)) => first..last.saturating_add(1).min(total),
        Asked::Last(bytes) => total.saturating_sub(bytes)..total,
    };
    (!part.is_empty()).then_some(part)
}

/// Directives mean the same in any case, on one line or several, among others that nobody knows,
/// and when they are written again; one more is heard, and takes nothing back.
pub(crate) fn cache_control(data: &[u8]) {
    let name = "Cache-Control";
    let values = values(data);
    let read = |lines: &[&[u8]]| {
        let fields = of_name(name, lines.iter().copied());
        (Directives::of_response(&fields), Demands::of_request(&fields))
    };
    let with = |line: &'static [u8]| read(&[&values[..], &[line]].concat());
    let said = read(&values);
    let (directives, demands) = &said;
    assert!(!directives.is_targeted);
    let upper: Vec<Vec<u8>> = values.iter().map(|line| line.to_ascii_uppercase()).collect();
    assert_eq!(read(&upper.iter().map(Vec::as_slice).collect::<Vec<_>>()), said);
    assert_eq!(with(b"x-unknown=\"no-store, max-age=1\", no-storex, no_store"), said);
    assert_eq!(with(b" , ,\t,"), said);
    let stricter = Directives { no_store: true, ..directives.clone() };
    assert_eq!(with(b"No-Store"), (stricter, Demands { no_store: true, ..*demands }));
    let (later, later_demands) = with(b"max-age=5, s-maxage=6, min-fresh=7");
    assert_eq!(later.max_age, directives.max_age.or(Some(5)), "the first counts");
    assert_eq!(later.s_maxage, directives.s_maxage.or(Some(6)));
    assert_eq!(later.no_store, directives.no_store);
    assert!(later_demands.max_age.is_some() && later_demands.min_fresh.is_some());
    for seconds in [directives.max_age, directives.s_maxage, demands.max_age] {
        assert!(seconds.is_none_or(|seconds| seconds <= 1 << 31));
    }
    directives_written_again(directives);
    if values.iter().any(|line| line.contains(&b'"')) {
        return;
    }
    let members: Vec<&[u8]> =
        values.iter().flat_map(|line| line.split(|byte| *byte == b',')).collect();
    assert_eq!(read(&members), said, "one on each line");
    assert_eq!(read(&[&members.join(&b" ,\t"[..])]), said, "all on one line");
    plain_directives(&members, directives);
}

/// Where the names of fields can stand between quotes.
fn directives_written_again(directives: &Directives) {
    let is_token = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !directives.withheld_fields.iter().all(is_token) {
        return;
    }
    let mut lines = Vec::new();
    for (is_said, name) in [
        (directives.no_store, "no-store"),
        (directives.no_cache, "no-cache"),
        (directives.private, "private"),
        (directives.public, "public"),
        (directives.must_revalidate, "must-revalidate"),
        (directives.proxy_revalidate, "proxy-revalidate"),
        (directives.must_understand, "must-understand"),
    ] {
        lines.extend(is_said.then(|| name.to_owned()));
    }
    for (seconds, name) in [
        (directives.max_age, "max-age"),
        (directives.s_maxage, "s-maxage"),
        (directives.stale_while_revalidate, "stale-while-revalidate"),
        (directives.stale_if_error, "stale-if-error"),
    ] {
        lines.extend(seconds.map(|seconds| format!("{name}={seconds}")));
    }
    let names_fields = !directives.withheld_fields.is_empty();
    if names_fields {
        lines.push(format!("private=\"{}\"", directives.withheld_fields.join(", ")));
    }
    let plain = Directives { is_targeted: false, ..directives.clone() };
    let read = |name, text: &str| Directives::of_response(&of_name(name, [text.as_bytes()]));
    let text = lines.join(", ");
    assert_eq!(read("Cache-Control", &text), plain, "{text}");
    // The same in the other fields, whose grammars are others.
    let targeted = Directives { is_targeted: true, ..plain };
    let is_twice = directives.private && names_fields;
    // Of equal keys the last one counts there (RFC 9651, section 3.2).
    if !text.is_empty() && !is_twice {
        assert_eq!(read("CDN-Cache-Control", &text), targeted, "{text}");
    }
    if targeted.no_store || targeted.max_age.is_some() {
        assert_eq!(read("Surrogate-Control", &text), targeted, "{text}");
    }
}

/// A second opinion, where no quotes are about.
fn plain_directives(members: &[&[u8]], read: &Directives) {
    // An argument that is none, or stands apart from its `=`, says nothing.
    let plain = |member: &&[u8]| -> (Vec<u8>, Option<Vec<u8>>) {
        let member = member.trim_ascii();
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let argument = parts.next().filter(|text| text.trim_ascii_start() == *text);
        let argument = argument.filter(|_| name.trim_ascii_end() == name);
        (name.trim_ascii().to_ascii_lowercase(), argument.map(<[u8]>::to_vec))
    };
    let plain: Vec<_> = members.iter().map(plain).collect();
    let first = |wanted: &str| plain.iter().find(|(name, _)| name == wanted.as_bytes());
    for (name, heard) in [
        ("no-store", read.no_store),
        ("public", read.public),
        ("must-revalidate", read.must_revalidate),
        ("proxy-revalidate", read.proxy_revalidate),
        ("must-understand", read.must_understand),
    ] {
        assert_eq!(first(name).is_some(), heard, "{name}");
    }
    for (name, heard) in [
        ("max-age", read.max_age),
        ("s-maxage", read.s_maxage),
        ("stale-while-revalidate", read.stale_while_revalidate),
        ("stale-if-error", read.stale_if_error),
    ] {
        let seconds = first(name).map(|(_, argument)| {
            let text = argument.as_deref().filter(|text| !text.is_empty()).unwrap_or(b"0");
            let is_number = text.iter().all(u8::is_ascii_digit);
            let digits = std::str::from_utf8(text).ok().filter(|_| is_number).unwrap_or("0");
            // More than any number means for ever.
            digits.parse().unwrap_or(u64::MAX).min(1 << 31)
        });
        assert_eq!(heard, seconds, "{name}");
    }
    for (wanted, heard) in [("no-cache", read.no_cache), ("private", read.private)] {
        let is_of_all = |argument: &Option<Vec<u8>>| {
            argument.as_ref().is_none_or(|list| list.trim_ascii().is_empty())
        };
        let is_said = |(name, argument): &(Vec<u8>, Option<Vec<u8>>)| {
            name == wanted.as_bytes() && is_of_all(argument)
        };
        assert_eq!(plain.iter().any(is_said), heard, "{wanted}");
    }
}

/// Structured fields are whole or not there, mean the same in the spelling of another writer, and a
/// list goes on as a list, with what the caches before have told.
pub(crate) fn structured_fields(data: &[u8]) {
    let values = values(data);
    let joined = values.join(&b", "[..]);
    targeted_directives(&values, &joined);
    let told = cache_status::told_before(&of_name("Cache-Status", values.iter().copied()));
    let members = |text: &[u8]| List::parse(sfv::Parser::new(text)).ok();
    let sound = values.iter().filter_map(|line| members(line));
    let expected: List = sound.flatten().collect();
    match expected.is_empty() {
        true => assert!(told.is_empty()),
        false => assert_eq!(members(&told), Some(expected.clone())),
    }
    let again = cache_status::told_before(&of_name("cache-status", [&told[..]]));
    assert_eq!(again, told);
    let own = [&told[..], b"brim; hit; ttl=5"].join(&b", "[..]);
    let own = if told.is_empty() { &own[2..] } else { &own };
    assert_eq!(members(own).map(|list| list.len()), Some(expected.len() + 1));
}

fn targeted_directives(values: &[&[u8]], joined: &[u8]) {
    let read = |cdn: &[&[u8]]| {
        let plain: &[u8] = b"public, max-age=77";
        let lines = cdn.iter().map(|value| ("CDN-Cache-Control", *value));
        Directives::of_response(&of_lines(lines.chain([("Cache-Control", plain)])))
    };
    let directives = read(values);
    assert_eq!(read(&[joined]), directives, "on one line");
    let Some(dictionary) =
        Dictionary::parse(sfv::Parser::new(joined)).ok().filter(|members| !members.is_empty())
    else {
        assert!(!directives.is_targeted && directives.public);
        return assert_eq!(directives.max_age, Some(77));
    };
    assert!(directives.is_targeted);
    let text = dictionary.serialize().expect("there are members");
    assert_eq!(read(&[text.as_bytes()]), directives, "{text}");
    // Parameters say nothing (RFC 9213, section 2.1), and of equal keys the last counts.
    let mut bare = dictionary.clone();
    for (_, member) in &mut bare {
        match member {
            sfv::ListEntry::Item(item) => item.params.clear(),
            sfv::ListEntry::InnerList(list) => list.params.clear(),
        }
    }
    let bare = bare.serialize().expect("there are members");
    assert_eq!(read(&[bare.as_bytes()]), directives, "{bare}");
    let shorter = read(&[text.as_bytes(), b"max-age=3, no-store"]);
    assert_eq!((shorter.max_age, shorter.no_store), (Some(3), true), "{text}");
    assert_eq!(read(&[text.as_bytes(), b"A=b"]).max_age, Some(77), "no key");
}

/// A request that comes round is known, however much of its way it tells and in which spelling, and
/// none goes round for ever.
pub(crate) fn loops(data: &[u8]) {
    let identity = |number: u64| Identity::new(number.to_be_bytes());
    let (here, elsewhere) = (identity(u64::MAX), identity(0xfeed_0000_0000_cafe));
    let lines = lines(data);
    let fields = of_lines(lines.iter().copied());
    let verdict = loops::check(&fields, &here);
    let backwards = of_lines(lines.iter().rev().copied());
    assert_eq!(loops::check(&backwards, &here), verdict);
    let shouted: Vec<_> =
        lines.iter().map(|(name, value)| (name.to_ascii_uppercase(), *value)).collect();
    let shouted = of_lines(shouted.iter().map(|(name, value)| (name.as_str(), *value)));
    assert_eq!(loops::check(&shouted, &here), verdict);
    let mut way = loops::continued(&fields, &elsewhere);
    assert!(way.iter().all(|byte| *byte >= b' ' && *byte != 127 || *byte == b'\t'));
    assert!(way.ends_with(b"brim;id=feed00000000cafe"));
    let sent = |way: &[u8]| of_name("cdn-loop", [way]);
    assert_eq!(loops::check(&sent(&way), &elsewhere), Err(Looped::Here));
    let told: Vec<&[u8]> =
        fields.all("cdn-loop").flat_map(brim::wire::fields::split_list).collect();
    let sent_on = sent(&way);
    let members: Vec<&[u8]> = sent_on.tokens("cdn-loop").collect();
    assert_eq!(&members[..members.len() - 1], told, "nothing of it is lost");
    // Ever new servers, each of which knows only itself.
    for number in 0..9 {
        let Ok(()) = loops::check(&sent(&way), &identity(number)) else { return };
        way = loops::continued(&sent(&way), &identity(number));
    }
    panic!("it goes on: {}", String::from_utf8_lossy(&way));
}

/// A date is what another parser reads, in any case, and the same again when it is written.
pub(crate) fn http_date(data: &[u8]) {
    for value in values(data) {
        let read = date::parse(value, now());
        for other in [value.to_ascii_uppercase(), value.to_ascii_lowercase()] {
            assert_eq!(date::parse(&other, now()), read, "{}", String::from_utf8_lossy(&other));
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        let dashes = text.bytes().filter(|byte| *byte == b'-').count();
        if let Ok(theirs) = httpdate::parse_http_date(text) {
            let ours = read.expect("a date");
            let century = Duration::from_secs(36525 * 86400);
            let is_century = ours + century == theirs || theirs + century == ours;
            assert!(ours == theirs || dashes == 2 && is_century, "{text}");
        }
        let Some(read) = read else { continue };
        let written = httpdate::fmt_http_date(read);
        assert_eq!(date::parse(written.as_bytes(), now()), Some(read), "{written}");
        if dashes == 2 {
            assert!(read <= now() + Duration::from_secs(18263 * 86400), "{text}");
        }
        let seconds = date::seconds_between(now(), read);
        assert_eq!(date::seconds_between(read, now()), -seconds);
        let fields = of_name("Date", [value]);
        assert_eq!(date::of_field(&fields, "date", now()), Some(read));
        let twice = of_name("Date", [value, value]);
        assert_eq!(date::of_field(&twice, "date", now()), None);
    }
}

/// An answer is selected by the request that it answered, and by all that say the same otherwise.
pub(crate) fn selecting_fields(data: &[u8]) {
    let lines = lines(data);
    // The fields of the request stand for those of the answer, too.
    let request = of_lines(lines.iter().copied());
    let variant = Variant::new(&request, &request);
    assert!(variant.matches(&request, None));
    assert_eq!(variant.with_values_of(&request), variant);
    let upper: Vec<Vec<u8>> = request.all("vary").map(|value| value.to_ascii_uppercase()).collect();
    let upper = of_name("VARY", upper.iter().map(Vec::as_slice));
    assert_eq!(Variant::new(&upper, &request), variant);
    let spaced: Vec<(&str, Vec<u8>)> =
        lines.iter().map(|(name, value)| (*name, [b"\t ", *value, b" "].concat())).collect();
    let spaced = of_lines(spaced.iter().map(|(name, value)| (*name, value.trim_ascii())));
    assert!(variant.matches(&spaced, None));
    // What is sent to the origin for all of its meaning selects what they select.
    let codings = vary::accept_encoding(&request);
    assert_eq!(codings.is_some(), request.first("accept-encoding").is_some());
    if let Some(codings) = codings {
        let by_codings = of_name("Vary", [&b"Accept-Encoding"[..]]);
        let plain = of_name("Accept-Encoding", [codings.as_bytes()]);
        assert_eq!(vary::accept_encoding(&plain).as_deref(), Some(&*codings));
        let selected = Variant::new(&by_codings, &request);
        assert!(selected.matches(&plain, None) && Variant::new(&by_codings, &plain) == selected);
        let mut members: Vec<&[u8]> = request.tokens("accept-encoding").collect();
        members.reverse();
        let backwards = members.join(&b" , "[..]).to_ascii_uppercase();
        let backwards = of_name("accept-encoding", [&backwards[..]]);
        assert_eq!(vary::accept_encoding(&backwards), Some(codings.clone()));
        for coding in codings.split(", ").filter(|coding| *coding != "identity") {
            let named = |member: &[u8]| {
                let name = member.split(|byte| *byte == b';').next().unwrap_or_default();
                let name = name.trim_ascii().to_ascii_lowercase();
                name == b"*" || name.strip_prefix(b"x-").unwrap_or(&name) == coding.as_bytes()
            };
            assert!(request.tokens("accept-encoding").any(named), "{coding} was not asked for");
        }
    }
    // One more value of a field that selects is another request.
    for (name, _) in &lines {
        let is_selecting = variant.selectors().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let is_normal = ["accept-encoding", "accept-language", "vary"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
        if is_selecting && !is_normal {
            let more = of_lines(lines.iter().copied().chain([(*name, &b"one-more"[..])]));
            assert!(!variant.matches(&more, None), "{name}");
            assert_ne!(variant.with_values_of(&more), variant);
        }
    }
}

/// A host is the one that another parser finds in the same place of a URL.
pub(crate) fn host(data: &[u8]) {
    let Some(read) = authority::parse(data) else { return };
    let text = std::str::from_utf8(data).expect("it was read");
    let port = read.port.map_or(String::new(), |port| format!(":{port}"));
    let again = format!("{}{port}", read.host);
    let reread = authority::parse(again.as_bytes()).expect("it was read");
    assert_eq!(reread, read);
    assert!(!read.host.ends_with('.'), "an absolute name is another host");
    assert!(read.host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b)));
    let other = again.to_ascii_uppercase();
    let upper = authority::parse(other.as_bytes()).expect("it was read");
    assert!(authority::same(read, upper, 80));
    let unported = authority::Authority { port: None, ..read };
    assert_eq!(authority::same(read, unported, 80), read.port.is_none_or(|port| port == 80));
    // Of labels in Punycode, some are none; who asks for them is answered by their bytes.
    if again.to_ascii_lowercase().contains("xn--") {
        return;
    }
    let url = url::Url::parse(&format!("http://{text}/")).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(url.port_or_known_default(), Some(read.port.unwrap_or(80)), "{text}");
    assert!(url.username().is_empty() && url.path() == "/" && url.query().is_none());
    let inside = read.host.trim_matches(['[', ']']);
    match url.host().expect("a host") {
        url::Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            assert_eq!(name, read.host.to_ascii_lowercase(), "{text}");
        }
        url::Host::Ipv4(address) => assert_eq!(inside.parse(), Ok(address)),
        url::Host::Ipv6(address) => assert_eq!(inside.parse(), Ok(address)),
    }
}
