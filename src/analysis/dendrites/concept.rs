//! Segments on a transformer's MLP: the same neuron listens to the most active neurons of a layer, and its false positives
//! are counted against the formula, which holds for random codes.
//!
//! Cells are a layer's neurons, active the k largest of `mlp.hook_post` at a token. A segment knows what was active at one
//! token ([`Code::Moment`]) or the neurons that a language raises most ([`Code::Language`]); an event is a spike at a token
//! of another language, in paragraphs that no pattern was taken from. Two controls say where an excess comes from: the
//! same tokens with every neuron's activity dealt out anew among those of its language (rates stay, what goes together is
//! lost), and random codes of the same k, where the formula must hold.

use serde::{Deserialize, Serialize};

use super::simulate::record;
use super::theory;
use crate::Result;
use crate::analysis::Corpus;
use crate::analysis::measure::Estimate;
use crate::data::TextSet;
use crate::hook::random::{self, Stream};
use crate::hook::{Output, Pass, Plan, Record, Registry, Tap, Values};
use crate::models::dendrites::shown;
use crate::models::{Dendrites, DendritesConfig, Input, Model, Network, State};

/// Share of a layer's neurons that is active.
const ACTIVE: f64 = 0.05;
/// Synapses of a segment.
const SYNAPSES: usize = 20;
/// Tokens of a window, and cells of a batch.
const WINDOW: usize = 128;
const CELLS: usize = 2048;
/// Tokens that the neuron is shown in one run.
const STEPS: usize = 1000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Paragraphs of each language, every other one for the patterns; all of them if `None`.
    pub texts: Option<usize>,
    /// Segments per language.
    pub segments: usize,
    /// Every layer; the middle one else.
    pub every_layer: bool,
}

/// What a segment knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The active neurons of one token.
    Moment,
    /// The neurons whose rate in a language is most above that in the others.
    Language,
}

/// False positives at a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtThreshold {
    /// The threshold.
    pub theta: usize,
    /// P_fp of a random code.
    pub predicted: f64,
    /// Share of (segment, token of another language) that spikes; interval over paragraphs.
    pub measured: Estimate,
    /// The same where only the rates are kept.
    pub rates: f64,
    /// The same of random codes: what the formula is about. Interval over paragraphs.
    pub random: Estimate,
    /// Share of (segment, token of its own language) that spikes.
    pub own: f64,
}

impl AtThreshold {
    /// Measured over predicted.
    pub fn ratio(&self) -> f64 {
        self.measured.value / self.predicted
    }
}

/// What a layer's segments do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Concept {
    /// Whose layer.
    pub model: String,
    /// Which one.
    pub layer: usize,
    /// What they know.
    pub code: Code,
    /// n: neurons of the layer.
    pub cells: usize,
    /// a: active ones.
    pub active: usize,
    /// Tokens that were asked about.
    pub tokens: usize,
    /// Thresholds, ascending.
    pub thresholds: Vec<AtThreshold>,
}

/// The most active neurons at a token.
struct Token {
    language: usize,
    /// Number of its paragraph, over all languages.
    text: usize,
    /// Whether patterns are taken from its paragraph.
    learned: bool,
    active: Vec<u32>,
}

/// Segments on the layers of a model, `name`, for texts of several languages.
pub fn concepts(name: &str, model: &Model, sets: &[TextSet], asked: &Question, seed: u64) -> Result<Vec<Concept>> {
    let layers = model.decoder.facts().layers.len();
    let layers: Vec<usize> = if asked.every_layer { (0..layers).collect() } else { vec![layers / 2] };
    let mut found = Vec::new();
    for (layer, tokens) in layers.iter().zip(active(model, sets, asked, &layers)?) {
        let seed = random::key(seed, &[random::name(name), *layer as u64]);
        for code in [Code::Moment, Code::Language] {
            let cells = model.decoder.facts().d_mlp;
            let patterns = code.patterns(&tokens, sets.len(), asked.segments, cells, seed);
            found.push(Concept {
                model: name.to_string(),
                layer: *layer,
                code,
                ..ask(patterns, &tokens, cells, seed)?
            });
        }
    }
    Ok(found)
}

/// Active neurons at every token that counts, layer by layer.
fn active(model: &Model, sets: &[TextSet], asked: &Question, layers: &[usize]) -> Result<Vec<Vec<Token>>> {
    let net = &model.decoder;
    let sites: Vec<String> = layers.iter().map(|l| format!("blocks.{l}.mlp.hook_post")).collect();
    let records = sites.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<Vec<_>>>()?;
    let pass = Pass { records, output: Output::Unread, ..Pass::default() };
    let k = (ACTIVE * net.facts().d_mlp as f64).round() as usize;
    let mut all: Vec<Vec<Token>> = layers.iter().map(|_| Vec::new()).collect();
    let mut before = 0;
    for (language, set) in sets.iter().enumerate() {
        let texts = &set.texts[..asked.texts.unwrap_or(usize::MAX).min(set.texts.len())];
        let corpus = Corpus::of_texts(model, texts, WINDOW)?;
        for batch in corpus.batches(CELLS) {
            let (windows, batch) = batch?;
            let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
            net.forward(&Input::Tokens(batch.clone()), &mut State::none(), &mut Tap::new(&mut plan))?;
            let records = plan.records(net.sites())?;
            for (site, tokens) in sites.iter().zip(&mut all) {
                let post: Vec<Vec<f32>> = records.get(site)?.flatten(0, 1)?.to_vec2()?; // [row * pos, neuron]
                for (place, post) in post.iter().enumerate() {
                    let text = corpus.windows[windows.start + place / batch.pos].text;
                    if batch.real[place] && corpus.counts(batch.ids[place]) {
                        let active = largest(post, k);
                        tokens.push(Token { language, text: before + text, learned: text % 2 == 0, active });
                    }
                }
            }
        }
        before += texts.len();
    }
    Ok(all)
}

/// The k largest entries, the first of equals first.
fn largest(values: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b)));
    order.truncate(k);
    order
}

impl Code {
    /// What `each` segments of every language know, language by language.
    fn patterns(self, tokens: &[Token], languages: usize, each: usize, cells: usize, seed: u64) -> Vec<Vec<u32>> {
        let mut draw = Stream::new(seed, &[random::name("moments")]);
        let learned = |language: usize| tokens.iter().filter(move |t| t.learned && t.language == language);
        let rates: Vec<Vec<f64>> = (0..languages).map(|l| rates(learned(l), cells)).collect();
        let of_language = |language: usize| -> Vec<Vec<u32>> {
            match self {
                Self::Moment => {
                    let own: Vec<&Token> = learned(language).collect();
                    (0..each).map(|_| own[draw.below(own.len())].active.clone()).collect()
                }
                Self::Language => {
                    let others = (languages - 1).max(1) as f64;
                    let lift = |cell: usize| {
                        let all: f64 = rates.iter().map(|r| r[cell]).sum();
                        let own = rates[language][cell];
                        (own - (all - own) / others) as f32
                    };
                    let k = (ACTIVE * cells as f64).round() as usize;
                    vec![largest(&(0..cells).map(lift).collect::<Vec<_>>(), k); each]
                }
            }
        };
        (0..languages).flat_map(of_language).collect()
    }
}

/// How often each neuron is active.
fn rates<'a>(tokens: impl Iterator<Item = &'a Token>, cells: usize) -> Vec<f64> {
    let (mut counts, mut n) = (vec![0.0; cells], 0.0);
    for token in tokens {
        token.active.iter().for_each(|c| counts[*c as usize] += 1.0);
        n += 1.0;
    }
    counts.iter().map(|c| c / f64::max(n, 1.0)).collect()
}

/// Counts spikes of segments that know these patterns; model, layer and code are left blank.
fn ask(patterns: Vec<Vec<u32>>, tokens: &[Token], cells: usize, seed: u64) -> Result<Concept> {
    let active = patterns.first().map_or(0, Vec::len);
    let config = DendritesConfig {
        cells,
        active,
        segments: patterns.len(),
        synapses: SYNAPSES.min(active),
        seed,
        ..DendritesConfig::default()
    };
    let net = Dendrites::on(config, patterns)?;
    let asked: Vec<&Token> = tokens.iter().filter(|t| !t.learned).collect();
    let languages = tokens.iter().map(|t| t.language + 1).max().unwrap_or(1);
    let each = config.segments / languages;
    let natural: Vec<Vec<u32>> = asked.iter().map(|t| t.active.clone()).collect();
    let dealt = deal(&asked, languages, cells, seed);
    let mut draw = Stream::new(seed, &[random::name("random codes")]);
    let mut all: Vec<u32> = (0..cells as u32).collect();
    let drawn: Vec<Vec<u32>> = asked.iter().map(|_| draw.subset(&mut all, active).to_vec()).collect();
    let counted = [&natural, &dealt, &drawn].map(|codes| overlaps(&net, codes, &asked, each, seed));
    let [natural, dealt, drawn] = counted;
    let (natural, dealt, drawn) = (natural?, dealt?, drawn?);
    let at = |theta: usize| {
        let predicted = theory::false_positive(cells, active as f64, config.synapses, theta);
        // What goes together within a token goes together within a paragraph: segments of a language share cells.
        let over_texts = |of: &Overlaps| {
            let units: Vec<(f64, f64)> = of.others.iter().map(|text| share(text, theta)).collect();
            Estimate::ratio(&units, seed)
        };
        let own = share(&natural.own, theta);
        AtThreshold {
            theta,
            predicted,
            measured: over_texts(&natural),
            rates: over_texts(&dealt).value,
            random: over_texts(&drawn),
            own: own.0 / own.1,
        }
    };
    let thresholds = (2..=14.min(config.synapses)).map(at).collect();
    let tokens = asked.len();
    Ok(Concept { model: String::new(), layer: 0, code: Code::Moment, cells, active, tokens, thresholds })
}

/// How often each overlap occurred, `[synapses + 1]`.
struct Overlaps {
    /// Paragraph by paragraph, segments of other languages.
    others: Vec<Vec<u64>>,
    /// Segments of a token's own language.
    own: Vec<u64>,
}

/// Overlaps from the threshold on, and all.
fn share(counts: &[u64], theta: usize) -> (f64, f64) {
    (counts[theta..].iter().sum::<u64>() as f64, counts.iter().sum::<u64>() as f64)
}

/// Shows codes to the neuron, one per token.
fn overlaps(net: &Dendrites, codes: &[Vec<u32>], tokens: &[&Token], each: usize, seed: u64) -> Result<Overlaps> {
    let config = net.config();
    let empty = || vec![0; config.synapses + 1];
    let texts = tokens.iter().map(|t| t.text + 1).max().unwrap_or(0);
    let mut found = Overlaps { others: (0..texts).map(|_| empty()).collect(), own: empty() };
    for (codes, tokens) in codes.chunks(STEPS).zip(tokens.chunks(STEPS)) {
        let input = Input::Series(shown(config.cells, codes.iter().map(Vec::as_slice)));
        let recorded = record(net, &input, &mut State::none(), Vec::new(), "dendrite.hook_overlap", seed)?;
        for (overlaps, token) in recorded.iter().zip(tokens) {
            for (segment, overlap) in overlaps.iter().enumerate() {
                let own = segment / each == token.language;
                let counts = if own { &mut found.own } else { &mut found.others[token.text] };
                counts[*overlap as usize] += 1;
            }
        }
    }
    Ok(found)
}

/// Every neuron's activity dealt out anew among the tokens of each language.
fn deal(tokens: &[&Token], languages: usize, cells: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut draw = Stream::new(seed, &[random::name("deal")]);
    let mut codes = vec![Vec::new(); tokens.len()];
    for language in 0..languages {
        let mut own: Vec<usize> = (0..tokens.len()).filter(|t| tokens[*t].language == language).collect();
        let mut counts = vec![0; cells];
        own.iter().flat_map(|t| &tokens[*t].active).for_each(|c| counts[*c as usize] += 1);
        for (cell, count) in counts.iter().enumerate() {
            draw.subset(&mut own, *count).iter().for_each(|t| codes[*t].push(cell as u32));
        }
    }
    codes
}
