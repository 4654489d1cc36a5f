//! What languages lose without the neurons of one: the deactivation matrix, with random neurons as controls.
//!
//! With the neurons of language i silenced (`mlp.hook_post` set to zero, or to its mean over all languages' texts), the
//! likelihood of the texts of language j changes by
//!
//! ```text
//! R[i][j] = ln(PPL_i(j) / PPL(j)) = sum over texts of (nats_i - nats) / tokens
//! ```
//!
//! so perplexity is per token over all texts of a language, read as they were counted: with what the tokenizer puts before
//! a text and nothing else. (With a BOS that its tokenizer does not add, `polyglot-6m` of the project's data folder takes
//! 7.7 nats per token of short Arabic texts instead of 4.5: neurons of Arabic would be tested while it does not read
//! Arabic.)
//!
//! Controls silence, in place of language i's neurons and in the same layers, as many others that are no language neurons:
//! drawn from the whole layer, or from those that fire about as often in the texts of language i. What a language loses
//! without any MLP neuron at all stands beside them: where that is little, the network does its work elsewhere, and no
//! choice of neurons can matter.

use serde::{Deserialize, Serialize};

use super::kinds::jaccard;
use super::masks::selectors;
use super::report::{figure_name, table};
use super::score::Rates;
use super::speech::script;
use crate::analysis::tasks::{Options as Scoring, Start, Subject, TextNats, perplexity};
use crate::analysis::{Corpus, Estimate, Figures};
use crate::data::TextSet;
use crate::hook::random::Stream;
use crate::hook::reduce::{Reducer, ReducerSpec};
use crate::hook::{Edit, Output, Pass, Plan, Record, Registry, Tap, Values};
use crate::models::{Input, Model, Network, State};
use crate::report::chart::{Axis, Bars, Labels, Plot, Scale};
use crate::report::{Block, Cell, Chart, Report, number};
use crate::{Error, Result};

/// A control's neuron is drawn from so many that fire most nearly as often.
const NEAREST: usize = 8;
/// Tokens of a batch where means are taken.
const CELLS: usize = 4096;

/// How neurons are silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// To zero, as the paper does.
    Zero,
    /// To their mean over all languages' texts.
    Mean,
}

/// How to ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// How neurons are silenced.
    pub silence: Silence,
    /// Draws of each control.
    pub draws: usize,
    /// Longest piece of text when means are taken, in tokens.
    pub window: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Asking {
    fn default() -> Self {
        Self { silence: Silence::Zero, draws: 5, window: 256, seed: 0 }
    }
}

/// The deactivation matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deactivation {
    /// How neurons were silenced.
    pub silence: Silence,
    /// The languages.
    pub languages: Vec<String>,
    /// The script of each one's texts.
    pub scripts: Vec<String>,
    /// Neurons silenced, by language.
    pub neurons: Vec<usize>,
    /// Nats per token of every language, undisturbed.
    pub nats: Vec<Estimate>,
    /// R: row i without the neurons of language i, column j on the texts of language j; intervals over texts.
    pub matrix: Vec<Vec<Estimate>>,
    /// The Jaccard overlap of the languages' neurons.
    #[serde(with = "number::nested")]
    pub overlap: Vec<Vec<f64>>,
    /// R[i][i] with random neurons of the same layers, by language and draw.
    #[serde(with = "number::nested")]
    pub same_layers: Vec<Vec<f64>>,
    /// R[i][i] with random neurons of the same layers that fire as often in language i, by language and draw.
    #[serde(with = "number::nested")]
    pub same_rates: Vec<Vec<f64>>,
    /// R of each language without any neuron of any layer.
    pub everything: Vec<Estimate>,
}

/// Silences the neurons of every language in turn (`masks[k][l]`) and takes the likelihood of all texts.
///
/// # Errors
/// Texts of other languages than the masks', and whatever the network refuses.
pub fn deactivate(
    model: &Model,
    masks: &[Vec<Vec<u32>>],
    rates: &Rates,
    sets: &[TextSet],
    asking: &Asking,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Deactivation> {
    if masks.len() != sets.len() || rates.languages != sets.len() {
        return Err(Error::invalid(
            format!("neurons of {} languages are to be tested on texts of {}", masks.len(), sets.len()),
            "give texts of the same languages",
        ));
    }
    let k = sets.len();
    let means = match asking.silence {
        Silence::Zero => None,
        Silence::Mean => Some(pooled(&means(model, sets, asking.window)?)),
    };
    let silence = Silencer { model, means: means.as_deref() };
    let (mut done, whole) = (0, k * (2 + k + 2 * asking.draws));
    let mut nats = |edits: &[Edit], set: &TextSet| {
        done += 1;
        progress(done, whole);
        silence.nats(edits, &set.texts)
    };
    let base: Vec<Vec<TextNats>> = sets.iter().map(|set| nats(&[], set)).collect::<Result<_>>()?;
    let mut matrix = Vec::new();
    for mask in masks {
        let edits = silence.edits(mask)?;
        let row = sets.iter().zip(&base).map(|(set, base)| Ok(ratio(&nats(&edits, set)?, base, asking.seed)));
        matrix.push(row.collect::<Result<Vec<_>>>()?);
    }
    let mut controls = [vec![Vec::new(); k], vec![Vec::new(); k]];
    for (language, set) in sets.iter().enumerate() {
        for draw in 0..asking.draws {
            for (control, by_rate) in controls.iter_mut().zip([false, true]) {
                let seed = &[language as u64, draw as u64, u64::from(by_rate)];
                let twin = twin(masks, rates, language, by_rate, &mut Stream::new(asking.seed, seed));
                let found = nats(&silence.edits(&twin)?, set)?;
                control[language].push(ratio(&found, &base[language], asking.seed).value);
            }
        }
    }
    let [same_layers, same_rates] = controls;
    let facts = model.decoder.facts();
    let all = silence.edits(&vec![(0..facts.d_mlp as u32).collect(); facts.layers.len()])?;
    let everything = sets.iter().zip(&base).map(|(set, base)| Ok(ratio(&nats(&all, set)?, base, asking.seed)));
    let everything = everything.collect::<Result<_>>()?;
    let of_text = |d: &TextNats| (d.nats, d.tokens as f64);
    Ok(Deactivation {
        silence: asking.silence,
        languages: sets.iter().map(|set| set.name.clone()).collect(),
        scripts: sets.iter().map(|set| script(&set.texts.concat()).unwrap_or("none").to_string()).collect(),
        neurons: masks.iter().map(|mask| mask.iter().map(Vec::len).sum()).collect(),
        nats: base.iter().map(|b| Estimate::ratio(&b.iter().map(of_text).collect::<Vec<_>>(), asking.seed)).collect(),
        matrix,
        overlap: masks.iter().map(|a| masks.iter().map(|b| jaccard(a, b)).collect()).collect(),
        same_layers,
        same_rates,
        everything,
    })
}

/// ln of the ratio of perplexities, paired text by text.
fn ratio(found: &[TextNats], base: &[TextNats], seed: u64) -> Estimate {
    let pairs: Vec<(f64, f64)> = found.iter().zip(base).map(|(a, b)| (a.nats - b.nats, b.tokens as f64)).collect();
    Estimate::ratio(&pairs, seed)
}

/// Random neurons in place of a language's: as many in each layer, none of them any language's; of the whole layer, or
/// of those that fire most nearly as often in the language.
pub fn twin(
    masks: &[Vec<Vec<u32>>],
    rates: &Rates,
    language: usize,
    by_rate: bool,
    draws: &mut Stream,
) -> Vec<Vec<u32>> {
    let layers = masks[language].len();
    let width = rates.units() / layers.max(1);
    let of_layer = |layer: usize| {
        let taken = |n: &u32| masks.iter().any(|mask| mask[layer].binary_search(n).is_ok());
        let mut free: Vec<u32> = (0..width as u32).filter(|n| !taken(n)).collect();
        let rate = |n: u32| rates.row(layer * width + n as usize)[language];
        let mut twin = Vec::new();
        for neuron in &masks[language][layer] {
            let among = match by_rate {
                false => free.len(),
                true => {
                    let gap = |n: &u32| (rate(*n) - rate(*neuron)).abs();
                    free.sort_by(|a, b| gap(a).total_cmp(&gap(b)).then(a.cmp(b)));
                    free.len().min(NEAREST)
                }
            };
            if among > 0 {
                twin.push(free.remove(draws.below(among)));
            }
        }
        twin.sort_unstable();
        twin
    };
    (0..layers).map(of_layer).collect()
}

/// Mean activation of every neuron in the texts of each language, `[K][L * M]`.
///
/// # Errors
/// Whatever the network refuses.
pub fn means(model: &Model, sets: &[TextSet], window: usize) -> Result<Vec<Vec<f32>>> {
    let net = &model.decoder;
    let sites: Vec<String> = (0..net.facts().layers.len()).map(|l| format!("blocks.{l}.mlp.hook_post")).collect();
    let records = sites.iter().map(|site| Ok(Record::reduced(site.parse()?, ReducerSpec::Moments {})));
    let pass = Pass { records: records.collect::<Result<_>>()?, output: Output::Unread, ..Pass::default() };
    let of_set = |set: &TextSet| -> Result<Vec<f32>> {
        let corpus = Corpus::of_texts(model, &set.texts, window)?;
        let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
        for batch in corpus.batches(CELLS) {
            net.forward(&Input::Tokens(batch?.1), &mut State::none(), &mut Tap::new(&mut plan))?;
        }
        let records = plan.records(net.sites())?;
        let mut means = Vec::new();
        for site in &sites {
            if let Reducer::Moments(moments) = records.reducer(site, "moments")? {
                let width = net.facts().d_mlp;
                means.extend((0..width).map(|n| moments.unit(n).map_or(0.0, |unit| unit.mean as f32)));
            }
        }
        Ok(means)
    };
    sets.iter().map(of_set).collect()
}

/// The mean over languages.
fn pooled(means: &[Vec<f32>]) -> Vec<f32> {
    let n = means.len() as f32;
    let units = means.first().map_or(0, Vec::len);
    (0..units).map(|u| means.iter().map(|m| m[u]).sum::<f32>() / n).collect()
}

/// Silences neurons and reads texts.
struct Silencer<'a> {
    model: &'a Model,
    /// What neurons are set to; zero if `None`.
    means: Option<&'a [f32]>,
}

impl Silencer<'_> {
    fn edits(&self, mask: &[Vec<u32>]) -> Result<Vec<Edit>> {
        let width = self.model.decoder.facts().d_mlp;
        let edit = |(site, layer, neurons)| match self.means {
            None => Edit::new(site, "zero"),
            Some(means) => {
                let of = |n: &u32| means[layer * width + *n as usize];
                let neurons: Vec<u32> = neurons;
                Edit::new(site, "set").with("value", neurons.iter().map(of).collect::<Vec<f32>>())
            }
        };
        Ok(selectors(mask)?.into_iter().map(edit).collect())
    }

    fn nats(&self, edits: &[Edit], texts: &[String]) -> Result<Vec<TextNats>> {
        let pass = Pass { edits: edits.to_vec(), ..Pass::default() };
        let subject = Subject::new(self.model)?.edited(pass, Registry::elementary(), Values::default());
        let scoring = Scoring { draws: 0, start: Start::Tokenizer, ..Scoring::default() };
        Ok(perplexity(&subject, texts, &scoring, &mut |_, _| {})?.documents)
    }
}

impl Deactivation {
    /// Mean of R[i][i].
    pub fn diagonal(&self) -> f64 {
        mean((0..self.languages.len()).map(|i| self.matrix[i][i].value))
    }

    /// Mean of |R[i][j]| over different languages.
    pub fn off_diagonal(&self) -> f64 {
        mean(self.pairs(|_, _| true).map(f64::abs))
    }

    /// Mean of R[i][j] over different languages of the same script; NaN without such a pair.
    pub fn same_script(&self) -> f64 {
        mean(self.pairs(|i, j| self.scripts[i] == self.scripts[j]))
    }

    /// Mean of R[i][j] over languages of different scripts; NaN without such a pair.
    pub fn other_script(&self) -> f64 {
        mean(self.pairs(|i, j| self.scripts[i] != self.scripts[j]))
    }

    /// Mean of |R[i][i]| of the random neurons of the same layers.
    pub fn control_layers(&self) -> f64 {
        mean(self.same_layers.iter().flatten().map(|x| x.abs()))
    }

    /// The same of those that fire as often.
    pub fn control_rates(&self) -> f64 {
        mean(self.same_rates.iter().flatten().map(|x| x.abs()))
    }

    /// Mean of R without any neuron.
    pub fn everything(&self) -> f64 {
        mean(self.everything.iter().map(|x| x.value))
    }

    fn pairs<'a>(&'a self, wanted: impl Fn(usize, usize) -> bool + 'a) -> impl Iterator<Item = f64> + 'a {
        let k = self.languages.len();
        let all = (0..k).flat_map(move |i| (0..k).map(move |j| (i, j)));
        all.filter(move |(i, j)| i != j && wanted(*i, *j)).map(|(i, j)| self.matrix[i][j].value)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    sum / f64::from(n)
}

impl Figures for Deactivation {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("deactivation.diagonal".to_string(), self.diagonal()),
            ("deactivation.off_diagonal".to_string(), self.off_diagonal()),
            ("deactivation.random.same_layers".to_string(), self.control_layers()),
            ("deactivation.random.same_rates".to_string(), self.control_rates()),
            ("deactivation.everything".to_string(), self.everything()),
        ];
        let own = self.languages.iter().enumerate();
        figures.extend(own.map(|(i, name)| (format!("{}.own_loss", figure_name(name)), self.matrix[i][i].value)));
        figures
    }
}

impl Report for Deactivation {
    fn blocks(&self) -> Vec<Block> {
        let how = match self.silence {
            Silence::Zero => "zeroed",
            Silence::Mean => "set to their mean over all languages",
        };
        let number = |value: f64| if value.is_nan() { Cell::Empty } else { Cell::Number { value, digits: 4 } };
        let row = |name: &str, value: f64| vec![Cell::text(name), number(value)];
        let summary = vec![
            row("own language (diagonal)", self.diagonal()),
            row("other languages, mean size", self.off_diagonal()),
            row("other languages of the same script, mean", self.same_script()),
            row("languages of other scripts, mean", self.other_script()),
            row("control: random neurons, same layers, own language, mean size", self.control_layers()),
            row("control: random neurons, same layers and firing rate, mean size", self.control_rates()),
            row("all neurons of all layers", self.everything()),
        ];
        let columns = ["neurons of", "how many"].into_iter().map(str::to_string);
        let columns: Vec<String> = columns.chain(self.languages.iter().map(|name| format!("on {name}"))).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let line = |(i, name): (usize, &String)| {
            let head = [Cell::text(name), Cell::count(self.neurons[i])];
            head.into_iter().chain(self.matrix[i].iter().map(|x| x.cell(3))).collect()
        };
        let labels = |name: &str| Labels { name: name.to_string(), items: self.languages.clone() };
        let heat = Chart {
            title: "What languages lose without the neurons of one".to_string(),
            caption: format!("ln of perplexity over undisturbed perplexity; neurons {how}."),
            plot: Plot::Heat {
                rows: labels("without the neurons of"),
                columns: labels("texts of"),
                values: self.matrix.iter().map(|row| row.iter().map(|x| x.value).collect()).collect(),
                unit: "ln ratio".to_string(),
                scale: Scale::Diverging,
            },
        };
        let own = |i: usize| self.matrix[i][i];
        let spread = |draws: &Vec<f64>| {
            let least = draws.iter().copied().fold(f64::INFINITY, f64::min);
            (least, draws.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        };
        let control = |name: &str, draws: &[Vec<f64>]| Bars {
            name: name.to_string(),
            values: draws.iter().map(|draws| mean(draws.iter().copied())).collect(),
            intervals: draws.iter().map(spread).collect(),
        };
        let k = self.languages.len();
        let bars = Chart {
            title: "Own neurons against random ones".to_string(),
            caption:
                "Lines: 95 % intervals over texts for a language's own neurons; the range of the draws for random ones."
                    .to_string(),
            plot: Plot::Bars {
                y: Axis::new("ln ratio of perplexity"),
                categories: self.languages.clone(),
                series: vec![
                    Bars {
                        name: "its own neurons".to_string(),
                        values: (0..k).map(|i| own(i).value).collect(),
                        intervals: (0..k).map(|i| own(i).ends()).collect(),
                    },
                    control("random, same layers", &self.same_layers),
                    control("random, same layers and firing rate", &self.same_rates),
                ],
            },
        };
        let nats = self.languages.iter().zip(&self.nats).zip(&self.everything);
        let nats = nats.map(|((name, nats), all)| vec![Cell::text(name), nats.cell(3), all.cell(3)]);
        vec![
            Block::heading("Deactivation"),
            Block::text(format!(
                "The neurons of each language in turn are {how}; what is shown is ln of perplexity over undisturbed \
                 perplexity on texts that were not counted. Controls: random neurons that belong to no language."
            )),
            table(&["ln ratio", "value"], summary),
            Block::Chart(heat),
            table(&columns, self.languages.iter().enumerate().map(line).collect()),
            Block::Chart(bars),
            table(&["language", "nats per token, undisturbed", "ln ratio without any MLP neuron"], nats.collect()),
        ]
    }
}
