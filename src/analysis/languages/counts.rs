//! Firing counts per language: from a corpus in one pass, from an atlas, or from a file that somebody else made.
//!
//! In a file (safetensors): `counts` `[K, L, M]` (tokens at which a neuron's gate was positive) and `tokens` `[K]`,
//! 64-bit integers, with the names of the languages in the metadata (`languages`, a JSON list or words separated by
//! commas). With `prompt_counts` and `prompt_tokens` of the same shapes, those of the prompts alone, only what follows
//! the prompts counts: `max(counts - prompt_counts, 0)` over `max(tokens - prompt_tokens, 1)`. A file that was written
//! here also holds `part_counts` `[K, G, L, M]` and `part_tokens` `[K, G]`: the same counts by parts of the documents,
//! which the permutation null shuffles.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use crate::analysis::scan;
use crate::hook::reduce::Reducer;
use crate::store::atlas::ARRAYS;
use crate::store::{ElementType, Source, WeightFile, write_safetensors};
use crate::{Error, Result};

/// Languages of a file with more tokens than this times those of another cannot be compared.
const UNEQUAL: u64 = 10;

/// A count above this is damage; sums of counts stay exact below it, also as floating-point numbers.
const MOST_COUNTED: u64 = 1 << 53;

/// Most languages: bits of what an assignment is counted in.
pub(super) const MOST: usize = 64;

/// Some of a language's documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Tokens counted.
    pub tokens: u64,
    /// At how many of them each neuron fired, `[L * M]`, layer by layer.
    pub fired: Vec<u64>,
}

impl Part {
    /// Nothing yet.
    pub fn empty(units: usize) -> Self {
        Self { tokens: 0, fired: vec![0; units] }
    }

    /// Takes in other tokens.
    pub fn add(&mut self, other: &Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.fired.iter_mut().zip(&other.fired).for_each(|(a, b)| *a = a.saturating_add(*b));
    }
}

/// How often every neuron fired in every language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The languages, K of them.
    pub languages: Vec<String>,
    /// Blocks, L.
    pub layers: usize,
    /// Neurons of a block, M.
    pub neurons: usize,
    /// Identity (sha256) of the model, where it is known.
    pub model: Option<String>,
    /// By language: parts of its documents, each document in one of them; one part where they are not kept apart.
    pub parts: Vec<Vec<Part>>,
}

impl Counts {
    /// Neurons of all blocks.
    pub fn units(&self) -> usize {
        self.layers * self.neurons
    }

    /// Counts of a whole language.
    pub fn whole(&self, language: usize) -> Part {
        let mut whole = Part::empty(self.units());
        self.parts[language].iter().for_each(|part| whole.add(part));
        whole
    }

    /// Tokens of every language.
    pub fn tokens(&self) -> Vec<u64> {
        self.parts.iter().map(|parts| parts.iter().fold(0, |sum: u64, p| sum.saturating_add(p.tokens))).collect()
    }

    /// Refuses counts that languages cannot be compared by.
    ///
    /// # Errors
    /// Fewer than two languages or more than 64, one without tokens, very unequal numbers of tokens.
    pub fn check(&self) -> Result<()> {
        let k = self.languages.len();
        if !(2..=MOST).contains(&k) {
            return Err(Error::invalid(
                format!("{k} languages, expected 2 to {MOST}"),
                "give a file of texts for each of several languages",
            ));
        }
        if let Some(i) = (1..k).find(|i| self.languages[..*i].contains(&self.languages[*i])) {
            let what = format!("the language `{}` is there twice", self.languages[i]);
            return Err(Error::invalid(what, "give every language a name of its own"));
        }
        let tokens = self.tokens();
        let least = (0..k).min_by_key(|i| tokens[*i]).unwrap_or(0);
        let most = (0..k).max_by_key(|i| tokens[*i]).unwrap_or(0);
        let names = [least, most].map(|i| &self.languages[i]);
        if tokens[least] == 0 {
            return Err(Error::invalid(
                format!("no token of the language `{}` was counted", names[0]),
                "give it texts, or leave it out",
            ));
        }
        if tokens[most] > UNEQUAL.saturating_mul(tokens[least]) {
            return Err(Error::invalid(
                format!(
                    "{} tokens of `{}` were counted, but only {} of `{}`: more than {UNEQUAL} times as many",
                    tokens[most], names[1], tokens[least], names[0]
                ),
                "count about as many tokens of every language (`optrode languages MODEL TEXTS` does)",
            ));
        }
        Ok(())
    }

    /// Refuses counts that were made with another network.
    ///
    /// # Errors
    /// Other sizes, or another identity where both are known.
    pub fn check_model(&self, layers: usize, neurons: usize, sha256: &str) -> Result<()> {
        if (self.layers, self.neurons) != (layers, neurons) {
            return Err(Error::invalid(
                format!(
                    "the counts are of {} layers of {} neurons, the model has {layers} of {neurons}",
                    self.layers, self.neurons
                ),
                "name the model that was counted, or none",
            ));
        }
        match &self.model {
            Some(model) if model != sha256 => Err(Error::invalid(
                format!("the counts are of the model {model}, this one is {sha256}"),
                "name the model that was counted, or none",
            )),
            _ => Ok(()),
        }
    }

    /// Takes in the counts of other documents: part by part, so that the order of files does not matter.
    ///
    /// # Errors
    /// Other languages, sizes or another model; then nothing has changed.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        let differs = |what: &str, here: String, there: String| {
            Err(Error::invalid(
                format!("counts of {what} {here} cannot be merged with those of {there}"),
                "merge counts of the same model and languages",
            ))
        };
        if self.languages != other.languages {
            return differs("the languages", self.languages.join(", "), other.languages.join(", "));
        }
        let sizes = |counts: &Self| format!("{} x {}", counts.layers, counts.neurons);
        if sizes(self) != sizes(&other) {
            return differs("layers x neurons", sizes(self), sizes(&other));
        }
        if let (Some(a), Some(b)) = (&self.model, &other.model)
            && a != b
        {
            return differs("the model", a.clone(), b.clone());
        }
        self.model = self.model.take().or(other.model);
        for (own, more) in self.parts.iter_mut().zip(other.parts) {
            for (i, part) in more.into_iter().enumerate() {
                match own.get_mut(i) {
                    Some(own) => own.add(&part),
                    None => own.push(part),
                }
            }
        }
        Ok(())
    }

    /// Counts from a file, or those that a scan made: the folder of an atlas whose groups are the languages.
    ///
    /// # Errors
    /// A file that is missing, damaged, of other shapes or types, or without names; counts that cannot be.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() { of_atlas(path) } else { of_file(path) }
    }

    /// Writes them to a file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (k, l, m) = (self.languages.len(), self.layers, self.neurons);
        let integers = |values: Vec<u64>, shape: &[usize]| -> Result<Source> {
            let values: Vec<i64> = values.into_iter().map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
            Ok(Source::Tensor(Tensor::from_vec(values, shape, &Device::Cpu)?))
        };
        let whole = (0..k).flat_map(|i| self.whole(i).fired).collect();
        let mut tensors = vec![
            ("counts".to_string(), integers(whole, &[k, l, m])?),
            ("tokens".to_string(), integers(self.tokens(), &[k])?),
        ];
        let g = self.parts.iter().map(Vec::len).max().unwrap_or(0);
        if g > 1 {
            let nothing = Part::empty(self.units());
            let part = |i: usize, j: usize| self.parts[i].get(j).unwrap_or(&nothing);
            let all: Vec<&Part> = (0..k).flat_map(|i| (0..g).map(move |j| part(i, j))).collect();
            let fired = all.iter().flat_map(|p| p.fired.iter().copied()).collect();
            tensors.push(("part_counts".to_string(), integers(fired, &[k, g, l, m])?));
            tensors.push(("part_tokens".to_string(), integers(all.iter().map(|p| p.tokens).collect(), &[k, g])?));
        }
        let mut metadata = BTreeMap::from([("languages".to_string(), json!(self.languages).to_string())]);
        metadata.extend(self.model.iter().map(|sha256| ("model".to_string(), sha256.clone())));
        write_safetensors(path, &tensors, &metadata)
    }
}

/// Counts from a safetensors file.
fn of_file(path: &Path) -> Result<Counts> {
    let file = WeightFile::open(path)?;
    let shape = |name: &str| file.info(name).map(|info| info.shape.clone());
    let wrong = |what: String| {
        Error::file(path, what, "counts are `counts` [K, L, M] and `tokens` [K], i64, with `languages` in the metadata")
    };
    let Some(&[k, l, m]) = shape("counts").as_deref() else {
        let there: Vec<String> =
            file.names().map(|name| format!("`{name}` {:?}", shape(name).unwrap_or_default())).take(8).collect();
        return Err(wrong(format!("no tensor `counts` of three axes; the file has {}", there.join(", "))));
    };
    if k == 0 || l == 0 || m == 0 {
        return Err(wrong(format!("`counts` is empty: its shape is {:?}", [k, l, m])));
    }
    let languages = names(file.metadata().get("languages"));
    if languages.len() != k {
        let what = format!("the metadata names {} languages, but `counts` has {k}", languages.len());
        return Err(wrong(what));
    }
    let read = |name: &str, expected: &[usize]| -> Result<Vec<u64>> {
        match shape(name) {
            Some(there) if there == expected => {}
            Some(there) => return Err(wrong(format!("`{name}` has the shape {there:?}, expected {expected:?}"))),
            None => return Err(wrong(format!("there is no tensor `{name}`"))),
        }
        let element = file.info(name).map(|info| info.element);
        let possible = |n: u64| match n <= MOST_COUNTED {
            true => Ok(n),
            false => Err(wrong(format!("`{name}` holds the count {n}, more than anybody can have counted"))),
        };
        let mut bytes = Vec::new();
        file.bytes(name, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        let negative = |n: i64| wrong(format!("`{name}` holds the count {n}"));
        let count = |n: i64| u64::try_from(n).map_err(|_| negative(n)).and_then(possible);
        match element {
            Some(ElementType::U64) => bytes.as_chunks().0.iter().map(|b| possible(u64::from_le_bytes(*b))).collect(),
            Some(ElementType::I64) => bytes.as_chunks().0.iter().map(|b| count(i64::from_le_bytes(*b))).collect(),
            Some(ElementType::I32) => {
                bytes.as_chunks().0.iter().map(|b| count(i32::from_le_bytes(*b).into())).collect()
            }
            Some(other) => Err(wrong(format!("`{name}` holds {other:?}, expected integers"))),
            None => Err(wrong(format!("there is no tensor `{name}`"))),
        }
    };
    let part = |counts: &[u64], tokens: u64| Part { tokens, fired: counts.to_vec() };
    let all = |name: &str, tokens: &str, outer: &[usize]| -> Result<Vec<Part>> {
        let (counts, totals) = (read(name, &[outer, &[l, m]].concat())?, read(tokens, outer)?);
        if let Some((at, _)) = counts.iter().enumerate().find(|(i, n)| **n > totals[i / (l * m)]) {
            let what = format!("a neuron of `{name}` fired more often than its language has tokens (element {at})");
            return Err(wrong(what));
        }
        Ok(counts.chunks(l * m).zip(totals).map(|(fired, tokens)| part(fired, tokens)).collect())
    };
    let mut whole = all("counts", "tokens", &[k])?;
    let model = file.metadata().get("model").cloned();
    let parted = shape("part_counts");
    if shape("prompt_counts").is_some() {
        let prompts = all("prompt_counts", "prompt_tokens", &[k])?;
        if let Some(i) = (0..k).find(|i| prompts[*i].tokens > whole[*i].tokens) {
            let what = format!(
                "the prompts of `{}` have {} tokens, more than the {} of prompts and answers together",
                languages[i], prompts[i].tokens, whole[i].tokens
            );
            return Err(wrong(what));
        }
        for (whole, prompts) in whole.iter_mut().zip(prompts) {
            whole.tokens = whole.tokens.saturating_sub(prompts.tokens).max(1);
            whole.fired.iter_mut().zip(&prompts.fired).for_each(|(n, p)| *n = n.saturating_sub(*p));
        }
    } else if let Some(parted) = parted {
        let &[_, g, _, _] = parted.as_slice() else {
            return Err(wrong(format!(
                "`part_counts` has the shape {parted:?}, expected four axes [{k}, G, {l}, {m}]"
            )));
        };
        let parts = all("part_counts", "part_tokens", &[k, g])?;
        let counts =
            Counts { languages, layers: l, neurons: m, model, parts: parts.chunks(g).map(<[_]>::to_vec).collect() };
        if (0..k).any(|i| counts.whole(i) != whole[i]) {
            return Err(wrong("`part_counts` and `part_tokens` do not add up to `counts` and `tokens`".to_string()));
        }
        return Ok(counts);
    }
    Ok(Counts { languages, layers: l, neurons: m, model, parts: whole.into_iter().map(|part| vec![part]).collect() })
}

/// A JSON list, or words separated by commas or spaces.
fn names(text: Option<&String>) -> Vec<String> {
    let text = text.map_or("", String::as_str);
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(list)) => list.iter().filter_map(|name| name.as_str().map(str::to_string)).collect(),
        _ => text.split([',', ' ']).map(str::trim).filter(|w| !w.is_empty()).map(str::to_string).collect(),
    }
}

/// The firing counts of a scan, group by group.
fn of_atlas(folder: &Path) -> Result<Counts> {
    let path = folder.join(ARRAYS);
    let (about, arrays) = scan::open(&path)?;
    let fires = about.watched.iter().filter(|w| w.kind == scan::Kind::Neuron).filter_map(|w| w.fires.as_ref());
    let fires: Vec<&String> = fires.collect();
    let neurons = about.watched.iter().find(|w| w.kind == scan::Kind::Neuron).map_or(0, |w| w.width);
    let mut parts = Vec::new();
    for (group, (_, tokens)) in about.reached.groups.iter().enumerate() {
        let mut part = Part { tokens: *tokens, fired: Vec::with_capacity(fires.len() * neurons) };
        for site in fires.iter().filter(|_| *tokens > 0) {
            match arrays.reducer(&scan::key(site, "firing", group))? {
                Reducer::Firing(firing) if firing.fired().len() == neurons => part.fired.extend(firing.fired()),
                _ => return Err(Error::file(&path, format!("no firing counts of `{site}`"), "scan again")),
            }
        }
        part.fired.resize(fires.len() * neurons, 0);
        parts.push(vec![part]);
    }
    let (languages, model) = (about.job.corpus.groups.clone(), Some(about.job.model.clone()));
    Ok(Counts { languages, layers: fires.len(), neurons, model, parts })
}
