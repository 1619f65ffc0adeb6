//! `brim dev --watch`: files that change are forgotten.

use crate::kit::{Brim, Client, Origin, get, ok_with};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn site() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("assets")).expect("made");
    fs::write(folder.path().join("index.html"), "1").expect("written");
    fs::write(folder.path().join("assets/a.css"), "1").expect("written");
    folder
}

fn dev(watched: &str) -> (Origin, Brim) {
    let origin = Origin::serving(|_, _| ok_with("Cache-Control: max-age=3600\r\n", "kept"));
    let brim = Brim::dev(&format!("http://{}", origin.address()), &["--watch", watched]);
    (origin, brim)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What the edge says that it did, asked by its own address.
fn told(brim: &Brim, path: &str) -> String {
    let host = brim.address();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    Client::connect(host).ask(request).told()
}

const HIT: &str = "brim; hit";
const NEW: &str = "brim; fwd=uri-miss; stored";

#[test]
fn a_file_that_changes_is_fetched_again_and_nothing_else_is() {
    let folder = site();
    let (_origin, brim) = dev(text(folder.path()));
    for path in ["/", "/assets/a.css", "/assets/a.css?v=1", "/assets/b.css"] {
        assert_eq!(told(&brim, path), NEW, "{path}");
        assert_eq!(told(&brim, path), HIT, "{path}");
    }
    // A host that nobody has foreseen.
    let mut other = Client::connect(brim.address());
    other.ask(get("/assets/a.css"));
    fs::write(folder.path().join("assets/a.css"), "2").expect("written");
    brim.access_log("CHANGED      /assets/a.css: 3 objects purged");
    assert_eq!(other.ask(get("/assets/a.css")).told(), NEW);
    for path in ["/assets/a.css", "/assets/a.css?v=1"] {
        assert_eq!(told(&brim, path), NEW, "{path}");
    }
    for path in ["/", "/assets/b.css"] {
        assert_eq!(told(&brim, path), HIT, "{path}");
    }
    fs::write(folder.path().join("index.html"), "2").expect("written");
    brim.access_log("CHANGED      / /index.html: 1 object purged");
    assert_eq!(told(&brim, "/"), NEW);
}

#[test]
fn a_folder_can_be_served_at_another_path_and_be_moved_with_all_in_it() {
    let folder = site();
    let (_origin, brim) = dev(&format!("{}=/static", text(folder.path())));
    for path in ["/assets/a.css", "/static/assets/a.css"] {
        assert_eq!(told(&brim, path), NEW, "{path}");
    }
    fs::rename(folder.path().join("assets"), folder.path().join("moved")).expect("moved");
    brim.access_log("/static/assets ");
    assert_eq!(told(&brim, "/static/assets/a.css"), NEW);
    assert_eq!(told(&brim, "/assets/a.css"), HIT);
    // What is where it went is looked at, too.
    assert_eq!(told(&brim, "/static/moved/new/b.css"), NEW);
    fs::create_dir(folder.path().join("moved/new")).expect("made");
    fs::write(folder.path().join("moved/new/b.css"), "1").expect("written");
    brim.access_log("/static/moved/new/b.css: 1 object purged");
    assert_eq!(told(&brim, "/static/moved/new/b.css"), NEW);
}

#[test]
fn when_too_much_changes_everything_is_purged() {
    let folder = site();
    let (_origin, brim) = dev(text(folder.path()));
    assert_eq!(told(&brim, "/of-something-else"), NEW);
    // All at once, as a checkout of another branch does it.
    let elsewhere = tempfile::tempdir_in(folder.path().parent().expect("a folder")).expect("made");
    let full = elsewhere.path().join("full");
    fs::create_dir(&full).expect("made");
    for number in 0..600 {
        fs::write(full.join(format!("{number}.js")), "1").expect("written");
    }
    fs::rename(&full, folder.path().join("full")).expect("moved");
    brim.access_log("so everything: 1 object purged");
    assert_eq!(told(&brim, "/of-something-else"), NEW);
}

#[test]
fn what_nobody_serves_is_not_looked_at() {
    let folder = site();
    for ignored in ["node_modules/x", ".git/objects"] {
        fs::create_dir_all(folder.path().join(ignored)).expect("made");
    }
    let (_origin, brim) = dev(text(folder.path()));
    for ignored in ["node_modules/x/y.js", ".git/objects/z", "assets/.a.css.swp", "assets/a.css~"] {
        fs::write(folder.path().join(ignored), "1").expect("written");
    }
    fs::write(folder.path().join("assets/last.css"), "1").expect("written");
    brim.access_log("CHANGED      /assets/last.css: 0 objects purged");
}

#[test]
fn a_folder_that_a_build_removes_and_makes_again_is_still_looked_at() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("dist");
    fs::create_dir(&folder).expect("made");
    let (_origin, brim) = dev(text(&folder));
    // Each purge can be told from the others by how much it purges.
    let purged = |objects: usize| {
        (1..=objects).for_each(|number| drop(told(&brim, &format!("/{number}.js"))));
        move |brim: &Brim| brim.access_log(&format!("CHANGED      /: {objects} objects purged"))
    };
    let before = purged(2);
    fs::remove_dir(&folder).expect("removed");
    before(&brim);
    let before = purged(3);
    fs::create_dir(&folder).expect("made");
    before(&brim);
    let before = purged(4);
    fs::rename(&folder, parent.path().join("before")).expect("moved");
    before(&brim);
    let before = purged(5);
    fs::create_dir(&folder).expect("made");
    before(&brim);
    assert_eq!(told(&brim, "/1.js"), NEW);
    fs::write(folder.join("1.js"), "1").expect("written");
    brim.access_log("CHANGED      /1.js: 1 object purged");
    fs::write(parent.path().join("before/2.js"), "1").expect("written");
    fs::write(folder.join("3.js"), "1").expect("written");
    brim.access_log("CHANGED      /3.js: ");
}

#[test]
fn a_link_that_leads_round_in_a_circle_hides_no_file() {
    let folder = site();
    let (_origin, brim) = dev(text(folder.path()));
    std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).expect("made");
    brim.access_log("CHANGED      /again: 0 objects purged");
    assert_eq!(told(&brim, "/assets/a.css"), NEW);
    assert_eq!(told(&brim, "/page.html"), NEW);
    fs::write(folder.path().join("page.html"), "1").expect("written");
    brim.access_log("CHANGED      /page /page.html: 1 object purged");
    assert_eq!(told(&brim, "/page.html"), NEW);
}
