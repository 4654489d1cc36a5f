//! What ablations look like.

use super::causal::{Ablation, Causal, Effect, Forbidden, Kind, On, Reader};
use crate::analysis::{Estimate, Figures};
use crate::report::chart::{Axis, Bars, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

fn names(heads: &[(usize, usize)]) -> String {
    heads.iter().map(|(l, h)| format!("{l}.{h}")).collect::<Vec<_>>().join(", ")
}

impl Ablation {
    /// The largest rise of the second half among the controls.
    pub fn control_rise(&self) -> f64 {
        self.controls.iter().map(|c| c.effect.second_rise.value).fold(f64::NEG_INFINITY, f64::max)
    }

    /// What the controls raise the second half by, mean over sets, with the interval over sets.
    pub fn control_mean(&self) -> Option<Estimate> {
        let rises: Vec<f64> = self.controls.iter().map(|c| c.effect.second_rise.value).collect();
        (!rises.is_empty()).then(|| Estimate::mean(&rises, 0))
    }

    fn word(&self) -> &'static str {
        match self.kind {
            Kind::Zero => "set to zero",
            Kind::Mean => "set to their mean at the position over rows without repeats",
            Kind::Resample => "taken from a random row without repeats",
        }
    }
}

impl Figures for Ablation {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("ablated.second_rise".to_string(), self.target.effect.second_rise.value),
            ("ablated.first_rise".to_string(), self.target.effect.first_rise.value),
            ("clean.first".to_string(), self.clean.0.value),
            ("clean.second".to_string(), self.clean.1.value),
        ];
        if !self.controls.is_empty() {
            figures.push(("random.second_rise.max".to_string(), self.control_rise()));
        }
        if let Some(mean) = self.control_mean() {
            figures.push(("random.second_rise.mean".to_string(), mean.value));
        }
        figures
    }
}

impl Report for Ablation {
    fn blocks(&self) -> Vec<Block> {
        let row = |name: String, e: &Effect| {
            vec![Cell::text(name), e.first.cell(3), e.second.cell(3), e.first_rise.cell(3), e.second_rise.cell(3)]
        };
        let mut rows =
            vec![vec![Cell::text("none"), self.clean.0.cell(3), self.clean.1.cell(3), Cell::Empty, Cell::Empty]];
        rows.push(row(names(&self.target.heads), &self.target.effect));
        rows.extend(self.controls.iter().map(|c| row(format!("random: {}", names(&c.heads)), &c.effect)));
        if let Some(mean) = self.control_mean() {
            let name = Cell::text("random: mean and interval over the sets");
            rows.push(vec![name, Cell::Empty, Cell::Empty, Cell::Empty, mean.cell(3)]);
        }
        let columns = ["ablated", "first half", "second half", "first half rises by", "second half rises by"];
        let points = self.added_back.iter().enumerate().map(|(n, e)| (n as f64, e.value)).collect();
        let band = self.added_back.iter().map(Estimate::ends).collect();
        let clean = self.clean.1.value;
        let end = (self.added_back.len() - 1) as f64;
        vec![
            Block::text(format!(
                "Heads {}, z {}, on {} rows of {}; nats a token. The controls are {} different sets of as many other heads of \
                 the same layers (of any layer where these have too few), drawn at random. In brackets the 95 % interval \
                 over rows.",
                names(&self.target.heads),
                self.word(),
                self.rows,
                match self.on {
                    On::Random => format!("{} random tokens and the same again", self.n),
                    On::Text => format!("a text's first {} tokens and the same again", self.n),
                },
                self.controls.len()
            )),
            Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows }),
            Block::Chart(Chart {
                title: match self.on {
                    On::Random => "Heads added back one by one".to_string(),
                    On::Text => "Heads added back one by one, on text".to_string(),
                },
                caption: format!(
                    "In the order {}; all the others of the list stay ablated.",
                    names(&self.target.heads)
                ),
                plot: Plot::Lines {
                    x: Axis::new("heads added back"),
                    y: Axis::new("loss of the second half, nats"),
                    series: vec![
                        Line { name: "ablated but these".into(), points, band, reference: false },
                        Line {
                            name: "nothing ablated".into(),
                            points: vec![(0.0, clean), (end, clean)],
                            band: Vec::new(),
                            reference: true,
                        },
                    ],
                },
            }),
        ]
    }
}

impl Figures for Causal {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.ablation.as_ref().map_or_else(Vec::new, Figures::figures);
        if let Some(text) = &self.text {
            figures.extend(text.figures().into_iter().map(|(name, value)| (format!("text.{name}"), value)));
        }
        if let Some(f) = &self.forbidden {
            figures.push(("forbidden.before".to_string(), f.before.value));
            figures.push(("forbidden.after".to_string(), f.after.value));
            if !f.controls.is_empty() {
                let least = f.controls.iter().map(|c| c.value).fold(f64::INFINITY, f64::min);
                figures.push(("forbidden.random.min".to_string(), least));
            }
        }
        figures.push(("found".to_string(), f64::from(u8::from(self.ablation.is_some()))));
        figures
    }
}

impl Report for Causal {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = match &self.ablation {
            Some(ablation) => ablation.blocks(),
            None => vec![Block::text("No head matches prefixes and copies: there is nothing to ablate.")],
        };
        blocks.extend(self.text.as_ref().map_or_else(Vec::new, Report::blocks));
        let Some(f) = &self.forbidden else {
            blocks.push(Block::text("No previous-token head stands before an induction head."));
            return blocks;
        };
        let mut rows =
            vec![vec![Cell::text("none"), f.before.cell(3)], vec![Cell::text(names(&f.heads)), f.after.cell(3)]];
        rows.extend(f.controls.iter().map(|c| vec![Cell::text("as many others of these layers"), c.cell(3)]));
        blocks.push(Block::text(format!(
            "Attention to the token before forbidden in the previous-token heads (its scores become -1e9), and the \
             induction score of the strongest induction head, {}.{}, afterwards.",
            f.induction_head.0, f.induction_head.1
        )));
        let columns = vec![Column::new("forbidden in"), Column::new("induction score")];
        blocks.push(Block::Table(Table { columns, rows }));
        blocks.push(f.chart());
        blocks
    }
}

impl Forbidden {
    /// K composition: every later induction head with and without the pattern.
    fn chart(&self) -> Block {
        let bars = |name: &str, of: &dyn Fn(&Reader) -> Estimate| Bars {
            name: name.to_string(),
            values: self.later.iter().map(|r| of(r).value).collect(),
            intervals: self.later.iter().map(|r| of(r).ends()).collect(),
        };
        let mut series =
            vec![bars("nothing forbidden", &|r| r.before), bars("in the previous-token heads", &|r| r.after)];
        if self.later.iter().all(|r| r.control.is_some()) {
            series.push(bars("in as many other heads (mean)", &|r| r.control.unwrap_or(r.before)));
        }
        Block::Chart(Chart {
            title: "K composition: induction without the previous-token pattern".to_string(),
            caption: format!("Attention to the token before forbidden in {}.", names(&self.heads)),
            plot: Plot::Bars {
                y: Axis::new("induction score"),
                categories: self.later.iter().map(|r| format!("{}.{}", r.head.0, r.head.1)).collect(),
                series,
            },
        })
    }
}
