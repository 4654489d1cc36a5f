//! Blocks as text, as JSON, as SVG and as pages.

mod html;
pub mod sample;
mod svg;
mod terminal;

use optrode::report::chart::{Chart, Plot, Scale};
use optrode::report::terminal::{Style, render};
use optrode::report::{Better, Block, Cell, Column, Figure, Judged, Table, Verdict, json};

fn table() -> Block {
    let number = |value| Cell::Number { value, digits: 2 };
    Block::Table(Table {
        columns: vec![
            Column::new("site"),
            Column::new("count").better(Better::More),
            Column::new("mean"),
            Column::new("error").better(Better::Less),
            Column::new("verdict"),
        ],
        rows: vec![
            vec![
                Cell::text("logits"),
                Cell::count(12usize),
                number(-1.5),
                Cell::Error(3.14e-7),
                Cell::Verdict(Verdict::Passed),
            ],
            vec![
                Cell::text("blocks.0.hook_resid_post"),
                Cell::count(7u64),
                number(10.0),
                Cell::Error(0.0),
                Cell::Verdict(Verdict::Failed),
            ],
            vec![
                Cell::text("語 words"),
                Cell::Empty,
                Cell::Empty,
                Cell::Error(f64::INFINITY),
                Cell::Verdict(Verdict::Skipped),
            ],
        ],
    })
}

#[test]
fn numbers_stand_right_words_left_and_the_better_way_is_said() {
    let text = render(&[table()], &Style::plain(80));
    let expected = "\
site                      count ↑   mean  error ↓  verdict
----------------------------------------------------------
logits                         12  -1.50   3.1e-7  passed
blocks.0.hook_resid_post        7  10.00        0  FAILED
語 words                        -      -      inf  skipped
↓ less is better, ↑ more is better
";
    assert_eq!(text, expected);
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn no_line_is_longer_than_the_window() {
    let long = "one two three four five six seven eight nine ten eleven twelve thirteen ".repeat(3);
    let blocks = [
        Block::heading(&long),
        Block::text(format!("{long}{}", "x".repeat(130))),
        Block::Verdicts {
            verdicts: vec![Judged {
                name: "a check".into(),
                verdict: Verdict::Failed,
                reason: long.clone(),
                figures: vec![Figure::new("error", Cell::Error(1e-3))],
            }],
        },
        Block::Table(Table {
            columns: vec![Column::new("words"), Column::new("more words"), Column::new("n")],
            rows: vec![vec![Cell::text(&long), Cell::text("y".repeat(50)), Cell::Integer(-3)]],
        }),
    ];
    for width in [40, 60, 100] {
        let text = render(&blocks, &Style::plain(width));
        assert!(widest(&text) <= width, "{width}\n{text}");
        for word in ["thirteen", "FAILED", "1.0e-3", "-3"] {
            assert!(text.contains(word), "{word} is lost at {width}\n{text}");
        }
        assert_eq!(text.matches('x').count(), blocks_x() + 130, "{text}");
    }
}

/// Letters x in the three long texts: "six", three times in each of heading, text, reason and table.
fn blocks_x() -> usize {
    12
}

#[test]
fn colour_is_used_only_where_it_is_wanted() {
    let plain = render(&[table()], &Style::plain(80));
    assert!(!plain.contains('\u{1b}'));
    let coloured = render(&[table()], &Style { width: 80, colour: true });
    assert!(coloured.contains("\u{1b}[1;31mFAILED\u{1b}[0m"));
    let bare = coloured.replace("\u{1b}[0m", "");
    let bare = ["1", "2", "32", "33", "1;31"].iter().fold(bare, |t, code| t.replace(&format!("\u{1b}[{code}m"), ""));
    assert_eq!(bare, plain);
}

#[test]
fn text_from_a_file_cannot_drive_the_terminal() {
    let evil = "a\u{1b}[2Jb\u{7}\u{202e}c";
    let blocks = [Block::text(evil), Block::heading(evil)];
    let text = render(&blocks, &Style::plain(80));
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    assert!(text.contains("a\\u{1b}[2Jb\\u{7}\\u{202e}c"), "{text}");
}

#[test]
fn an_empty_table_shows_its_columns() {
    let table = Table { columns: vec![Column::new("site"), Column::new("n")], rows: Vec::new() };
    assert_eq!(render(&[Block::Table(table)], &Style::plain(80)), "site  n\n-------\n");
    assert_eq!(render(&[Block::Table(Table::default())], &Style::plain(80)).trim(), "");
}

#[test]
fn json_keeps_infinities_and_reads_back() {
    let blocks = vec![
        Block::heading("title"),
        table(),
        Block::Verdicts {
            verdicts: vec![Judged {
                name: "n".into(),
                verdict: Verdict::Skipped,
                reason: "why".into(),
                figures: vec![Figure::new("e", Cell::Error(f64::NEG_INFINITY))],
            }],
        },
    ];
    let written = json::render(&blocks).unwrap();
    assert_eq!(written["blocks"][0], serde_json::json!({"block": "heading", "text": "title"}));
    assert_eq!(written["blocks"][1]["rows"][2][3], serde_json::json!({"error": "inf"}));
    assert_eq!(written["blocks"][1]["columns"][3]["better"], "less");
    let back: Vec<Block> = serde_json::from_value(written["blocks"].clone()).unwrap();
    assert_eq!(back, blocks);
}

#[test]
fn charts_keep_missing_values_and_read_back() {
    let charts =
        [sample::lines(), sample::bars(), sample::heat(Scale::Diverging), sample::histogram(), sample::tokens()];
    let blocks: Vec<Block> = charts.into_iter().map(Block::Chart).collect();
    let written = json::render(&blocks).unwrap();
    assert_eq!(written["blocks"][2]["plot"]["values"][6][3], "NaN");
    let text = serde_json::to_string(&written["blocks"]).unwrap();
    assert!(!text.contains("[null") && !text.contains(",null,"), "{text}");
    let back: Vec<Block> = serde_json::from_str(&text).unwrap();
    // NaN differs from itself; the same JSON does not.
    assert_eq!(json::render(&back).unwrap(), written);
    let Block::Chart(Chart { plot: Plot::Heat { values, .. }, .. }) = &back[2] else { panic!("{back:?}") };
    assert!(values[6][3].is_nan() && values[6][2].is_finite());
}
