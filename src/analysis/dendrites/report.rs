//! What the experiment shows.

use super::theory::{false_negative, false_positive};
use super::verdicts::{JUDGED, median, populations, published};
use super::{AtThreshold, Code, Concept, Draw, Found, Rate, Recognition, Side};
use crate::analysis::measure::Figures;
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for concept in &self.concepts {
            let part = format!("{}.{}.{}", concept.model, concept.layer, word(concept.code));
            let at = concept.thresholds.iter().find(|t| t.theta == JUDGED);
            figures.extend(at.map(|at| (format!("ratio.{part}"), at.ratio())));
        }
        let missed = |r: &Recognition| {
            (format!("missed.theta{}.noise{}", r.change.theta, (100.0 * r.change.noise).round()), r.missed.value())
        };
        figures.extend(self.recognition.iter().map(missed));
        figures.extend(self.clamped.iter().map(|(theta, rate)| (format!("clamped.theta{theta}"), rate.value())));
        let union = |u: &super::Union| {
            let side = if u.side == Side::Input { "input" } else { "segment" };
            (format!("union.{side}.{}", u.patterns), u.rate.value())
        };
        figures.extend(self.unions.iter().map(union));
        figures
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let plan = &self.plan;
        let text = format!(
            "n cells, a of them active; a segment has s synapses on a pattern and spikes where a threshold of them is active. \
             Counted chances come from {} draws a row, from {} neuron(s) of {} segments (n {}, a {}, s {}), and from smaller \
             ones where codes are dense. Noise, thresholds and ablations are edits of a running neuron. Intervals are \
             Wilson's, 95 %, or over paragraphs; errors are standard errors of the prediction.",
            plan.trials,
            plan.networks,
            plan.config.segments,
            plan.config.cells,
            plan.config.active,
            plan.config.synapses
        );
        let mut blocks = vec![
            Block::text(text),
            Block::Table(published_table()),
            Block::Table(self.draw_table()),
            self.populations(),
            self.noise(),
            self.united(),
            window(),
            Block::heading("Changed while it runs"),
            self.clamped(),
            Block::Table(self.ablations()),
            Block::heading("Learning"),
            self.drift(),
            Block::Table(self.forgetting()),
        ];
        if !self.concepts.is_empty() {
            blocks.push(Block::heading("A transformer's layers as the population"));
            blocks.push(Block::text(
                "Active are the 5 % largest of mlp.hook_post at a token; false positives are spikes at tokens of other \
                 languages. Rates alone: every neuron's activity dealt out anew among a language's tokens.",
            ));
            let shown = |c: &&Concept| self.concepts.iter().filter(|o| o.model == c.model && o.code == c.code).count();
            let middle = |c: &&Concept| c.layer == shown(c) / 2 || shown(c) == 1;
            blocks.extend(self.concepts.iter().filter(|c| c.model == "organism").filter(middle).map(codes));
            blocks.push(Block::Table(self.concepts()));
        }
        blocks
    }
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Moment => "moment",
        Code::Language => "language",
    }
}

fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.into(), points, band: Vec::new(), reference: false }
}

/// Counted values with their intervals.
fn counted<'a>(name: impl Into<String>, rates: impl Iterator<Item = (f64, &'a Rate)> + Clone) -> Line {
    let points = rates.clone().map(|(x, rate)| (x, rate.value())).collect();
    Line { band: rates.map(|(_, rate)| rate.ends()).collect(), ..line(name, points) }
}

fn log(name: &str) -> Axis {
    Axis { log: true, ..Axis::new(name) }
}

fn chart(title: &str, caption: &str, x: &str, y: Axis, series: Vec<Line>) -> Block {
    let plot = Plot::Lines { x: Axis::new(x), y, series };
    Block::Chart(Chart { title: title.to_string(), caption: caption.to_string(), plot })
}

fn published_table() -> Table {
    let columns = ["value", "published", "here", "relative difference"].map(Column::new).to_vec();
    let row = |(what, theirs, ours): &(String, f64, f64)| {
        vec![Cell::text(what), Cell::Error(*theirs), Cell::Error(*ours), Cell::Error((ours / theirs - 1.0).abs())]
    };
    Table { columns, rows: published().iter().map(row).collect() }
}

/// A count beside its formula.
fn cells(rate: &Rate) -> Vec<Cell> {
    vec![
        Cell::Error(rate.predicted),
        Cell::Error(rate.value()),
        Cell::count(rate.hits),
        Cell::Number { value: rate.error(), digits: 2 },
    ]
}

/// Columns of these names, then those of [`cells`].
fn columns(names: &[&str]) -> Vec<Column> {
    let all = names.iter().chain(&["formula", "counted", "events", "standard errors"]);
    all.map(|name| Column::new(*name)).collect()
}

/// P_fn at s 30 and a 128 for every noise of the plan.
fn noise_curve(noise: &[f64], theta: usize, (a, s): (usize, usize)) -> Vec<(f64, f64)> {
    noise.iter().map(|q| (*q, false_negative(a, s, (q * a as f64).round() as usize, theta))).collect()
}

/// Where both kinds of error are small.
fn window() -> Block {
    let thetas = 1..=20usize;
    let mut series = vec![line(
        "P_fp, median over populations",
        thetas.clone().map(|theta| (theta as f64, median(theta))).collect(),
    )];
    for percent in [20, 30, 40, 50] {
        let lost = (0.01 * f64::from(percent) * 128.0).round() as usize;
        let points = thetas.clone().map(|theta| (theta as f64, false_negative(128, 30, lost, theta)));
        series.push(line(format!("P_fn, {percent} % lost"), points.filter(|p| p.1 > 1e-12).collect()));
    }
    chart(
        "Both errors against the threshold",
        "Median of P_fp over n 1000 to 17000, activity 0.5 to 3 %, s 20 to 50; P_fn for a 128, s 30.",
        "threshold",
        log("chance"),
        series,
    )
}

/// Measured and predicted false positives of a layer.
fn codes(concept: &Concept) -> Block {
    let points = |of: &dyn Fn(&AtThreshold) -> f64| {
        concept.thresholds.iter().map(|t| (t.theta as f64, of(t))).filter(|p| p.1 > 0.0).collect::<Vec<_>>()
    };
    let seen = concept.thresholds.iter().filter(|t| t.measured.value > 0.0);
    let measured = Line {
        band: seen.map(|t| t.measured.ends()).collect(),
        ..line("tokens of other languages", points(&|t| t.measured.value))
    };
    let series = vec![
        measured,
        line("tokens of the own language", points(&|t| t.own)),
        line("rates alone", points(&|t| t.rates)),
        line("random codes", points(&|t| t.random.value)),
        Line { reference: true, ..line("P_fp", points(&|t| t.predicted)) },
    ];
    let knows = match concept.code {
        Code::Moment => "what was active at one token",
        Code::Language => "neurons of a language",
    };
    chart(
        &format!("Spikes of segments on {knows}, layer {} of the {}", concept.layer, concept.model),
        &format!(
            "n {}, a {}, {} tokens of paragraphs that no pattern was taken from.",
            concept.cells, concept.active, concept.tokens
        ),
        "threshold",
        log("share that spikes"),
        series,
    )
}

impl Found {
    fn draw_table(&self) -> Table {
        let row = |(draw, rate): &(Draw, Rate)| {
            let words = match draw {
                Draw::FalsePositive { n, a, s, theta } => format!("P_fp n {n}, a {a}, s {s}, threshold {theta}"),
                Draw::FalseNegative { a, v, s, theta } => format!("P_fn a {a}, s {s}, threshold {theta}, {v} lost"),
            };
            [vec![Cell::text(words)], cells(rate)].concat()
        };
        Table { columns: columns(&["drawn"]), rows: self.draws.iter().map(row).collect() }
    }

    fn populations(&self) -> Block {
        let curve = |a: usize| {
            let points = populations().filter(|n| *n > a).map(|n| (n as f64, false_positive(n, a as f64, 24, 12)));
            line(format!("a {a}"), points.collect())
        };
        let mut series: Vec<Line> = [64, 128, 256].map(curve).to_vec();
        series.push(line(
            "a n/2",
            populations().map(|n| (n as f64, false_positive(n, (n / 2) as f64, 24, 12))).collect(),
        ));
        for active in [64, 128, 256] {
            let drawn = self.draws.iter().filter_map(|(draw, rate)| match draw {
                Draw::FalsePositive { n, a, s: 24, .. } if *a == active && rate.hits > 0 => Some((*n as f64, rate)),
                _ => None,
            });
            series.push(Line { reference: true, ..counted(format!("a {active}, drawn"), drawn) });
        }
        chart(
            "False positives against the size of the population",
            "s 24, threshold 12; dashed what was drawn. At fixed a the chance falls as a power of n.",
            "n, cells",
            log("P_fp"),
            series,
        )
    }

    fn noise(&self) -> Block {
        let plan = &self.plan;
        let mut series = Vec::new();
        for theta in &plan.thresholds {
            let own = self.recognition.iter().filter(|r| r.change.theta == *theta);
            series.push(counted(format!("threshold {theta}"), own.map(|r| (r.change.noise, &r.missed))));
            let curve = noise_curve(&plan.noise, *theta, (plan.config.active, plan.config.synapses));
            series.push(Line { reference: true, ..line(format!("P_fn, {theta}"), curve) });
        }
        chart(
            "False negatives against noise",
            "Every segment's own pattern, cells silenced by an edit of dendrite.hook_input, hook_threshold clamped; dashed the \
             formula.",
            "share of active cells that is lost",
            Axis::new("missed"),
            series,
        )
    }

    fn united(&self) -> Block {
        let of = |side: Side| self.unions.iter().filter(move |u| u.side == side);
        let seen = |side: Side| of(side).filter(|u| u.rate.hits > 0).map(|u| (u.patterns as f64, &u.rate));
        let exact = |side: Side| of(side).map(|u| (u.patterns as f64, u.rate.predicted)).collect();
        let at_mean = of(Side::Input).map(|u| (u.patterns as f64, u.at_mean)).collect();
        let reference = |name: &str, points| Line { reference: true, ..line(name, points) };
        chart(
            "False positives where patterns are united",
            "n 1000, a 30; in the input s 20, threshold 10, on a segment 10 synapses for each pattern, threshold 8. The exact \
             chance lets the number of active cells vary; P_fp at its mean, as published, does not.",
            "patterns",
            log("chance of a spike"),
            vec![
                counted("in the input", seen(Side::Input)),
                reference("exact, input", exact(Side::Input)),
                reference("P_fp at the mean, input", at_mean),
                counted("on a segment", seen(Side::Segment)),
                reference("P_fp, segment", exact(Side::Segment)),
            ],
        )
    }

    fn clamped(&self) -> Block {
        let seen = self.clamped.iter().filter(|c| c.1.hits > 0).map(|(theta, rate)| (*theta as f64, rate));
        let formula = self.clamped.iter().map(|(theta, rate)| (*theta as f64, rate.predicted)).collect();
        chart(
            "Mistakes against a clamped threshold",
            "Random inputs of a dense code (n 500, a 128, s 24); dashed the formula.",
            "threshold",
            log("share that spikes"),
            vec![counted("counted", seen), Line { reference: true, ..line("P_fp", formula) }],
        )
    }

    fn ablations(&self) -> Table {
        let row = |r: &Recognition| {
            let of = |what: &str, rate: &Rate| {
                let words = [Cell::count(r.change.ablated), Cell::text(what)].to_vec();
                [words, cells(rate)].concat()
            };
            [of("missed", &r.missed), of("mistaken", &r.wrong)]
        };
        Table {
            columns: columns(&["synapses ablated of 24", "error"]),
            rows: self.ablation.iter().flat_map(row).collect(),
        }
    }

    fn drift(&self) -> Block {
        let measured = Line {
            band: self.drift.iter().map(|d| d.permanence.ends()).collect(),
            ..line("mean permanence", self.drift.iter().map(|d| (d.noise, d.permanence.value)).collect())
        };
        let formula = self.drift.iter().map(|d| (d.noise, d.predicted)).collect();
        chart(
            &format!("Permanences after {} noisy repeats", self.plan.repeats),
            "They begin at 0.5 and change where a segment spikes: +0.02 at active synapses, -0.0125 at the others; dashed the \
             formula. Intervals are over segments.",
            "share of active cells that is lost",
            Axis::new("permanence"),
            vec![measured, Line { reference: true, ..line("formula", formula) }],
        )
    }

    fn forgetting(&self) -> Table {
        let f = &self.forgetting;
        let first = format!("false positives at threshold {} before", f.theta);
        let row = |words: String, rate: &Rate| [vec![Cell::text(words)], cells(rate)].concat();
        let connected = format!(
            "after {} repeats of one of two patterns ({:.3} and {:.3} connected)",
            f.repeats,
            f.known,
            f.other.value()
        );
        Table {
            columns: columns(&["two patterns on a segment"]),
            rows: vec![row(first, &f.before), row(connected, &f.after)],
        }
    }

    fn concepts(&self) -> Table {
        let columns = [
            "model",
            "layer",
            "segments know",
            "threshold",
            "P_fp",
            "measured",
            "ratio",
            "rates alone, ratio",
            "random codes, ratio",
            "own language",
        ];
        let mut rows = Vec::new();
        for concept in &self.concepts {
            for at in concept.thresholds.iter().filter(|t| [4, 6, JUDGED, 10].contains(&t.theta)) {
                let digits = if at.ratio() < 100.0 { 1 } else { 0 };
                let ratio = |value: f64| Cell::Number { value: value / at.predicted, digits };
                let (low, high) = at.measured.ends();
                rows.push(vec![
                    Cell::text(&concept.model),
                    Cell::count(concept.layer),
                    Cell::text(word(concept.code)),
                    Cell::count(at.theta),
                    Cell::Error(at.predicted),
                    Cell::Error(at.measured.value),
                    Cell::Interval { value: at.ratio(), ends: (low / at.predicted, high / at.predicted), digits },
                    ratio(at.rates),
                    Cell::Number { value: at.random.value / at.predicted, digits: 2 },
                    Cell::Error(at.own),
                ]);
            }
        }
        Table { columns: columns.map(Column::new).to_vec(), rows }
    }
}
