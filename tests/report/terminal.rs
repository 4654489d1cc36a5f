//! Charts on a terminal.

use optrode::report::Block;
use optrode::report::chart::{Axis, Bars, Plot, Scale};
use optrode::report::terminal::{Style, render};

use super::sample::{self, chart, names};

#[test]
fn bars_show_their_values_and_lengths() {
    let bars = Bars { name: String::new(), values: vec![1.0, 0.5, f64::NAN, -1.0], intervals: vec![] };
    let plot = Plot::Bars { y: Axis::new("y"), categories: names("c", 4), series: vec![bars] };
    let text = render(&[Block::Chart(chart("title", "", plot))], &Style::plain(30));
    let expected = "\
title
c0             1  ████████████
c1           0.5  ██████
c2  not measured
c3            −1  ▒▒▒▒▒▒▒▒▒▒▒▒
";
    assert_eq!(text, expected);
}

#[test]
fn curves_show_their_shape_and_ends() {
    let series = vec![sample::line("loss", (0..8).map(|i| (f64::from(i), f64::from(i))).collect(), 0.0)];
    let plot = Plot::Lines { x: Axis::new("step"), y: Axis::new("nats"), series };
    let text = render(&[Block::Chart(chart("t", "", plot))], &Style::plain(60));
    assert_eq!(text, "t\nloss  ▁▂▃▄▅▆▇█  0 to 7\nnats, against step from 0 to 7\n");
}

#[test]
fn cells_show_size_and_sign() {
    let side = |n| optrode::report::chart::Labels { name: "n".into(), items: names("", n) };
    let values = vec![vec![-2.0, 0.0, 2.0, f64::NAN]];
    let plot = Plot::Heat { rows: side(1), columns: side(4), values, unit: "u".into(), scale: Scale::Diverging };
    let text = render(&[Block::Chart(chart("t", "", plot))], &Style::plain(80));
    assert!(text.contains("\n0  ≡≡  ██??\n") && text.contains("'≡' −2 to '█' 2, '?' not measured"), "{text}");
}

#[test]
fn every_chart_shows_something_within_the_window() {
    let charts = [
        sample::lines(),
        sample::bars(),
        sample::heat(Scale::Sequential),
        sample::heat(Scale::Diverging),
        sample::attention(),
        sample::histogram(),
        sample::tokens(),
    ];
    for chart in charts {
        for width in [40, 80, 120] {
            let text = render(&[Block::Chart(chart.clone())], &Style::plain(width));
            let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
            assert!(text.lines().count() > 2 && text.lines().count() < 60, "{text}");
        }
    }
}

#[test]
fn text_from_a_model_cannot_drive_the_terminal() {
    let mut evil = sample::tokens();
    if let Plot::Tokens { rows, .. } = &mut evil.plot {
        rows[0].tokens[0] = "\u{1b}[2J".into();
    }
    let text = render(&[Block::Chart(evil)], &Style::plain(80));
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J"), "{text}");
}

#[test]
fn nothing_to_draw_is_said() {
    let plot = Plot::Lines { x: Axis::new("x"), y: Axis::new("y"), series: vec![] };
    assert_eq!(render(&[Block::Chart(chart("t", "", plot))], &Style::plain(80)), "t\nnothing was measured\n");
}
