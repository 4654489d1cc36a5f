//! Steering by language neurons: while the network continues texts of one language, the neurons of another are raised
//! and its own silenced; how often does it go on in the other language, and what does that cost?
//!
//! Raised neurons are set to `factor` times their mean activation in the texts of the language that is wanted, silenced
//! ones to zero; a neuron of both languages is raised. The edit acts at prompt and generated tokens. The control does the
//! same to random neurons of the same layers (each raised to `factor` times its own mean). The language of what is written
//! is judged by `whatlang` among the languages at hand, and the judge's accuracy on real texts of that length stands
//! beside. The cost in fluency is the likelihood of what was written, on its own, under the network as it is.

use serde::{Deserialize, Serialize};

use super::deactivate::{means, twin};
use super::masks::selectors;
use super::report::{figure_name, table};
use super::score::Rates;
use super::speech::Judge;
use crate::analysis::tasks::{Options as Scoring, Start, Subject, perplexity};
use crate::analysis::{Estimate, Figures};
use crate::data::TextSet;
use crate::generate::{Generator, Options as Generating, Sampler};
use crate::hook::random::Stream;
use crate::hook::{Edit, Pass, Registry, Values};
use crate::models::{Model, Side, Tokens};
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table, number};
use crate::{Error, Result};

/// How to steer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Helm {
    /// Texts of each language that are continued.
    pub prompts: usize,
    /// Tokens of a text that the network is given.
    pub given: usize,
    /// Tokens that it writes.
    pub written: usize,
    /// How many times their mean raised neurons are set to.
    #[serde(with = "number")]
    pub factor: f64,
    /// Longest piece of text when means are taken, in tokens.
    pub window: usize,
    /// Seed of sampling and of the random neurons.
    pub seed: u64,
}

impl Default for Helm {
    fn default() -> Self {
        Self { prompts: 20, given: 16, written: 48, factor: 2.0, window: 256, seed: 0 }
    }
}

/// How much one row of texts turned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Share of the texts in the wanted language.
    pub wanted: Estimate,
    /// Share of the texts in the language of the prompt.
    pub own: Estimate,
    /// Nats per token under the network as it is.
    pub nats: Estimate,
    /// One of the texts.
    pub example: String,
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The language of the prompts, whose neurons are silenced.
    pub from: usize,
    /// The language whose neurons are raised.
    pub to: usize,
    /// With the network as it is.
    pub free: Written,
    /// With the languages' neurons.
    pub steered: Written,
    /// With random neurons of the same layers.
    pub random: Written,
}

/// Every direction between the languages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// How it was steered.
    pub helm: Helm,
    /// The languages.
    pub languages: Vec<String>,
    /// The judge's accuracy on real texts as long as what is written.
    pub judge: Vec<Estimate>,
    /// In order of `from`, then `to`.
    pub turns: Vec<Turn>,
}

/// Steers between all pairs of languages; `sets` are texts that were not counted.
///
/// # Errors
/// Texts of other languages than the masks', languages that the judge does not know, and whatever the network refuses.
pub fn steer(
    model: &Model,
    masks: &[Vec<Vec<u32>>],
    rates: &Rates,
    sets: &[TextSet],
    helm: &Helm,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Steering> {
    let k = sets.len();
    if masks.len() != k || rates.languages != k {
        return Err(Error::invalid(
            format!("neurons of {} languages are to steer texts of {k}", masks.len()),
            "give texts of the same languages",
        ));
    }
    if !(helm.factor.is_finite() && helm.prompts > 0 && helm.given > 0 && helm.written > 0) {
        return Err(Error::invalid("steering needs prompts, tokens and a finite factor", "give numbers above 0"));
    }
    let names: Vec<String> = sets.iter().map(|set| set.name.clone()).collect();
    let pilot = Pilot { model, helm, judge: Judge::of(&names)?, means: means(model, sets, helm.window)? };
    let prompts: Vec<Vec<Vec<u32>>> = sets.iter().map(|set| pilot.prompts(set)).collect::<Result<_>>()?;
    let judge = sets.iter().enumerate().map(|(i, set)| pilot.accuracy(i, set)).collect::<Result<_>>()?;
    let mut turns = Vec::new();
    for from in 0..k {
        let free = pilot.write(&prompts[from], &[])?;
        for to in (0..k).filter(|to| *to != from) {
            progress(turns.len(), k * (k - 1));
            let edits = pilot.edits(&masks[from], &masks[to], to)?;
            let steered = pilot.write(&prompts[from], &edits)?;
            let twin = |language: usize| {
                let seed = &[from as u64, to as u64, language as u64];
                twin(masks, rates, language, false, &mut Stream::new(helm.seed, seed))
            };
            let random = pilot.write(&prompts[from], &pilot.edits(&twin(from), &twin(to), to)?)?;
            let judged = |texts: &[Vec<u32>]| pilot.judge(texts, from, to);
            turns.push(Turn { from, to, free: judged(&free)?, steered: judged(&steered)?, random: judged(&random)? });
        }
    }
    Ok(Steering { helm: helm.clone(), languages: names, judge, turns })
}

struct Pilot<'a> {
    model: &'a Model,
    helm: &'a Helm,
    judge: Judge,
    means: Vec<Vec<f32>>,
}

impl Pilot<'_> {
    /// The beginnings of texts that are long enough.
    fn prompts(&self, set: &TextSet) -> Result<Vec<Vec<u32>>> {
        let mut prompts = Vec::new();
        for text in &set.texts {
            let mut ids = self.model.tokenizer()?.encode(text, true)?;
            if ids.len() > self.helm.given {
                ids.truncate(self.helm.given);
                prompts.push(ids);
            }
            if prompts.len() == self.helm.prompts {
                break;
            }
        }
        match prompts.is_empty() {
            true => Err(Error::invalid(
                format!("no text of `{}` has more than {} tokens", set.name, self.helm.given),
                "give longer texts",
            )),
            false => Ok(prompts),
        }
    }

    /// How often the judge is right about pieces of real texts, as long as what is written.
    fn accuracy(&self, language: usize, set: &TextSet) -> Result<Estimate> {
        let tokenizer = self.model.tokenizer()?;
        let mut right = Vec::new();
        for text in &set.texts {
            let ids = tokenizer.encode(text, false)?;
            if ids.len() >= self.helm.written {
                let piece = tokenizer.decode(&ids[..self.helm.written], true)?;
                right.push(f64::from(u8::from(self.judge.language(&piece) == Some(language))));
            }
        }
        Ok(Estimate::mean(&right, self.helm.seed))
    }

    /// `raised` to their means in the language `to`, `silenced` to zero unless they are raised.
    fn edits(&self, silenced: &[Vec<u32>], raised: &[Vec<u32>], to: usize) -> Result<Vec<Edit>> {
        let both = silenced.iter().zip(raised);
        let silent = both.map(|(a, b)| a.iter().filter(|n| b.binary_search(n).is_err()).copied().collect());
        let silent: Vec<Vec<u32>> = silent.collect();
        let width = self.model.decoder.facts().d_mlp;
        let mut edits: Vec<Edit> = selectors(&silent)?.into_iter().map(|(site, ..)| Edit::new(site, "zero")).collect();
        for (site, layer, neurons) in selectors(raised)? {
            let value = |n: &u32| self.helm.factor as f32 * self.means[to][layer * width + *n as usize];
            edits.push(Edit::new(site, "set").with("value", neurons.iter().map(value).collect::<Vec<f32>>()));
        }
        Ok(edits)
    }

    /// What the network writes after each prompt.
    fn write(&self, prompts: &[Vec<u32>], edits: &[Edit]) -> Result<Vec<Vec<u32>>> {
        let pass = Pass { edits: edits.to_vec(), ..Pass::default() };
        let registry = Registry::elementary();
        let net = &self.model.decoder;
        let generator = Generator { net, pass: &pass, registry: &registry, values: Values::default() };
        let options = Generating {
            max_new_tokens: self.helm.written,
            sampler: Sampler::Random { temperature: 0.8, top_k: Some(40), top_p: None },
            seed: self.helm.seed,
            stop: self.model.eos(),
            context: net.facts().context,
            ..Generating::default()
        };
        let tokens = Tokens::from_rows(prompts, Side::Left, self.model.pad())?;
        Ok(generator.run(&tokens, &options, &mut |_, _| {})?.rows)
    }

    fn judge(&self, texts: &[Vec<u32>], from: usize, to: usize) -> Result<Written> {
        let tokenizer = self.model.tokenizer()?;
        let texts: Vec<String> = texts.iter().map(|ids| tokenizer.decode(ids, true)).collect::<Result<_>>()?;
        let found: Vec<Option<usize>> = texts.iter().map(|text| self.judge.language(text)).collect();
        let share = |language: usize| {
            let hits: Vec<f64> = found.iter().map(|f| f64::from(u8::from(*f == Some(language)))).collect();
            Estimate::mean(&hits, self.helm.seed)
        };
        let written: Vec<String> = texts.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
        let scoring = Scoring { seed: self.helm.seed, start: Start::Tokenizer, ..Scoring::default() };
        let nats = match written.is_empty() {
            true => Estimate::exact(f64::NAN),
            false => {
                let found = perplexity(&Subject::new(self.model)?, &written, &scoring, &mut |_, _| {})?;
                Estimate { value: found.nats_per_token, interval: found.interval }
            }
        };
        let example = texts.first().map_or(String::new(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(Written { wanted: share(to), own: share(from), nats, example })
    }
}

impl Steering {
    fn mean(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        self.turns.iter().map(of).sum::<f64>() / self.turns.len() as f64
    }

    /// Mean share of texts in the wanted language: as the network is, steered, and with random neurons.
    pub fn wanted(&self) -> [f64; 3] {
        [
            self.mean(|t| t.free.wanted.value),
            self.mean(|t| t.steered.wanted.value),
            self.mean(|t| t.random.wanted.value),
        ]
    }

    /// By how much more of the texts are in the wanted language than with random neurons; the interval is over directions.
    pub fn gain(&self) -> Estimate {
        let gains = self.turns.iter().map(|t| t.steered.wanted.value - t.random.wanted.value);
        Estimate::mean(&gains.collect::<Vec<f64>>(), self.helm.seed)
    }

    /// Mean nats per token of what was written, in the same order.
    pub fn nats(&self) -> [f64; 3] {
        [self.mean(|t| t.free.nats.value), self.mean(|t| t.steered.nats.value), self.mean(|t| t.random.nats.value)]
    }
}

impl Figures for Steering {
    fn figures(&self) -> Vec<(String, f64)> {
        let named = |name: &str, [free, steered, random]: [f64; 3]| {
            [("free", free), ("steered", steered), ("random", random)]
                .map(|(how, value)| (format!("steering.{how}.{name}"), value))
        };
        let mut figures: Vec<(String, f64)> = named("wanted", self.wanted()).into_iter().collect();
        figures.extend(named("nats", self.nats()));
        let gain = self.gain();
        figures.push(("steering.gain.wanted".to_string(), gain.value));
        figures.push(("steering.gain.least".to_string(), gain.ends().0));
        for (to, name) in self.languages.iter().enumerate() {
            let into: Vec<f64> = self.turns.iter().filter(|t| t.to == to).map(|t| t.steered.wanted.value).collect();
            let mean = into.iter().sum::<f64>() / into.len() as f64;
            figures.push((format!("{}.steered_into", figure_name(name)), mean));
        }
        figures
    }
}

impl Report for Steering {
    fn blocks(&self) -> Vec<Block> {
        let ([wanted, nats], digits) = ([self.wanted(), self.nats()], 3);
        let how = ["as the network is", "steered", "control: random neurons of the same layers"];
        let row = |i: usize| {
            let number = |value: f64| Cell::Number { value, digits };
            vec![Cell::text(how[i]), number(wanted[i]), number(nats[i])]
        };
        let summary = table(
            &["writing", "share in the wanted language", "nats per token under the network as it is"],
            (0..3).map(row).collect(),
        );
        let k = self.languages.len();
        let values = |of: fn(&Turn) -> &Written| -> Vec<Vec<f64>> {
            let cell = |from, to| self.turns.iter().find(|t| (t.from, t.to) == (from, to)).map(|t| of(t).wanted.value);
            (0..k).map(|from| (0..k).map(|to| cell(from, to).unwrap_or(f64::NAN)).collect()).collect()
        };
        let heat = |title: &str, of: fn(&Turn) -> &Written| {
            Block::Chart(Chart {
                title: title.to_string(),
                caption: "Share of texts in the wanted language, as whatlang judges.".to_string(),
                plot: Plot::Heat {
                    rows: Labels { name: "prompts in".to_string(), items: self.languages.clone() },
                    columns: Labels { name: "wanted".to_string(), items: self.languages.clone() },
                    values: values(of),
                    unit: "share".to_string(),
                    scale: Scale::Sequential,
                },
            })
        };
        let line = |turn: &Turn| {
            vec![
                Cell::text(format!("{} to {}", self.languages[turn.from], self.languages[turn.to])),
                turn.free.wanted.cell(2),
                turn.steered.wanted.cell(2),
                turn.random.wanted.cell(2),
                turn.steered.own.cell(2),
                turn.free.nats.cell(2),
                turn.steered.nats.cell(2),
                turn.random.nats.cell(2),
                Cell::text(turn.steered.example.chars().take(80).collect::<String>()),
            ]
        };
        let columns = [
            "direction",
            "wanted, as it is",
            "wanted, steered",
            "wanted, random",
            "own, steered",
            "nats, as it is",
            "nats, steered",
            "nats, random",
            "steered, for example",
        ];
        let columns = columns.into_iter().map(Column::new).collect();
        let judge = self.languages.iter().zip(&self.judge).map(|(name, right)| vec![Cell::text(name), right.cell(3)]);
        vec![
            Block::heading("Steering"),
            Block::text(format!(
                "The network continues {} texts of every language for {} tokens, while the neurons of another language are set \
                 to {} times their mean there and those of the prompt's language to zero.",
                self.helm.prompts, self.helm.written, self.helm.factor
            )),
            summary,
            table(
                &["share in the wanted language", "steered less random, mean over directions"],
                vec![vec![Cell::text("gain by language neurons"), self.gain().cell(digits)]],
            ),
            heat("Steered by language neurons", |t| &t.steered),
            heat("Steered by random neurons: the control", |t| &t.random),
            Block::Table(Table { columns, rows: self.turns.iter().map(line).collect() }),
            table(&["real texts of", "share that the judge tells"], judge.collect()),
        ]
    }
}
