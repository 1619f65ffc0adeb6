//! Every series is there from the start, and what is counted is told.

use super::*;
use crate::outcome::{Forward, Outcome, Tier};

fn origin() -> OriginNames {
    OriginNames { name: "o".to_owned(), servers: vec!["s".to_owned(), "t".to_owned()] }
}

fn answered(site: Option<usize>, outcome: Outcome, duration: Duration) -> Answered {
    let (tier, first_byte) = (Some(Tier::Memory), Some(duration));
    Answered { site, outcome, tier, duration, first_byte, sent_bytes: 7 }
}

fn has(metrics: &Metrics, line: &str) -> bool {
    metrics.text().lines().any(|found| found == line)
}

#[test]
fn every_known_series_is_there_from_the_start() {
    let metrics = Metrics::new(&["a.test".to_owned()], &[origin()]);
    metrics.set_cache_probe(CacheReport::default);
    for site in ["a.test", "none"] {
        for outcome in Outcome::LABELS {
            let series = format!("brim_requests_total{{outcome=\"{outcome}\",site=\"{site}\"}}");
            assert!(has(&metrics, &format!("{series} 0")), "{series}");
        }
    }
    for class in STATUS_CLASSES {
        let labels = format!("origin=\"o\",status_class=\"{class}\"");
        assert!(has(&metrics, &format!("brim_origin_requests_total{{{labels}}} 0")), "{class}");
    }
    for series in [
        "brim_request_seconds_count",
        "brim_origin_seconds_count",
        "brim_cache_bytes{tier=\"memory\"}",
        "brim_cache_objects{tier=\"memory\"}",
        "brim_evictions_total{tier=\"memory\"}",
        "brim_coalesced_total",
        "brim_fills_in_flight",
        "brim_purges_total{kind=\"url\"}",
        "brim_purges_total{kind=\"prefix\"}",
        "brim_purges_total{kind=\"tag\"}",
        "brim_purges_total{kind=\"host\"}",
        "brim_purges_total{kind=\"all\"}",
        "brim_parent_purges_total{result=\"purged\"}",
        "brim_parent_purges_total{result=\"pending\"}",
        "brim_parent_purges_pending",
        "brim_admin_denied_total",
        "brim_panics_total",
        "brim_tls_handshakes_total{result=\"full\"}",
        "brim_tls_handshakes_total{result=\"resumed\"}",
        "brim_tls_handshakes_total{result=\"failed\"}",
        "brim_tls_handshakes_total{result=\"timeout\"}",
        "brim_certificate_reloads_total{result=\"good\"}",
        "brim_certificate_reloads_total{result=\"bad\"}",
        "brim_connections",
        "brim_connections_refused_total{reason=\"full\"}",
        "brim_connections_refused_total{reason=\"client\"}",
        "brim_connections_refused_total{reason=\"proxy_header\"}",
        "brim_connections_refused_total{reason=\"not_trusted\"}",
        "brim_connections_closed_total{reason=\"idle\"}",
        "brim_connections_closed_total{reason=\"crowded\"}",
        "brim_connections_closed_total{reason=\"header_timeout\"}",
        "brim_connections_closed_total{reason=\"body_timeout\"}",
        "brim_connections_closed_total{reason=\"write_timeout\"}",
        "brim_limited_total{limit=\"requests\",site=\"a.test\"}",
        "brim_limited_total{limit=\"rate\",site=\"a.test\"}",
        "brim_http2_floods_total{frame=\"data\"}",
        "brim_http2_floods_total{frame=\"bad_request\"}",
        "brim_reloads_total{result=\"good\"}",
        "brim_reloads_total{result=\"bad\"}",
        "brim_config_loaded_timestamp_seconds",
    ] {
        assert!(has(&metrics, &format!("{series} 0")), "{series}");
    }
    for (series, value) in [
        ("brim_origin_requests_in_flight{origin=\"o\"}", 0),
        ("brim_origin_queue{origin=\"o\"}", 0),
        ("brim_origin_queue_full_total{origin=\"o\"}", 0),
        ("brim_origin_retries_total{origin=\"o\"}", 0),
        ("brim_origin_failovers_total{origin=\"o\"}", 0),
        ("brim_origin_server_up{origin=\"o\",server=\"t\"}", 1),
        ("brim_origin_ejections_total{origin=\"o\",server=\"t\"}", 0),
        ("brim_origin_checks_total{origin=\"o\",result=\"good\",server=\"t\"}", 0),
        ("brim_origin_checks_total{origin=\"o\",result=\"bad\",server=\"s\"}", 0),
    ] {
        assert!(has(&metrics, &format!("{series} {value}")), "{series}");
    }
}

#[test]
fn what_is_counted_is_told() {
    let metrics = Metrics::new(&["a".to_owned(), "b".to_owned()], &[origin()]);
    let time = Duration::from_millis(2);
    metrics.answered(&answered(Some(1), Outcome::Pass(Forward::Bypass), time));
    metrics.answered(&answered(None, Outcome::Error("bad_request"), time));
    metrics.answered(&answered(Some(0), Outcome::Error("head_timeout"), time));
    metrics.answered(&answered(Some(0), Outcome::Error("client_stalled"), time));
    metrics.connections().inc();
    metrics.connection_refused(Refused::NotTrusted);
    metrics.connection_closed(Closed::Crowded);
    metrics.limited(1, Limit::Rate);
    metrics.origin_answer(0, Some(404), Some(time));
    metrics.origin_answer(0, None, None);
    metrics.origin_queue_full(0);
    metrics.origin_retry(0);
    metrics.origin_failover(0);
    metrics.origin_ejected(0, 1);
    metrics.origin_checked(0, 1, true);
    metrics.origin_checked(0, 0, false);
    metrics.set_origins_probe(|| {
        let servers = vec![("s".to_owned(), true), ("t".to_owned(), false)];
        vec![OriginGauges { name: "o".to_owned(), requests: 5, waiting: 6, servers }]
    });
    metrics.coalesced();
    metrics.fills_in_flight().inc();
    metrics.evictions().inc();
    metrics.purged(PurgeKind::Tag, 3);
    metrics.purged(PurgeKind::All, 1);
    metrics.admin_denied();
    metrics.panicked();
    metrics.handshake(Handshake::Resumed);
    metrics.certificate_reloaded(false);
    metrics.set_certificates_probe(|| vec![("a.pem".to_owned(), -23)]);
    metrics.http2_flood(Flood::Reset);
    metrics.set_cache_probe(|| CacheReport {
        memory: TierReport { bytes: 4096, objects: 3 },
        purge_rules: 19,
        disk: Some(DiskReport {
            tier: TierReport { bytes: 8192, objects: 5 },
            file_bytes: 16384,
            evicted: 7,
            written: 11,
            dropped: 13,
            corrupt: 17,
            is_degraded: true,
        }),
    });
    for line in [
        "brim_requests_total{outcome=\"pass\",site=\"b\"} 1",
        "brim_requests_total{outcome=\"pass\",site=\"a\"} 0",
        "brim_requests_total{outcome=\"error\",site=\"none\"} 1",
        "brim_request_seconds_bucket{le=\"0.001\"} 0",
        "brim_request_seconds_bucket{le=\"0.0025\"} 4",
        "brim_request_seconds_count 4",
        "brim_first_byte_seconds_bucket{le=\"0.0025\"} 4",
        "brim_first_byte_seconds_sum 0.008",
        "brim_hits_total{tier=\"memory\"} 0",
        "brim_sent_bytes_total{site=\"a\"} 14",
        "brim_connections 1",
        "brim_connections_refused_total{reason=\"not_trusted\"} 1",
        "brim_connections_closed_total{reason=\"crowded\"} 1",
        "brim_connections_closed_total{reason=\"header_timeout\"} 1",
        "brim_connections_closed_total{reason=\"write_timeout\"} 1",
        "brim_limited_total{limit=\"rate\",site=\"b\"} 1",
        "brim_limited_total{limit=\"rate\",site=\"a\"} 0",
        "brim_origin_requests_total{origin=\"o\",status_class=\"4xx\"} 1",
        "brim_origin_requests_total{origin=\"o\",status_class=\"error\"} 1",
        "brim_origin_seconds_count 1",
        "brim_origin_requests_in_flight{origin=\"o\"} 5",
        "brim_origin_queue{origin=\"o\"} 6",
        "brim_origin_queue_full_total{origin=\"o\"} 1",
        "brim_origin_retries_total{origin=\"o\"} 1",
        "brim_origin_failovers_total{origin=\"o\"} 1",
        "brim_origin_server_up{origin=\"o\",server=\"s\"} 1",
        "brim_origin_server_up{origin=\"o\",server=\"t\"} 0",
        "brim_origin_ejections_total{origin=\"o\",server=\"t\"} 1",
        "brim_origin_checks_total{origin=\"o\",result=\"good\",server=\"t\"} 1",
        "brim_origin_checks_total{origin=\"o\",result=\"bad\",server=\"s\"} 1",
        "brim_coalesced_total 1",
        "brim_fills_in_flight 1",
        "brim_evictions_total{tier=\"memory\"} 1",
        "brim_purges_total{kind=\"tag\"} 3",
        "brim_purges_total{kind=\"all\"} 1",
        "brim_admin_denied_total 1",
        "brim_panics_total 1",
        "brim_tls_handshakes_total{result=\"resumed\"} 1",
        "brim_certificate_reloads_total{result=\"bad\"} 1",
        "brim_certificate_expires_in_seconds{certificate=\"a.pem\"} -23",
        "brim_http2_floods_total{frame=\"rst_stream\"} 1",
        "brim_cache_bytes{tier=\"memory\"} 4096",
        "brim_cache_objects{tier=\"memory\"} 3",
        "brim_cache_bytes{tier=\"disk\"} 8192",
        "brim_cache_objects{tier=\"disk\"} 5",
        "brim_evictions_total{tier=\"disk\"} 7",
        "brim_disk_file_bytes 16384",
        "brim_disk_writes_total 11",
        "brim_disk_dropped_writes_total 13",
        "brim_disk_corrupt_records_total 17",
        "brim_disk_degraded 1",
        "brim_purge_rules 19",
    ] {
        assert!(has(&metrics, line), "{line} is not in\n{}", metrics.text());
    }
}

#[test]
fn another_configuration_counts_on_and_what_is_gone_is_told_of_no_more() {
    let named = |name: &str, servers: &[&str]| OriginNames {
        name: name.to_owned(),
        servers: servers.iter().map(ToString::to_string).collect(),
    };
    let before = Metrics::new(
        &["a".to_owned(), "b".to_owned()],
        &[named("gone", &["x"]), named("stays", &["s", "t"])],
    );
    let after = before.reconfigured(
        &["new".to_owned(), "b".to_owned(), "a".to_owned()],
        &[named("stays", &["t", "u"]), named("new", &["x"])],
    );
    let time = Duration::from_millis(1);
    before.answered(&answered(Some(0), Outcome::Hit, time));
    after.answered(&answered(Some(2), Outcome::Hit, time));
    before.limited(1, Limit::Rate);
    after.limited(1, Limit::Rate);
    before.origin_answer(1, Some(200), None);
    after.origin_answer(0, Some(200), None);
    before.origin_ejected(1, 1);
    after.origin_ejected(0, 0);
    before.origin_retry(0);
    after.origin_retry(1);
    let origin = |name: &str, servers: &[(&str, bool)]| OriginGauges {
        name: name.to_owned(),
        servers: servers.iter().map(|(server, is_in)| (server.to_string(), *is_in)).collect(),
        ..OriginGauges::default()
    };
    after.set_origins_probe(move || {
        vec![origin("stays", &[("t", false), ("u", true)]), origin("new", &[("x", true)])]
    });
    // Whoever is asked tells the same.
    for metrics in [&before, &after] {
        for line in [
            "brim_requests_total{outcome=\"hit\",site=\"a\"} 2",
            "brim_requests_total{outcome=\"hit\",site=\"new\"} 0",
            "brim_limited_total{limit=\"rate\",site=\"b\"} 2",
            "brim_origin_requests_total{origin=\"stays\",status_class=\"2xx\"} 2",
            "brim_origin_ejections_total{origin=\"stays\",server=\"t\"} 2",
            "brim_origin_retries_total{origin=\"gone\"} 1",
            "brim_origin_retries_total{origin=\"new\"} 1",
            "brim_origin_server_up{origin=\"stays\",server=\"t\"} 0",
            "brim_origin_server_up{origin=\"stays\",server=\"u\"} 1",
            "brim_origin_server_up{origin=\"new\",server=\"x\"} 1",
        ] {
            assert!(has(metrics, line), "{line} is not in\n{}", metrics.text());
        }
        for gone in [
            "brim_origin_server_up{origin=\"stays\",server=\"s\"}",
            "brim_origin_server_up{origin=\"gone\"",
            "brim_origin_requests_in_flight{origin=\"gone\"}",
            "brim_origin_queue{origin=\"gone\"}",
        ] {
            assert!(!metrics.text().contains(gone), "{gone}");
        }
    }
}
