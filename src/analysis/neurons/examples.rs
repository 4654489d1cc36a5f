//! The extremes of the neurons that are shown, with their neighbours.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{CELLS, Scan, wrong};
use super::{Example, Options, Shown, Why};
use crate::Result;
use crate::analysis::Corpus;
use crate::analysis::corpus::Window;
use crate::hook::reduce::{Reducer, ReducerSpec, Top, TopEntry, TopSpec};
use crate::hook::{Pass, Record, Registry, Selector};
use crate::models::execute::observe;
use crate::models::{Decoder, Input};

/// The chosen neurons of each layer, ascending.
type ByLayer = BTreeMap<usize, BTreeSet<usize>>;

/// The chosen neurons with their examples.
pub(super) fn show(
    net: &Decoder,
    corpus: &Corpus,
    scan: &Scan,
    chosen: &[(usize, usize, Why)],
    options: &Options,
) -> Result<Vec<Shown>> {
    if chosen.is_empty() || options.examples == 0 {
        return Ok(Vec::new());
    }
    let mut by_layer = ByLayer::new();
    for (layer, neuron, _) in chosen {
        by_layer.entry(*layer).or_default().insert(*neuron);
    }
    let context = [options.context, options.context];
    let spec = TopSpec { k: options.examples, bottom: true, context, one_per_document: true };
    let found = extremes(net, corpus, &by_layer, &spec)?;
    let control = TopSpec { k: 1, context: [0, 0], ..spec };
    let shuffled = extremes(net, &corpus.shuffled(options.seed), &by_layer, &control)?;
    let values = Values::of(net, corpus, &by_layer, &found)?;
    let shown = chosen.iter().map(|(layer, neuron, why)| {
        let unit = by_layer[layer].range(..neuron).count();
        let example = |entry: TopEntry| values.example(corpus, *layer, unit, &entry);
        let first = |side: Vec<TopEntry>| side.first().map_or(f64::NAN, |entry| f64::from(entry.value));
        Ok(Shown {
            layer: *layer,
            neuron: *neuron,
            why: *why,
            rate: scan.rate(*layer, *neuron),
            kurtosis: scan.kurtosis(*layer, *neuron),
            top: found[layer].top(unit).into_iter().map(example).collect::<Result<_>>()?,
            bottom: found[layer].bottom(unit).into_iter().map(example).collect::<Result<_>>()?,
            shuffled_max: first(shuffled[layer].top(unit)),
            shuffled_min: first(shuffled[layer].bottom(unit)),
        })
    });
    shown.collect()
}

fn site(layer: usize) -> String {
    format!("blocks.{layer}.mlp.hook_post")
}

/// `blocks.3.mlp.hook_post[neuron=12,40]`.
fn selector(layer: usize, neurons: &BTreeSet<usize>) -> Result<Selector> {
    let list: Vec<String> = neurons.iter().map(usize::to_string).collect();
    format!("{}[neuron={}]", site(layer), list.join(",")).parse()
}

/// The top lists of the chosen neurons, by layer.
fn extremes(net: &Decoder, corpus: &Corpus, by_layer: &ByLayer, spec: &TopSpec) -> Result<BTreeMap<usize, Top>> {
    let mut pass = Pass::default();
    for (layer, neurons) in by_layer {
        pass.records.push(Record::reduced(selector(*layer, neurons)?, ReducerSpec::Top(spec.clone())));
    }
    let mut found: BTreeMap<usize, Reducer> = BTreeMap::new();
    for batch in corpus.batches(CELLS) {
        let records = observe(net, &Input::Tokens(batch?.1), &pass, &Registry::elementary())?.records;
        for layer in by_layer.keys() {
            let part = records.reducer(&site(*layer), "top")?.clone();
            match found.get_mut(layer) {
                Some(all) => all.merge(part)?,
                None => {
                    found.insert(*layer, part);
                }
            }
        }
    }
    let top = |(layer, reducer)| match reducer {
        Reducer::Top(top) => Ok((layer, top)),
        _ => Err(wrong(&site(layer))),
    };
    found.into_iter().map(top).collect()
}

/// The chosen neurons at every token of the windows that have an example.
struct Values {
    /// By window and layer: `[pos][unit]`.
    rows: BTreeMap<(usize, usize), Vec<Vec<f32>>>,
}

impl Values {
    fn of(net: &Decoder, corpus: &Corpus, by_layer: &ByLayer, found: &BTreeMap<usize, Top>) -> Result<Self> {
        let mut wanted: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut pass = Pass::default();
        for (layer, neurons) in by_layer {
            pass.records.push(Record::whole(selector(*layer, neurons)?));
            for unit in 0..neurons.len() {
                for entry in found[layer].top(unit).iter().chain(&found[layer].bottom(unit)) {
                    wanted.entry(entry.document as usize).or_default().insert(*layer);
                }
            }
        }
        let mut rows = BTreeMap::new();
        for (window, layers) in wanted {
            for batch in corpus.batches_of(window..window + 1, CELLS) {
                let records = observe(net, &Input::Tokens(batch?.1), &pass, &Registry::elementary())?.records;
                for layer in layers.iter().copied() {
                    rows.insert((window, layer), records.get(&site(layer))?.get(0)?.to_vec2()?);
                }
            }
        }
        Ok(Self { rows })
    }

    fn example(&self, corpus: &Corpus, layer: usize, unit: usize, entry: &TopEntry) -> Result<Example> {
        let Window { text, .. } = &corpus.windows[entry.document as usize];
        let along = &self.rows[&(entry.document as usize, layer)];
        let first = entry.position as usize - entry.at;
        Ok(Example {
            text: *text,
            position: entry.position,
            value: entry.value,
            tokens: entry.tokens.iter().map(|id| corpus.word(*id)).collect(),
            values: (first..first + entry.tokens.len()).map(|position| along[position][unit]).collect(),
            focus: entry.at,
        })
    }
}
