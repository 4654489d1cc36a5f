//! Every head and every MLP switched off by itself: what a text's loss rises by.

use std::collections::BTreeMap;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::analysis::Estimate;
use crate::analysis::measure::{LogProbs, mean};
use crate::hook::{Edit, Pass, Registry, Run};
use crate::models::{Input, Job, Model, Side, Tokens, execute};
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table, number};
use crate::{Error, Result};

/// Seed of the intervals' draws.
const SEED: u64 = 0;

/// What is lost without each part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AblationMap {
    /// Predicted tokens.
    pub tokens: usize,
    /// Mean -log p of the next token as it is, nats.
    #[serde(with = "number")]
    pub loss: f64,
    /// Layer by layer, head by head: what the loss rises by with the head's mixed values at zero.
    #[serde(with = "number::nested")]
    pub heads: Vec<Vec<f64>>,
    /// Layer by layer: the same with what the MLP adds to the stream at zero.
    #[serde(with = "number::nested")]
    pub mlps: Vec<f64>,
    /// The heads whose loss rises most, with intervals over tokens, strongest first.
    pub strongest: Vec<Strongest>,
}

/// A head that the text needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strongest {
    /// (layer, head).
    pub head: (usize, usize),
    /// What the loss rises by without it, token by token.
    pub rise: Estimate,
    /// The control: the mean rise without one of the other heads of its layer; `None` where there is no other.
    pub others: Option<f64>,
}

/// Heads in the table.
const SHOWN: usize = 8;

/// Switches off one part after the other on a text of at most [`super::LONGEST`] tokens. `watch` hears (parts done, parts
/// in all).
///
/// # Errors
/// A text of less than two tokens or too many, a network without heads, and whatever `watch` says.
pub fn ablation_map(
    model: &Model,
    ids: &[u32],
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<AblationMap> {
    let net = &model.decoder;
    super::check(net, ids)?;
    if ids.len() < 2 {
        return Err(Error::invalid("a text of one token has no next token to predict", "give a longer text"));
    }
    let (layers, heads) = (net.facts().layers.len(), net.facts().n_heads);
    let without = |site: Option<String>| -> Result<Vec<f64>> {
        let edits = site.map(|site| Ok::<_, Error>(Edit::new(site.parse()?, "zero"))).transpose()?;
        let run = Run { passes: vec![Pass { edits: edits.into_iter().collect(), ..Pass::default() }] };
        let inputs = [Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Right, model.pad())?)];
        let registry = Registry::elementary();
        let mut outcome =
            execute(net, Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry })?;
        let logits = outcome.passes.remove(0).output.squeeze(0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?; // [t, vocab]
        Ok(logits.iter().zip(&ids[1..]).map(|(row, id)| -LogProbs::new(row).of(*id)).collect())
    };
    let whole = without(None)?;
    let (mut done, of) = (0, layers * (heads + 1));
    let mut rise = |site: String| {
        let rise: Vec<f64> = without(Some(site))?.iter().zip(&whole).map(|(without, with)| without - with).collect();
        done += 1;
        watch(done, of)?;
        Ok::<_, Error>(rise)
    };
    let (mut by_head, mut by_mlp) = (Vec::with_capacity(layers), Vec::with_capacity(layers));
    for layer in 0..layers {
        let row: Result<Vec<Vec<f64>>> =
            (0..heads).map(|head| rise(format!("blocks.{layer}.attn.hook_z[head={head}]"))).collect();
        by_head.push(row?);
        by_mlp.push(mean(&rise(format!("blocks.{layer}.hook_mlp_out"))?));
    }
    let means: Vec<Vec<f64>> = by_head.iter().map(|row| row.iter().map(|rise| mean(rise)).collect()).collect();
    let mut order: Vec<(usize, usize)> = (0..layers).flat_map(|l| (0..heads).map(move |h| (l, h))).collect();
    order.sort_by(|a, b| means[b.0][b.1].total_cmp(&means[a.0][a.1]));
    let strongest = order.into_iter().take(SHOWN).map(|(layer, head)| {
        let others: f64 = means[layer].iter().enumerate().filter(|(h, _)| *h != head).map(|(_, rise)| rise).sum();
        Strongest {
            head: (layer, head),
            rise: Estimate::mean(&by_head[layer][head], SEED),
            others: (heads > 1).then(|| others / (heads - 1) as f64),
        }
    });
    Ok(AblationMap {
        tokens: ids.len() - 1,
        loss: mean(&whole),
        strongest: strongest.collect(),
        heads: means,
        mlps: by_mlp,
    })
}

impl Report for AblationMap {
    fn blocks(&self) -> Vec<Block> {
        let heads = self.heads.first().map_or(0, Vec::len);
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let map = |title: &str, columns: Labels, values: Vec<Vec<f64>>| {
            Block::Chart(Chart {
                title: title.to_string(),
                caption: format!(
                    "Rise of the loss over {} tokens; it is {:.3} nats per token with everything in place.",
                    self.tokens, self.loss
                ),
                plot: Plot::Heat {
                    rows: Labels { name: "layer".to_string(), items: names(self.heads.len()) },
                    columns,
                    values,
                    unit: "nats per token".to_string(),
                    scale: Scale::Diverging,
                },
            })
        };
        let of_heads = Labels { name: "head".to_string(), items: names(heads) };
        let of_mlps = Labels { name: String::new(), items: vec!["MLP".to_string()] };
        let columns = ["head", "rise, nats per token", "control: another head of its layer"].map(Column::new).to_vec();
        let row = |s: &Strongest| {
            let control = s.others.map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 });
            vec![Cell::text(format!("{}.{}", s.head.0, s.head.1)), s.rise.cell(3), control]
        };
        vec![
            map("Each head switched off", of_heads, self.heads.clone()),
            Block::Table(Table { columns, rows: self.strongest.iter().map(row).collect() }),
            Block::text("The heads that the text needs most; intervals are of 95 % over its tokens."),
            map("Each MLP switched off", of_mlps, self.mlps.iter().map(|x| vec![*x]).collect()),
        ]
    }
}
