//! What the operator's rules say about one path.

use super::storing::Policy;
use crate::config::{Rule, Site};

/// What holds for `path`; `None` where it is always passed. The first rule that matches counts, and
/// what it does not say is left to the origin.
///
/// A path that an origin may take for another one, such as `/static/..%2Faccount`, gets no time from
/// a rule, and is passed where any rule passes something.
pub fn of_path(site: &Site, path: &str) -> Option<Policy> {
    let rule = rule_of(site, path).map(|position| &site.rules[position]);
    let is_passed = rule.and_then(|rule| rule.cache) == Some(false);
    (!is_passed).then(|| of_rule(site, rule))
}

/// The position of the rule that counts for `path`.
pub fn rule_of(site: &Site, path: &str) -> Option<usize> {
    if site.rules.is_empty() {
        None
    } else if may_lead_elsewhere(path) {
        site.rules.iter().position(|rule| rule.cache == Some(false))
    } else {
        site.rules.iter().position(|rule| matches(&rule.path, path))
    }
}

/// What a site says about answers, with what this rule says about some of them.
pub fn of_rule(site: &Site, rule: Option<&Rule>) -> Policy {
    let of_rule = |said: fn(&Rule) -> Option<std::time::Duration>| rule.and_then(said);
    Policy {
        ttl: of_rule(|rule| rule.ttl),
        default_ttl: of_rule(|rule| rule.default_ttl),
        negative_ttl: of_rule(|rule| rule.negative_ttl),
        while_revalidate: of_rule(|rule| rule.stale_while_revalidate),
        if_error: of_rule(|rule| rule.stale_if_error),
        heuristics: site.heuristic_freshness,
        strips_set_cookie: site.strip_set_cookie,
        guards_deception: site.deception_guard,
        keys_scheme: site.key.scheme,
    }
}

/// Whether some server would leave a segment of it, or see segments where others see none. `path`
/// has its escapes in upper case.
pub fn may_lead_elsewhere(path: &str) -> bool {
    let is_ordinary = memchr::memchr2(b'\\', b'%', path.as_bytes()).is_none()
        && !path.as_bytes().windows(2).any(|pair| pair == b"/.");
    !is_ordinary && leads_elsewhere(path)
}

fn leads_elsewhere(path: &str) -> bool {
    path.contains('\\')
        || ["%2E", "%2F", "%5C"].iter().any(|escape| path.contains(escape))
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Whether a pattern, in which `*` stands for any run of characters, covers the whole path. It goes
/// back to the last `*` only, so that no pattern makes a path expensive.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    let (mut at, mut position) = (0, 0);
    let mut last_star = None;
    while position < path.len() {
        if pattern.get(at) == Some(&b'*') {
            last_star = Some((at, position));
            at += 1;
        } else if pattern.get(at) == Some(&path[position]) {
            at += 1;
            position += 1;
        } else if let Some((star, from)) = last_star {
            at = star + 1;
            position = from + 1;
            last_star = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, path) in [
            ("/", "/"),
            ("/assets/*", "/assets/"),
            ("/assets/*", "/assets/a/b.css"),
            ("*", "/anything"),
            ("*.css", "/a.css/b.css"),
            ("/a*b*c", "/aXbYbZc"),
            ("/**", "/"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/", "/a"),
            ("/assets/*", "/assets"),
            ("*.css", "/a.css?"),
            ("/a*b", "/ab/c"),
            ("/a", "/"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
