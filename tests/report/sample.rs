//! A report with every kind of block and chart, about a network of eight layers that does not exist.

use optrode::report::chart::{Axis, Bars, Chart, Labels, Line, Plot, Scale, TokenRow};
use optrode::report::html::{Page, Section};
use optrode::report::{Better, Block, Cell, Column, Figure, Judged, Table, Verdict};

pub fn chart(title: &str, caption: &str, plot: Plot) -> Chart {
    Chart { title: title.into(), caption: caption.into(), plot }
}

pub fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

/// A number in 0..1 that looks random and is the same every time.
pub fn noise(i: usize) -> f64 {
    let mut x = (i as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 11) as f64 / (1u64 << 53) as f64
}

pub fn line(name: &str, points: Vec<(f64, f64)>, half: f64) -> Line {
    let band = if half > 0.0 { points.iter().map(|p| (p.1 - half, p.1 + half)).collect() } else { Vec::new() };
    Line { name: name.into(), points, band, reference: false }
}

pub fn lines() -> Chart {
    let curve = |f: &dyn Fn(f64) -> f64| (0..9).map(|i| (i as f64, f(i as f64))).collect::<Vec<_>>();
    let mut target = line("last token of the answer", curve(&|x| 1.0 / (1.0 + (4.5 - 1.2 * x).exp())), 0.05);
    target.points[2].1 = f64::NAN;
    let other = line("another token", curve(&|x| 0.35 / (1.0 + (x - 4.0).powi(2))), 0.03);
    let mut chance = line("chance", vec![(0.0, 0.05), (8.0, 0.05)], 0.0);
    chance.reference = true;
    let plot = Plot::Lines {
        x: Axis::new("layer"),
        y: Axis::new("probability of the answer").range(0.0, 1.0),
        series: vec![target, other, chance],
    };
    chart(
        "The answer is decided between layers 3 and 5",
        "Logit lens on 200 held-out additions; bands are 95 % intervals over items. Layer 2 was not measured.",
        plot,
    )
}

pub fn bars() -> Chart {
    let categories = ["addition", "subtraction", "reversal", "maximum of a list", "copying", "facts", "functions"];
    let values = |shift: f64| -> Vec<f64> { (0..7).map(|i| (0.95 - 0.4 * noise(i) - shift).max(0.0)).collect() };
    let mut edited = values(0.25);
    edited[4] = f64::NAN;
    let bars = |name: &str, values: Vec<f64>| Bars {
        name: name.into(),
        intervals: values.iter().map(|v| (v - 0.04, (v + 0.04).min(1.0))).collect(),
        values,
    };
    let plot = Plot::Bars {
        y: Axis::new("exact match").range(0.0, 1.0),
        categories: categories.map(String::from).to_vec(),
        series: vec![
            bars("as trained", values(0.0)),
            bars("edited", edited),
            bars("random neurons zeroed", values(0.06)),
        ],
    };
    chart("What the edit costs", "500 items a task; 95 % intervals. Copying was not run on the edited model.", plot)
}

pub fn heat(scale: Scale) -> Chart {
    let (rows, columns) = (8, 12);
    let value = |l: usize, h: usize| {
        let v = noise(l * columns + h).powi(4)
            - if scale == Scale::Diverging { noise(900 + l * columns + h).powi(3) } else { 0.0 };
        if (l, h) == (6, 3) { f64::NAN } else { v }
    };
    let plot = Plot::Heat {
        rows: Labels { name: "layer".into(), items: names("", rows) },
        columns: Labels { name: "head".into(), items: names("", columns) },
        values: (0..rows).map(|l| (0..columns).map(|h| value(l, h)).collect()).collect(),
        unit: if scale == Scale::Diverging { "change of the loss, nats" } else { "prefix-matching score" }.into(),
        scale,
    };
    let title = if scale == Scale::Diverging {
        "Which heads help, which hurt"
    } else {
        "Induction heads live in layers 4 to 6"
    };
    chart(title, "Random repeated sequences, 64 of them. Head 3 of layer 6 was skipped.", plot)
}

pub fn attention() -> Chart {
    let words = "The cat sat on the mat and then the cat sat down again to sleep".split(' ');
    let tokens: Vec<String> = words.map(String::from).collect();
    let n = tokens.len();
    let value = |i: usize, j: usize| {
        if j > i {
            f64::NAN
        } else if i - j == 1 {
            0.8
        } else {
            0.2 * noise(i * n + j)
        }
    };
    let plot = Plot::Heat {
        rows: Labels { name: "from".into(), items: tokens.clone() },
        columns: Labels { name: "to".into(), items: tokens },
        values: (0..n).map(|i| (0..n).map(|j| value(i, j)).collect()).collect(),
        unit: "attention".into(),
        scale: Scale::Sequential,
    };
    chart("A previous-token head", "Layer 1, head 5.", plot)
}

pub fn histogram() -> Chart {
    let edges: Vec<f64> = (0..=40).map(|i| 1e-4 * 10f64.powf(i as f64 / 10.0)).collect();
    let counts: Vec<u64> = (0..40).map(|i| (2000.0 * (-((i as f64 - 22.0) / 7.0).powi(2)).exp()) as u64).collect();
    let plot = Plot::Histogram { x: Axis { name: "firing rate".into(), log: true, range: None }, edges, counts };
    chart("Most neurons fire on one token in a hundred", "All 4096 neurons of the network; 1.2 M tokens.", plot)
}

pub fn tokens() -> Chart {
    let row = |name: &str, text: &str, at: usize| {
        let tokens: Vec<String> = text.split_inclusive(' ').map(String::from).collect();
        let values = (0..tokens.len()).map(|i| 8.0 * (-(i as f64 - at as f64).abs()).exp() + noise(i) * 0.6).collect();
        TokenRow { name: name.into(), tokens, values, focus: Some(at) }
    };
    let rows = vec![
        row(
            "1 · persuasion",
            "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
            9,
        ),
        row(
            "2 · Moby Dick",
            "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse",
            15,
        ),
        row("3 · 紅楼夢", "此開卷第一回也。 作者自云: 因曾歷過一番夢幻之後， 故將真事隱去", 1),
    ];
    chart(
        "Top examples of neuron 1407 of layer 5",
        "The strongest token of each text is framed.",
        Plot::Tokens { unit: "activation".into(), rows },
    )
}

fn table() -> Table {
    let number = |value, digits| Cell::Number { value, digits };
    let row = |set: &str, docs: i64, loss: f64, match_: f64, verdict| {
        vec![
            Cell::text(set),
            Cell::Integer(docs),
            number(loss, 3),
            number(match_, 3),
            Cell::Error(loss * 1e-7),
            Cell::Verdict(verdict),
        ]
    };
    Table {
        columns: vec![
            Column::new("text set"),
            Column::new("documents"),
            Column::new("loss, nats a token").better(Better::Less),
            Column::new("next token right").better(Better::More),
            Column::new("error of replay").better(Better::Less),
            Column::new("verdict"),
        ],
        rows: vec![
            row("English", 412, 2.113, 0.482, Verdict::Passed),
            row("German", 230, 2.591, 0.431, Verdict::Passed),
            row("Russian", 198, 2.972, 0.402, Verdict::Failed),
            row("Chinese", 77, 3.415, 0.351, Verdict::Skipped),
        ],
    }
}

fn judged(name: &str, verdict: Verdict, reason: &str, figures: Vec<Figure>) -> Judged {
    Judged { name: name.into(), verdict, reason: reason.into(), figures }
}

/// The page that the browser opens.
pub fn page() -> Page {
    let fact = |name: &str, value: &str| Figure::new(name, Cell::text(value));
    let passed =
        |name: &str| judged(name, Verdict::Passed, "", vec![Figure::new("largest error", Cell::Error(3.1e-7))]);
    let miss = Figure::new("missed by", Cell::Number { value: 0.026, digits: 3 });
    let sections = vec![
        (
            "Doctor",
            vec![
                Block::text("Every activation is what the equations say: the checks below recompute it another way."),
                Block::Verdicts {
                    verdicts: vec![
                        passed("batch equals single"),
                        passed("left padding changes nothing"),
                        passed("pattern × v = z"),
                        judged("cached equals uncached", Verdict::Skipped, "the context holds one token", vec![]),
                    ],
                },
            ],
        ),
        (
            "Languages",
            vec![
                Block::text("Loss and accuracy on the last 8 % of each book, which the model has not seen."),
                Block::Table(table()),
                Block::Verdicts {
                    verdicts: vec![
                        judged(
                            "russian.accuracy >= ngram",
                            Verdict::Failed,
                            "the 4-gram baseline reaches 0.428 on the same text",
                            vec![Figure::new("accuracy", Cell::Number { value: 0.402, digits: 3 }), miss],
                        ),
                        passed("english.accuracy >= ngram"),
                    ],
                },
            ],
        ),
        ("Lens and skills", vec![Block::Chart(lines()), Block::Chart(bars())]),
        (
            "Attention heads",
            vec![
                Block::heading("Scores of all heads"),
                Block::Chart(heat(Scale::Sequential)),
                Block::Chart(heat(Scale::Diverging)),
                Block::heading("One head"),
                Block::Chart(attention()),
            ],
        ),
        ("Neurons", vec![Block::Chart(histogram()), Block::Chart(tokens())]),
    ];
    Page {
        title: "Audit of organism-3M".into(),
        subtitle: "Eight layers, six languages, five exact skills; every figure has its control beside it.".into(),
        facts: vec![
            fact("Model", "fixtures/organism"),
            fact("Parameters", "3 412 992"),
            fact("sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
            fact("Script", "probes/audit.toml"),
            Figure::new("Seed", Cell::Integer(0)),
        ],
        sections: sections
            .into_iter()
            .map(|(name, blocks)| Section { name: name.into(), anchor: name.into(), blocks })
            .collect(),
    }
}
