//! What language neurons look like.

use super::{Effect, Identified, Language, Languages, Method, Null};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Labels, Line, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

impl Figures for Languages {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("specific".to_string(), self.score.specific() as f64),
            ("related".to_string(), self.score.related() as f64),
            ("threshold".to_string(), self.threshold),
            ("lambda".to_string(), self.score.lambda),
            ("lape.specific".to_string(), self.lape.specific() as f64),
            ("lape.related".to_string(), self.lape.related() as f64),
        ];
        if let Some(null) = &self.null {
            figures.push(("null.specific.z".to_string(), null.specific.z));
            figures.push(("null.selectivity.z".to_string(), null.selectivity.z));
            figures.push(("null.selectivity.p".to_string(), null.selectivity.p));
            figures.push(("null.certain".to_string(), null.certain as f64));
        }
        let named = self.names.iter().zip(&self.score.per_language);
        figures.extend(named.map(|(name, n)| (format!("{}.neurons", figure_name(name)), *n as f64)));
        figures
    }
}

/// A language's name as a part of a figure's.
pub(super) fn figure_name(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

impl Report for Languages {
    fn blocks(&self) -> Vec<Block> {
        let layers = self.score.layers.len();
        let (specific, related) = (self.score.specific(), self.score.related());
        let total = layers * self.neurons;
        let mut blocks = vec![
            Block::heading("Language neurons"),
            Block::text(format!(
                "Of {total} neurons in {layers} layers, {} with the least score (share {}) were selected: {specific} are \
                 specific to a language, {related} related to several, {} to none, {} to all {}. A neuron belongs to a \
                 language where it fires at more than {:.4} of its tokens. lambda is {} ({} tried). What is tested or \
                 written are the neurons by {}.",
                self.score.selected,
                self.score.share,
                self.score.appear[0],
                self.score.appear[self.names.len()],
                self.names.len(),
                self.threshold,
                self.score.lambda,
                self.score.path.len(),
                match self.by {
                    Method::Score => "the score",
                    Method::Lape => "LAPE",
                },
            )),
            self.per_language(),
            self.appear(),
            self.swept(),
        ];
        if let Some(null) = &self.null {
            blocks.extend(null.blocks());
        }
        blocks.extend(self.profile());
        blocks.push(self.overlap());
        blocks
    }
}

impl Languages {
    fn per_language(&self) -> Block {
        let specific = |found: &Identified, k: usize| -> usize {
            let alone = |layer: usize, neuron: &&u32| {
                found.masks.iter().filter(|mask| mask[layer].binary_search(neuron).is_ok()).count() == 1
            };
            let of_layer = |(l, neurons): (usize, &Vec<u32>)| neurons.iter().filter(|n| alone(l, n)).count();
            found.masks[k].iter().enumerate().map(of_layer).sum()
        };
        let row = |(k, name): (usize, &String)| {
            vec![
                Cell::text(name),
                Cell::count(self.tokens[k]),
                Cell::count(self.score.per_language[k]),
                Cell::count(specific(&self.score, k)),
                Cell::count(self.lape.per_language[k]),
                Cell::count(specific(&self.lape, k)),
            ]
        };
        let names = ["language", "tokens counted", "neurons", "of them its own", "by LAPE", "of them its own"];
        table(&names, self.names.iter().enumerate().map(row).collect())
    }

    fn appear(&self) -> Block {
        let row = |m: usize| vec![Cell::count(m), Cell::count(self.score.appear[m]), Cell::count(self.lape.appear[m])];
        table(&["languages of a neuron", "selected by the score", "by LAPE"], (0..=self.names.len()).map(row).collect())
    }

    fn swept(&self) -> Block {
        let row = |swept: &super::Swept| {
            let counts = swept.score.iter().chain(&swept.lape).map(|n| Cell::count(*n));
            let head =
                [Cell::Number { value: swept.share, digits: 3 }, Cell::Number { value: swept.lambda, digits: 6 }];
            head.into_iter().chain(counts).collect()
        };
        let names = ["share selected", "lambda", "specific", "related", "LAPE: specific", "LAPE: related"];
        table(&names, self.sweep.iter().map(row).collect())
    }

    fn profile(&self) -> Vec<Block> {
        let layers = &self.score.layers;
        let curve = |name: &str, of: fn(&super::LayerKinds) -> usize, reference: bool| Line {
            name: name.to_string(),
            points: layers.iter().enumerate().map(|(l, kinds)| (l as f64, of(kinds) as f64)).collect(),
            band: Vec::new(),
            reference,
        };
        let chart = Chart {
            title: "Where language neurons lie".to_string(),
            caption: format!(
                "Neurons by layer. Shared: above the threshold in all {} languages, selected or not. {}",
                self.names.len(),
                self.parts()
            ),
            plot: Plot::Lines {
                x: Axis::new("layer"),
                y: Axis::new("neurons"),
                series: vec![
                    curve("specific to a language", |k| k.specific, false),
                    curve("related to several", |k| k.related, false),
                    curve("shared by all", |k| k.everywhere, true),
                ],
            },
        };
        let row = |(l, k): (usize, &super::LayerKinds)| {
            [l, k.specific, k.related, k.everywhere, k.outside].map(Cell::count).to_vec()
        };
        let names = ["layer", "specific", "related", "shared by all", "neither specific nor related"];
        vec![
            Block::Chart(chart),
            table(&names, layers.iter().enumerate().map(row).collect()),
            Block::text(self.parts()),
        ]
    }

    fn parts(&self) -> String {
        match self.score.parts {
            None => {
                "The layers do not fall into four parts: language neurons never leave, or never come back.".to_string()
            }
            Some(parts) => {
                let end = match parts.vocabulary {
                    Some(layer) => format!("and vocabulary output from layer {layer}"),
                    None => "and no layer where they fade again".to_string(),
                };
                format!(
                    "The four parts: understanding up to layer {}, shared reasoning from layer {}, multilingual output \
                     from layer {}, {end}.",
                    parts.reasoning.saturating_sub(1),
                    parts.reasoning,
                    parts.output
                )
            }
        }
    }

    fn overlap(&self) -> Block {
        let labels = || Labels { name: "language".to_string(), items: self.names.clone() };
        Block::Chart(Chart {
            title: "Neurons that languages share".to_string(),
            caption: "Jaccard overlap of the languages' neurons: those of both over those of either.".to_string(),
            plot: Plot::Heat {
                rows: labels(),
                columns: labels(),
                values: self.score.overlap.clone(),
                unit: "overlap".to_string(),
                scale: Scale::Sequential,
            },
        })
    }
}

impl Report for Null {
    fn blocks(&self) -> Vec<Block> {
        let row = |(name, effect, digits): (&str, &Effect, u8)| {
            let number = |value: f64, digits: u8| Cell::Number { value, digits };
            vec![
                Cell::text(name),
                number(effect.found, digits),
                number(effect.mean, digits),
                number(effect.deviation, digits),
                number(effect.z, 1),
                number(effect.p, 4),
            ]
        };
        let rows = [
            ("specific neurons", &self.specific, 0),
            ("specific and related neurons", &self.set, 0),
            ("selectivity of the selected, 1 - H / ln K", &self.selectivity, 3),
        ];
        vec![
            Block::text(format!(
                "The control: languages' names shuffled over {} parts of the documents, {} times. {} of the selected neurons \
                 have less entropy than any neuron of the network in 95 % of the shuffles.",
                self.parts, self.permutations, self.certain
            )),
            table(
                &["figure", "found", "shuffled", "deviation", "effect size", "p"],
                rows.into_iter().map(row).collect(),
            ),
        ]
    }
}

/// What was read of each language, with what is to be noted.
pub(super) fn texts_blocks(languages: &[Language], notes: &[String]) -> Vec<Block> {
    let mut blocks = vec![Block::heading("Texts"), texts_table(languages)];
    blocks.extend(notes.iter().map(|note| Block::text(format!("Note: {note}."))));
    blocks
}

fn texts_table(languages: &[Language]) -> Block {
    let row = |language: &Language| {
        let share = |value: f64| Cell::Number { value, digits: 3 };
        vec![
            Cell::text(&language.name),
            Cell::count(language.documents),
            Cell::count(language.available),
            Cell::count(language.held_out),
            share(language.unknown),
            share(language.fragments),
        ]
    };
    let names =
        ["language", "documents", "their tokens", "held out", "tokens unknown", "tokens that are parts of characters"];
    table(&names, languages.iter().map(row).collect())
}

pub(super) fn table(names: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: names.iter().copied().map(Column::new).collect(), rows })
}
