//! Pages: one file, no script, nothing loaded, every text escaped.

use optrode::report::chart::Scale;
use optrode::report::html::{Page, Section, figure, page, style};
use optrode::report::{Block, Cell, Column, Figure, Judged, Table, Verdict};
use sha2::{Digest, Sha256};

use super::sample;

fn of(blocks: Vec<Block>) -> String {
    let section = Section { name: "part".into(), anchor: "part".into(), blocks };
    page(&Page { title: "t".into(), subtitle: String::new(), facts: vec![], sections: vec![section] }).unwrap()
}

#[test]
fn a_page_loads_nothing_and_runs_nothing() {
    let html = page(&sample::page()).unwrap();
    let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
    let bare = html.replace(namespace, "");
    for word in [
        "http:",
        "https:",
        "//",
        "<script",
        "<link",
        "<img",
        "<iframe",
        "@import",
        "url(",
        "src=",
        "srcset",
        "style=",
        " onload",
        "javascript:",
    ] {
        assert!(!bare.contains(word), "{word}");
    }
    assert!(html.contains("default-src &#39;none&#39;") || html.contains("default-src 'none'"));
}

#[test]
fn the_policy_permits_exactly_the_style_sheet() {
    use base64::Engine;
    let html = page(&sample::page()).unwrap();
    let policy = html.split_once("Content-Security-Policy\" content=\"").unwrap().1.split_once('"').unwrap().0;
    let sheet = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert_eq!(sheet, style());
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(sheet));
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    let before = html.split_once("Content-Security-Policy").unwrap().0;
    assert!(!before.contains("<style"), "the policy stands before what it rules");
}

#[test]
fn the_same_page_gives_the_same_bytes_in_little_space() {
    let first = page(&sample::page()).unwrap();
    assert_eq!(first, page(&sample::page()).unwrap());
    let chart = |i: usize| match i % 5 {
        0 => sample::lines(),
        1 => sample::bars(),
        2 => sample::heat(Scale::Diverging),
        3 => sample::histogram(),
        _ => sample::attention(),
    };
    let html = of((0..20).map(|i| Block::Chart(chart(i))).collect());
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert_eq!(html.matches("role=\"img\"").count(), 20);
}

#[test]
fn hostile_text_stays_text() {
    let evil = "</style></title><script>alert(1)</script>\"'&\u{202e}\u{0}";
    let chart = sample::chart(evil, evil, sample::histogram().plot);
    let verdict = |verdict| Judged {
        name: evil.into(),
        verdict,
        reason: evil.into(),
        figures: vec![Figure::new(evil, Cell::text(evil))],
    };
    let table = Table { columns: vec![Column::new(evil)], rows: vec![vec![Cell::text(evil)]] };
    let blocks = vec![
        Block::heading(evil),
        Block::text(evil),
        Block::Table(table),
        Block::Chart(chart),
        Block::Verdicts { verdicts: vec![verdict(Verdict::Failed), verdict(Verdict::Passed)] },
    ];
    let section = Section { name: evil.into(), anchor: evil.into(), blocks };
    let facts = vec![Figure::new(evil, Cell::text(evil))];
    let html = page(&Page { title: evil.into(), subtitle: evil.into(), facts, sections: vec![section] }).unwrap();
    assert!(!html.contains("<script") && !html.contains(['\u{202e}', '\u{0}']));
    assert_eq!(html.matches("</style>").count(), 1);
    assert_eq!(html.matches("</title>").count(), 1 + 40, "the page's own, and one per bin");
    assert_eq!(html.matches("&lt;script&gt;").count(), html.matches("\\u{202e}\\u{0}").count());
}

#[test]
fn verdicts_are_counted_and_failures_come_first() {
    let html = page(&sample::page()).unwrap();
    let summary = html.split_once("verdicts-heading\">").unwrap().1.split_once("</section>").unwrap().0;
    for (n, word) in [(1, "failed"), (4, "passed"), (1, "skipped")] {
        assert!(summary.contains(&format!("<b>{n}</b> {word}")), "{summary}");
    }
    let failed = summary.find("russian.accuracy").unwrap();
    assert!(failed < summary.find("cached equals uncached").unwrap(), "{summary}");
    assert!(!summary.contains("batch equals single"), "what held is only counted");
    assert!(summary.contains("<a href=\"#languages\">"), "{summary}");
    let none = of(vec![Block::text("x")]);
    assert!(!none.contains("verdicts-heading\">"));
}

#[test]
fn headings_descend_and_anchors_are_unique() {
    let section =
        |anchor: &str| Section { name: anchor.into(), anchor: anchor.into(), blocks: vec![Block::heading("h")] };
    let sections = ["a b", "a-b", "A B!", "", "ü", "content"].map(section).to_vec();
    let html = page(&Page { title: "t".into(), subtitle: String::new(), facts: vec![], sections }).unwrap();
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|t| t.split_once('"').unwrap().0).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    for link in html.split("href=\"#").skip(1).map(|t| t.split_once('"').unwrap().0) {
        assert!(ids.contains(&link), "{link} leads nowhere: {ids:?}");
    }
    let html = page(&sample::page()).unwrap();
    let levels: Vec<u8> =
        html.match_indices("<h").map(|(i, _)| html.as_bytes()[i + 2]).filter(u8::is_ascii_digit).collect();
    assert_eq!(levels[0], b'1');
    assert!(levels.windows(2).all(|w| w[1] <= w[0] + 1 && w[1] > b'1'), "{levels:?}");
}

#[test]
fn tables_are_tables() {
    let html = page(&sample::page()).unwrap();
    let table = html.split_once("<table>").unwrap().1.split_once("</table>").unwrap().0;
    assert!(table.contains("<caption class=\"hidden\">Languages</caption>"));
    assert_eq!(table.matches("<th scope=\"col\"").count(), 6);
    assert_eq!(table.matches("<th scope=\"row\">").count(), 4);
    assert_eq!(table.matches("<td class=\"number\">").count(), 16);
    assert!(table.contains("title=\"less is better\"") && html.contains("↓ less is better, ↑ more is better"));
    assert!(table.contains("<td class=\"number\">3.0e−7</td>"), "{table}");
}

#[test]
fn a_figure_stands_alone_for_the_dashboard() {
    let drawn = figure(&sample::bars()).unwrap();
    assert!(drawn.starts_with("<figure>") && drawn.ends_with("</figure>"));
    assert!(drawn.contains("What the edit costs") && drawn.contains("<svg") && !drawn.contains("<style"));
    assert!(page(&sample::page()).unwrap().contains(&drawn), "the page shows the same");
}
