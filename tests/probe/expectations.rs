//! The language of expectations.

use optrode::probe::expect::{Expectation, Name, is_name};
use optrode::report::{Cell, Judged, Verdict};
use proptest::prelude::*;

/// The verdict where `a.x` is `x` here and `base_x` in the comparison, and `a.y` was not measured.
fn judge(text: &str, x: f64, base_x: f64) -> Judged {
    Expectation::parse(text).unwrap().judge(&|name| match name {
        Name::Here(n) if n == "a.x" => Ok(x),
        Name::Base(n) if n == "a.x" => Ok(base_x),
        _ => Err("it was not measured".to_string()),
    })
}

#[track_caller]
fn holds(text: &str, expected: bool) {
    let judged = judge(text, 0.75, 0.8);
    assert_eq!(judged.verdict == Verdict::Passed, expected, "{text}: {judged:?}");
}

#[test]
fn comparisons_sums_and_the_comparison() {
    for (text, held) in [
        ("a.x >= 0.75", true),
        ("a.x > 0.75", false),
        ("a.x <= 0.75", true),
        ("a.x < 0.75", false),
        ("a.x == 0.75", true),
        ("a.x != 0.75", false),
        ("a.x>=7.5e-1", true),
        ("a.x >= base", false),
        ("a.x >= base - 0.06", true),
        ("a.x >= base.a.x * 0.9", true),
        ("a.x == 1 - 0.5 / 2", true),
        ("a.x == (1 + 2) / (2 + 2)", true),
        ("a.x == 2 - 1 - 0.25", true),
        ("a.x == 3 / 2 / 2", true),
        ("a.x > -a.x", true),
        ("a.x == --a.x", true),
        ("a.x < 1 / 0", true),
    ] {
        holds(text, held);
    }
}

#[test]
fn a_verdict_says_value_bound_and_miss() {
    let judged = judge("a.x >= 0.5 + 0.5", 0.75, 0.0);
    assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Failed, "missed by 0.2500"));
    let figures: Vec<(String, String)> = judged.figures.iter().map(|f| (f.name.clone(), f.value.to_string())).collect();
    assert_eq!(figures, [("a.x".to_string(), "0.7500".to_string()), ("bound".to_string(), "1".to_string())]);
    assert_eq!(judged.figures[0].value, Cell::Number { value: 0.75, digits: 4 });
    assert_eq!(judge("a.x > 0.75", 0.75, 0.0).reason, "a.x equals the bound");
    let tiny = judge("a.x >= 0.75", 0.75 - 1e-9, 0.0);
    assert_eq!((tiny.verdict, tiny.reason.as_str()), (Verdict::Failed, "missed by 1.0e-9"));
}

#[test]
fn nan_fails_whatever_is_asked() {
    for comparison in [">=", "<=", ">", "<", "==", "!="] {
        let judged = judge(&format!("a.x {comparison} 1"), f64::NAN, 0.0);
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Failed, "a.x is not a number"));
        let judged = judge(&format!("a.x {comparison} base"), 0.0, f64::NAN);
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Failed, "the bound is not a number"));
    }
}

#[test]
fn what_was_not_measured_is_skipped_with_the_reason() {
    for text in ["a.y > 0", "a.x > a.y", "a.x > base.a.y"] {
        let judged = judge(text, 0.75, 0.8);
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Skipped, "it was not measured"), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_at_its_place() {
    for (text, at) in [
        ("", 0),
        ("0.5 <= a.x", 0),
        ("base > 1", 0),
        ("a.x", 3),
        ("a.x = 1", 4),
        ("a.x => 1", 4),
        ("a.x >=", 6),
        ("a.x >= 1 1", 9),
        ("a.x >= 1 and a.x < 2", 9),
        ("a.x >= (1 + 2", 13),
        ("a.x >= 1 + * 2", 11),
        ("a.x >= é", 7),
        ("a.x >= 1e", 8),
        ("a.x >= a.", 8),
    ] {
        let error = Expectation::parse(text).unwrap_err();
        let optrode::Error::Syntax { at: found, .. } = error else { panic!("{text}: {error}") };
        assert_eq!(found, at, "{text}: {error}");
    }
    let deep = format!("a.x > {}1{}", "(".repeat(400), ")".repeat(400));
    assert!(Expectation::parse(&deep).unwrap_err().to_string().contains("too deeply"));
    assert!(Expectation::parse(&format!("a.x > {}", "1 + ".repeat(400))).is_err());
}

#[test]
fn names() {
    for (text, good) in [("a", true), ("a_1.b.3", true), ("1a", false), ("a..b", false), ("a.", false), ("a-b", false)]
    {
        assert_eq!(is_name(text), good, "{text}");
    }
    let named = Expectation::parse("a.x > base + b.3.y * base.c").unwrap().names();
    let here = |n: &str| Name::Here(n.to_string());
    let base = |n: &str| Name::Base(n.to_string());
    assert_eq!(named, [here("a.x"), base("a.x"), here("b.3.y"), base("c")]);
}

/// An expression with its value.
fn expression() -> impl Strategy<Value = (String, f64)> {
    let leaf = prop_oneof![
        (0.0..1e6f64).prop_map(|n| (n.to_string(), n)),
        (1e-12..1e-3f64).prop_map(|n| (format!("{n:e}"), n)),
        Just(("a.x".to_string(), 0.75)),
        Just(("base".to_string(), 0.8)),
    ];
    leaf.prop_recursive(5, 20, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(a, b)| (format!("({} + {})", a.0, b.0), a.1 + b.1)),
            pair.clone().prop_map(|(a, b)| (format!("({}-{})", a.0, b.0), a.1 - b.1)),
            pair.clone().prop_map(|(a, b)| (format!("{}*{}", wrap(&a.0), wrap(&b.0)), a.1 * b.1)),
            pair.prop_map(|(a, b)| (format!("{} / {}", wrap(&a.0), wrap(&b.0)), a.1 / b.1)),
            inner.prop_map(|a| (format!("-{}", wrap(&a.0)), -a.1)),
        ]
    })
}

fn wrap(text: &str) -> String {
    format!("({text})")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expressions_have_the_value_of_their_arithmetic((text, value) in expression()) {
        let expectation = Expectation::parse(&format!("c.z == {text}")).unwrap();
        let judged = expectation.judge(&|name| Ok(match name {
            Name::Here(n) if n == "c.z" => value,
            Name::Here(_) => 0.75,
            Name::Base(_) => 0.8,
        }));
        prop_assert_eq!(judged.verdict == Verdict::Passed, !value.is_nan(), "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9.()+*/<>=! é-]{0,40}") {
        let _ = Expectation::parse(&text);
        let _ = Expectation::parse(&format!("a.x >= {text}"));
    }
}
