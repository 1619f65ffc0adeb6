use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn prefix(name: &str) -> Scope {
    Scope::Prefix(name.as_bytes().into())
}

fn tag(name: &str) -> Scope {
    Scope::Tag(name.as_bytes().into())
}

fn gone(purges: &Purges, scopes: &[Scope]) -> u64 {
    purges.make(scopes, None, |_| {})
}

#[test]
fn a_purge_is_about_what_was_asked_for_before_it_and_nothing_else() {
    let purges = Purges::default();
    let before = purges.draw();
    let number = gone(&purges, &[prefix("site\nhost\n/a")]);
    let after = purges.draw();
    assert!(before < number && number < after);
    let fate = |key: &[u8], asked| purges.fate(key, b"", asked);
    assert_eq!(fate(b"site\nhost\n/a", before), Fate::Gone(number));
    assert_eq!(fate(b"site\nhost\n/ab/c?d", before), Fate::Gone(number));
    assert_eq!(fate(b"site\nhost\n/ab/c?d", after), Fate::Stays);
    assert_eq!(fate(b"site\nhost\n/", before), Fate::Stays);
    assert_eq!(fate(b"site\nhost\n/b", before), Fate::Stays);
    assert_eq!(fate(b"site\nother\n/a", before), Fate::Stays);
}

#[test]
fn a_tag_is_that_of_one_owner_or_of_all() {
    let purges = Purges::default();
    let asked = purges.draw();
    gone(&purges, &[tag("one\nnews"), tag("\nimages")]);
    let fate = |key: &[u8], tags: &[u8]| purges.fate(key, tags, asked) != Fate::Stays;
    assert!(fate(b"one\nhost\n/", b"sport\nnews\n"));
    assert!(!fate(b"two\nhost\n/", b"sport\nnews\n"));
    assert!(fate(b"two\nhost\n/", b"images\n"));
    assert!(fate(b"one\nhost\n/", b"images\nnews\n"));
    for others in [&b""[..], b"new\n", b"newss\n", b"News\n", b"image\ns\n", b"one\n"] {
        assert!(!fate(b"one\nhost\n/", others), "{others:?}");
    }
}

#[test]
fn gone_outweighs_stale_and_each_counts_from_its_own_number() {
    let purges = Purges::default();
    let first = purges.draw();
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    let hard = gone(&purges, &[Scope::Key(b"k"[..].into())]);
    let second = purges.draw();
    let soft = purges.make(&[prefix("")], Some(since), |_| {});
    let third = purges.draw();
    assert_eq!(purges.fate(b"k", b"", first), Fate::Gone(hard));
    assert_eq!(purges.fate(b"k", b"", second), Fate::Stale(since, soft));
    assert_eq!(purges.fate(b"l", b"", first), Fate::Stale(since, soft));
    assert_eq!(purges.fate(b"k", b"", third), Fate::Stays);
}

#[test]
fn what_nothing_is_old_enough_for_is_retired_and_the_rest_is_not() {
    let purges = Purges::default();
    let asked = purges.draw();
    let first = gone(&purges, &[prefix("a"), tag("\nt"), Scope::Key(b"k"[..].into())]);
    let second = gone(&purges, &[prefix("b"), tag("\nt")]);
    purges.retire(first - 1, 0);
    assert_eq!(purges.len(), 4);
    purges.retire(first, 0);
    assert_eq!(purges.len(), 2);
    assert_eq!(purges.fate(b"a", b"", asked), Fate::Stays);
    assert_eq!(purges.fate(b"b", b"", asked), Fate::Gone(second));
    assert_eq!(purges.fate(b"c", b"t\n", asked), Fate::Gone(second));
    purges.retire(second, 0);
    assert!(purges.is_empty());
}

#[test]
fn too_many_rules_become_one_about_what_is_older_than_half_of_them() {
    let purges = Purges::default();
    let asked = purges.draw();
    let scopes: Vec<_> = (0..RULES_MAX / 2).map(|number| tag(&format!("\n{number}"))).collect();
    let first = gone(&purges, &scopes);
    let between = purges.draw();
    let scopes: Vec<_> = (0..=RULES_MAX / 2).map(|number| prefix(&number.to_string())).collect();
    let second = gone(&purges, &scopes);
    assert!(purges.len() <= RULES_MAX / 2 + 2, "{}", purges.len());
    assert!(matches!(purges.fate(b"x", b"", asked), Fate::Gone(number) if number >= first));
    assert_eq!(purges.fate(b"7", b"", between), Fate::Gone(second));
}

#[test]
fn what_was_made_stale_does_not_become_gone_where_there_are_too_many_rules() {
    let purges = Purges::default();
    let asked = purges.draw();
    let scopes: Vec<_> = (0..=RULES_MAX).map(|number| tag(&format!("\n{number}"))).collect();
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    let number = purges.make(&scopes, Some(since), |_| {});
    assert_eq!(purges.fate(b"x", b"", asked), Fate::Stale(since, number));
}

#[test]
fn what_is_gone_stays_gone_where_rules_of_the_same_number_become_one() {
    for names in [["x", "p"], ["p", "x"]] {
        // Room for two.
        let purges = Purges::of_disk(DISK_SHARE * 250);
        gone(&purges, &[tag("\no")]);
        let asked = purges.draw();
        let number = gone(&purges, &[prefix("x")]);
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        purges.make(&names.map(prefix), Some(since), |_| {});
        assert_eq!(purges.len(), 1, "they became one");
        assert_eq!(purges.fate(b"x", b"", asked), Fate::Gone(number));
    }
}

#[test]
fn what_was_loaded_is_in_force_and_has_to_be_compared_with() {
    let old = Purges::default();
    let asked = old.draw();
    let number = gone(&old, &[prefix("a"), tag("\nt")]);
    let purges = Purges::default();
    purges.raise(number);
    purges.load(&old.rules());
    assert!(purges.newest() > number);
    assert_eq!(purges.fate(b"ab", b"", asked), Fate::Gone(number));
    assert_eq!(purges.fate(b"b", b"t\n", asked), Fate::Gone(number));
}

proptest! {
    #[test]
    fn every_prefix_of_a_key_is_found_and_no_other(
        names in prop::collection::vec("[ab]{0,6}", 0..40),
        keys in prop::collection::vec("[abc]{0,8}", 1..20),
    ) {
        let purges = Purges::default();
        let asked = purges.draw();
        let mut rules = Vec::new();
        for name in &names {
            rules.push((name, gone(&purges, &[prefix(name)])));
        }
        for key in &keys {
            let about = rules.iter().filter(|(name, _)| key.starts_with(*name));
            let newest = about.map(|(_, number)| *number).max();
            let expected = newest.map_or(Fate::Stays, Fate::Gone);
            prop_assert_eq!(purges.fate(key.as_bytes(), b"", asked), expected);
        }
    }
}
