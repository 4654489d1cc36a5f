//! The logit lens by script: in which script each layer would write, for the texts of every language.
//!
//! At every position the stream before the first block and after each block goes through the final norm and the
//! unembedding, and the script of the likeliest token is counted. Tokens without letters (digits, punctuation, spaces)
//! and parts of characters that belong to no script in particular are counted apart.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::report::table;
use super::speech::{Ambiguous, script, script_of_bytes};
use crate::analysis::Corpus;
use crate::data::TextSet;
use crate::hook::{Form, Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::{Input, Model, Network};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Report, number};
use crate::{Error, Result};

/// Logits in memory at a time.
const LOGITS: usize = 1 << 25;
/// Cells of a batch.
const CELLS: usize = 1024;

/// Scripts of the likeliest tokens, layer by layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScriptLens {
    /// By language.
    pub languages: Vec<LanguageLens>,
}

/// What the layers would write after the tokens of a language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageLens {
    /// The language.
    pub name: String,
    /// The script of its texts.
    pub script: String,
    /// Positions looked at.
    pub positions: u64,
    /// The stream before the first block, then after each.
    pub layers: Vec<LayerScripts>,
}

/// Shares of positions by the script of the likeliest token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerScripts {
    /// The language's own script.
    #[serde(with = "number")]
    pub own: f64,
    /// Other scripts.
    #[serde(with = "number")]
    pub other: f64,
    /// No letter.
    #[serde(with = "number")]
    pub none: f64,
    /// Parts of characters of no script in particular.
    #[serde(with = "number")]
    pub parts: f64,
}

/// Looks at the first `tokens` tokens (about) of each language's texts.
///
/// # Errors
/// Texts that the network cannot take, or without a letter.
pub fn script_lens(model: &Model, sets: &[TextSet], tokens: usize, window: usize) -> Result<ScriptLens> {
    let tokenizer = model.tokenizer()?;
    let net = &model.decoder;
    let vocabulary = net.facts().vocab;
    let of_token = |id: u32| tokenizer.token_bytes(id).map_or(Err(Ambiguous), |bytes| script_of_bytes(&bytes));
    let scripts: Vec<std::result::Result<Option<&str>, Ambiguous>> = (0..vocabulary as u32).map(of_token).collect();
    let after = (0..net.facts().layers.len()).map(|l| format!("blocks.{l}.hook_resid_post"));
    let sites: Vec<String> = std::iter::once("blocks.0.hook_resid_pre".to_string()).chain(after).collect();
    let records = sites.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<_>>()?;
    let pass = Pass { records, ..Pass::default() };
    let mut languages = Vec::new();
    for set in sets {
        let own = script(&set.texts.concat()).ok_or_else(|| {
            Error::invalid(format!("the texts of `{}` have no letter", set.name), "give texts in words")
        })?;
        let corpus = Corpus::of_texts(model, &set.texts, window)?;
        let mut positions = 0u64;
        let mut counts: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new(); sites.len()];
        for batch in corpus.batches(CELLS.min(LOGITS / vocabulary.max(1)).max(1)) {
            let (windows, batch) = batch?;
            let outcome = observe(net, &Input::Tokens(batch), &pass, &Registry::elementary())?;
            for (row, window) in corpus.windows[windows].iter().enumerate() {
                let counted = (0..window.ids.len()).filter(|p| corpus.counts(window.ids[*p]));
                let counted: Vec<u32> = counted.map(|p| p as u32).collect();
                positions += counted.len() as u64;
                let index = Tensor::from_slice(&counted, counted.len(), net.device())?;
                for (site, counts) in sites.iter().zip(&mut counts) {
                    let x = outcome.records.get(site)?.get(row)?.index_select(&index, 0)?.unsqueeze(0)?; // [1, n, d]
                    let best = net.lens(&x, Form::Inference)?.argmax(D::Minus1)?.flatten_all()?; // [n]
                    for id in best.to_vec1::<u32>()? {
                        let kind = match scripts[id as usize] {
                            Ok(Some(script)) if script == own => "own",
                            Ok(Some(_)) => "other",
                            Ok(None) => "none",
                            Err(Ambiguous) => "parts",
                        };
                        *counts.entry(kind).or_default() += 1;
                    }
                }
            }
            if positions >= tokens as u64 {
                break;
            }
        }
        let share = |counts: &BTreeMap<&str, u64>, kind: &str| {
            counts.get(kind).copied().unwrap_or(0) as f64 / positions.max(1) as f64
        };
        let layer = |c: &BTreeMap<&str, u64>| LayerScripts {
            own: share(c, "own"),
            other: share(c, "other"),
            none: share(c, "none"),
            parts: share(c, "parts"),
        };
        let layers = counts.iter().map(layer).collect();
        languages.push(LanguageLens { name: set.name.clone(), script: own.to_string(), positions, layers });
    }
    Ok(ScriptLens { languages })
}

impl Report for ScriptLens {
    fn blocks(&self) -> Vec<Block> {
        let curve = |language: &LanguageLens| Line {
            name: format!("{} ({})", language.name, language.script),
            points: language.layers.iter().enumerate().map(|(l, s)| (l as f64, s.own)).collect(),
            band: Vec::new(),
            reference: false,
        };
        let chart = Chart {
            title: "In which script each layer would write".to_string(),
            caption:
                "Share of positions where the likeliest token of the stream is in the language's own script; 0 is the \
                      embedding."
                    .to_string(),
            plot: Plot::Lines {
                x: Axis::new("blocks passed"),
                y: Axis::new("share").range(0.0, 1.0),
                series: self.languages.iter().map(curve).collect(),
            },
        };
        let rows = self.languages.iter().flat_map(|language| {
            language.layers.iter().enumerate().map(|(l, s)| {
                let shares = [s.own, s.other, s.none, s.parts].map(|value| Cell::Number { value, digits: 3 });
                [Cell::text(&language.name), Cell::text(&language.script), Cell::count(l)]
                    .into_iter()
                    .chain(shares)
                    .collect()
            })
        });
        let names =
            ["language", "script", "blocks passed", "own script", "other scripts", "no letter", "parts of characters"];
        vec![Block::heading("Scripts by layer"), Block::Chart(chart), table(&names, rows.collect())]
    }
}
