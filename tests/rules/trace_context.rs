//! Which trace a request belongs to: what is spelled right is passed on, and nothing else.

use super::kit::fields;
use brim::rules::trace_context::TraceContext;
use proptest::prelude::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn read(lines: &str) -> Option<TraceContext> {
    let pairs: Vec<_> =
        lines.split_terminator("\r\n").filter_map(|line| line.split_once(':')).collect();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.trim())).collect();
    TraceContext::of(&fields(&pairs))
}

fn written(context: &TraceContext) -> String {
    let mut out = Vec::new();
    context.write(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn a_good_one_is_passed_on_as_it_came() {
    for flags in ["00", "01"] {
        let lines =
            format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: a=1,b@c=x y\r\n");
        let context = read(&lines).expect("good");
        assert_eq!(written(&context), lines);
        assert_eq!(context.is_sampled, flags == "01");
    }
}

#[test]
fn a_bad_one_is_as_good_as_none() {
    let zeros = "0".repeat(32);
    for bad in [
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01-00"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &zeros[..16]),
        format!("00-{TRACE}+{SPAN}-01"),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("01-{TRACE}-{SPAN}-01x"),
        String::new(),
    ] {
        assert_eq!(read(&format!("traceparent: {bad}\r\ntracestate: a=1\r\n")), None, "{bad}");
    }
    let twice = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n").repeat(2);
    assert_eq!(read(&twice), None);
    assert_eq!(read("tracestate: a=1\r\n"), None);
}

#[test]
fn of_a_version_to_come_what_is_known_is_passed_on() {
    for more in ["", "-what-comes-then"] {
        let context = read(&format!("traceparent: cc-{TRACE}-{SPAN}-ff{more}\r\n")).expect("good");
        assert_eq!(written(&context), format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"));
    }
}

#[test]
fn a_bad_state_is_dropped_and_the_parent_stays() {
    let parent = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let many: Vec<_> = (0..33).map(|n| format!("a{n}=1")).collect();
    for bad in [
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1,a=2",
        "a=1=2",
        "a@b@c=1",
        "@a=1",
        "a@=1",
        "a=\u{e9}",
        &many.join(","),
    ] {
        let context = read(&format!("{parent}tracestate: {bad}\r\n")).expect("good");
        assert_eq!(written(&context), parent, "{bad}");
    }
    let long = format!(
        "{parent}tracestate: a={}\r\ntracestate: b={}\r\n",
        "x".repeat(256),
        "x".repeat(252)
    );
    assert_eq!(written(&read(&long).expect("good")), parent);
    // Lines are one list, with room around its members, of which some may be empty.
    let lines = format!("{parent}tracestate: a=1 ,, b=2\r\ntracestate: 0c@d=3\r\n");
    let joined = format!("{parent}tracestate: a=1,b=2,0c@d=3\r\n");
    assert_eq!(written(&read(&lines).expect("good")), joined);
}

proptest! {
    #[test]
    fn what_is_written_is_what_was_read(trace in 1..=u128::MAX, span in 1..=u64::MAX, is_sampled: bool) {
        let context = TraceContext { trace_id: trace, span_id: span, is_sampled, state: Box::default() };
        prop_assert_eq!(read(&written(&context)), Some(context));
    }

    #[test]
    fn only_one_spelling_is_read(text in "[0-9a-fA-F]{2}[-0]?[-0-9a-f]{28,34}-[0-9a-fg]{15,17}-[0-9]{1,3}") {
        let parts: Vec<_> = text.split('-').collect();
        let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_good = match parts[..] {
            [version, trace, span, flags] => {
                let lengths = [version.len(), trace.len(), span.len(), flags.len()];
                lengths == [2, 32, 16, 2] && version != "ff" && parts.iter().all(|part| is_hex(part))
                    && trace.contains(|c| c != '0') && span.contains(|c| c != '0')
            }
            _ => false,
        };
        prop_assert_eq!(read(&format!("traceparent: {text}\r\n")).is_some(), is_good);
    }

    #[test]
    fn a_state_is_passed_on_without_anything_that_could_end_its_line(state in "[ -~]{0,80}") {
        let lines = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: {state}\r\n");
        let context = read(&lines).expect("good");
        prop_assert!(context.state.iter().all(|byte| (b' '..=b'~').contains(byte)));
        prop_assert_eq!(read(&written(&context)), Some(context));
    }
}
