//! Properties of the grammar over random input.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use optrode::hook::{IndexList, Selector, SiteTable};
use proptest::prelude::*;

use super::{add, table};

fn item() -> impl Strategy<Value = String> {
    let n = -50i64..50;
    prop_oneof![
        n.clone().prop_map(|n| n.to_string()),
        (n.clone(), 1i64..40).prop_map(|(a, len)| format!("{a}..{}", a + len)),
        (n.clone(), 0i64..40).prop_map(|(a, len)| format!("{a}..={}", a + len)),
        n.prop_map(|n| format!("{n}..")),
        Just("..7".to_string()),
    ]
}

fn list() -> impl Strategy<Value = String> {
    prop::collection::vec(item(), 1..4).prop_map(|items| items.join(","))
}

fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z_.]{1,6}",
        Just("*".to_string()),
        Just("**".to_string()),
        Just("{q,k_2}".to_string()),
        list().prop_map(|l| format!(".{{{l}}}.")),
    ];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    let maybe = |s: BoxedStrategy<String>| prop_oneof![Just(String::new()), s];
    (
        name(),
        maybe(list().prop_map(|l| format!("[neuron={l}]")).boxed()),
        maybe(list().prop_map(|l| format!("[head={l}]")).boxed()),
        maybe(
            prop_oneof![Just("@last".to_string()), Just("@all".to_string()), list().prop_map(|l| format!("@{l}"))]
                .boxed(),
        ),
        maybe(prop_oneof![Just("@prompt".to_string()), Just("@generated".to_string())].boxed()),
        maybe(Just("@raw".to_string()).boxed()),
        maybe((list(), 1u32..9).prop_map(|(l, n)| format!("@every={n}@t={l}")).boxed()),
        maybe(list().prop_map(|l| format!("@rows={l}")).boxed()),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].concat())
}

/// Whether `pattern` (only literals, `*` and `**`) fits the whole of `name`, by trying everything.
fn naive(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=name.len()).any(|n| naive(rest, &name[n..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let most = name.find('.').unwrap_or(name.len());
        return (0..=most).any(|n| naive(rest, &name[n..]));
    }
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some(p), Some(n)) => p == n && naive(&pattern[1..], &name[1..]),
        _ => false,
    }
}

proptest! {
    #[test]
    fn canonical_text_reads_back_as_the_same_selector(text in text()) {
        if let Ok(selector) = text.parse::<Selector>() {
            let canonical = selector.to_string();
            let again: Selector = canonical.parse().map_err(|e| TestCaseError::fail(format!("{canonical}: {e}")))?;
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.to_string(), canonical);
        } else {
            // The strategy makes one kind of empty range: `-3..0`.
            prop_assert!(text.contains("..0"), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_or_the_resolver_panic(text in prop_oneof![".*", r"[a-z0-9.*{},=@\[\]é-]{0,40}", text()]) {
        if let Ok(selector) = text.parse::<Selector>() {
            let _ = selector.resolve(&table());
            prop_assert_eq!(selector.to_string().parse::<Selector>().ok(), Some(selector));
        }
        let _ = text.parse::<IndexList>();
    }

    #[test]
    fn the_matcher_agrees_with_trying_everything(
        pattern in r"[ab.*]{1,8}",
        names in prop::collection::btree_set(r"[ab.]{1,8}", 1..12),
    ) {
        let mut table = SiteTable::default();
        for name in &names {
            add(&mut table, name, &[]);
        }
        let expected: BTreeSet<String> = names.into_iter().filter(|n| naive(&pattern, n)).collect();
        let selector: Selector = pattern.parse().unwrap();
        let found = selector.resolve(&table).map(|s| s.sites.into_iter().map(|s| s.name).collect()).unwrap_or_default();
        prop_assert_eq!(expected, found);
    }

    #[test]
    fn resolving_a_list_agrees_with_asking_for_each_index(text in list(), len in 0usize..60) {
        if let Ok(indices) = text.parse::<IndexList>().and_then(|list| list.resolve(len)) {
            let list: IndexList = text.parse().unwrap();
            let asked: Vec<usize> = (0..len + 5).filter(|i| list.contains(*i, len)).collect();
            prop_assert_eq!(indices, asked);
        }
    }
}

#[test]
fn a_pattern_made_of_stars_takes_linear_time() {
    let mut table = SiteTable::default();
    add(&mut table, &"a".repeat(200), &[]);
    let started = Instant::now();
    let pattern = format!("{}b", "a*a**".repeat(800));
    assert!(pattern.parse::<Selector>().unwrap().resolve(&table).is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}
