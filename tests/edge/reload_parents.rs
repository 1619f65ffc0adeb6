//! Another configuration and parents: what one that stays owes is not forgotten, and one that has left
//! owes nothing.

use crate::kit::parents::version_of;
use crate::kit::{Brim, Tiers};
use serde_json::{Value, json};
use std::fs;

const PENDING: &str = "brim_parent_purges_pending";

/// Has the edge apply its configuration with changes.
fn change(tiers: &Tiers, changes: &[(&str, &str)]) -> String {
    let file = tiers.edge.folder().join("edge.toml");
    let before = fs::read_to_string(&file).expect("a configuration");
    let mut text = before.clone();
    for (old, new) in changes {
        assert!(text.contains(old), "{old} is not in {text}");
        text = text.replace(old, new);
    }
    apply(tiers, &text);
    before
}

fn apply(tiers: &Tiers, text: &str) {
    fs::write(tiers.edge.folder().join("edge.toml"), text).expect("written");
    let answer = tiers.operator().ask("POST", "/reload", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn state(receipt: &Value) -> &str {
    receipt["parents"][0]["state"].as_str().expect("a state")
}

/// Tiers whose parent has an old version of this on its disk, is away, and owes the purge of it.
fn owing(path: &str) -> (Tiers, usize, Value) {
    let mut tiers = Tiers::new();
    let given = tiers.get(path);
    // The disk gets what is asked for twice.
    assert_eq!(version_of(tiers.parent.address(), path), given);
    tiers.parent.wait_for_metric("brim_cache_objects{tier=\"disk\"}", 1);
    tiers.stop_parent();
    let new = tiers.change();
    let receipt = tiers.purge_later(&json!({ "urls": [format!("http://a.test{path}")] }));
    (tiers, new, receipt)
}

fn receipt_now(tiers: &Tiers, receipt: &Value) -> Value {
    let id = receipt["id"].as_str().expect("an id");
    tiers.operator().get(&format!("/purges/{id}"))
}

#[test]
fn what_a_parent_owes_is_not_forgotten_where_it_stays() {
    let (tiers, new, receipt) = owing("/x");
    // Its origin is another one, and elsewhere in the file.
    change(
        &tiers,
        &[(
            "[[origin]]\nname = 'shield'\n",
            "[[origin]]\nname = 'unused'\nservers = ['http://127.0.0.77:9']\n[[origin]]\nname = 'shield'\nread_timeout = '9s'\n",
        )],
    );
    assert_eq!(tiers.edge.metric(PENDING), 1);
    assert_eq!(state(&receipt_now(&tiers, &receipt)), "pending");
    let tiers = tiers.start_parent();
    // Nothing comes from there before it has purged.
    assert_eq!(tiers.get("/x"), new);
    assert_eq!(state(&tiers.wait_until_paid(&receipt)), "purged");
    assert_eq!(version_of(tiers.parent.address(), "/x"), new);
    // It is asked again, and what is purged now reaches it.
    let asked = "brim_origin_requests_total{origin=\"shield\",status_class=\"2xx\"}";
    let before = tiers.edge.metric(asked);
    tiers.get("/y");
    assert_eq!(tiers.edge.metric(asked), before + 1);
    let newest = tiers.change();
    let receipt = tiers.operator().purge(&json!({ "hosts": ["a.test"] }));
    assert_eq!(state(&receipt), "purged");
    assert_eq!((tiers.get("/y"), tiers.get("/x")), (newest, newest));
}

#[test]
fn a_parent_that_leaves_owes_nothing_and_one_that_comes_is_told_of_purges() {
    let (tiers, new, receipt) = owing("/x");
    let before = change(
        &tiers,
        &[
            ("[[origin]]\nname = 'shield'", "[[origin]]\nname = 'gone'"),
            (&format!("admin = ['http://{}']", tiers.parent.admin()), ""),
            ("parent = 'shield'", ""),
        ],
    );
    tiers.edge.wait_until(PENDING, |pending| pending == 0);
    assert_eq!(state(&receipt_now(&tiers, &receipt)), "left");
    assert_eq!(tiers.get("/x"), new);
    // Nobody has to wait for it any more.
    let receipt = tiers.operator().purge(&json!({ "urls": ["http://a.test/x"], "wait": true }));
    assert_eq!(receipt.get("parents"), None, "{receipt}");
    let tiers = tiers.start_parent();
    apply(&tiers, &before);
    assert_eq!(tiers.edge.metric(PENDING), 0);
    let receipt = tiers.operator().purge(&json!({ "urls": ["http://a.test/x"] }));
    assert_eq!(state(&receipt), "purged");
    let asked = |brim: &Brim| {
        brim.metric("brim_origin_requests_total{origin=\"shield\",status_class=\"2xx\"}")
    };
    let before = asked(&tiers.edge);
    assert_eq!(tiers.get("/x"), new);
    assert_eq!(asked(&tiers.edge), before + 1);
}
