//! Path patching: what a head does through one later reader (Wang 2022; Goldowsky-Dill 2023).
//!
//! Four passes: the corrupted run; the clean run; the clean run with every head's z held at its clean value (and every
//! MLP's output, in the strict form) but the sender's, which is corrupted; and the clean run in which the receiver alone
//! reads what it read there. The *edge* form adds to what the receiver reads in the last pass the change of what it read in
//! the third one, so that the edges of a sender add up to activation patching; the *replacement* form cuts indirect effects.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::analysis::heads::{Reader, check_head};
use crate::analysis::patching::Pair;
use crate::analysis::registry;
use crate::hook::{Edit, Output, Pass, Run};
use crate::models::{Decoder, Input, Job, Network, Side, Tokens, execute};
use crate::report::number;
use crate::{Error, Result};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Receiver {
    /// The last norm and the unembedding.
    Logits,
    /// Queries, keys or values of a head. Keys and values are those of all heads that share them.
    Head {
        /// Its layer.
        layer: usize,
        /// Its number among the query heads.
        head: usize,
        /// What of it.
        reader: Reader,
    },
}

impl FromStr for Receiver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let reader = |word: &str| Reader::ALL.into_iter().find(|r| r.name() == word);
        match parts.as_slice() {
            ["logits"] => Ok(Self::Logits),
            [layer, head, word] => match (layer.parse(), head.parse(), reader(word)) {
                (Ok(layer), Ok(head), Some(reader)) => Ok(Self::Head { layer, head, reader }),
                _ => Err(unread(text)),
            },
            _ => Err(unread(text)),
        }
    }
}

fn unread(text: &str) -> Error {
    Error::invalid(format!("cannot read the receiver `{text}`"), "give `logits`, or LAYER.HEAD.q, .k or .v: `5.2.k`")
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Logits => f.write_str("logits"),
            Self::Head { layer, head, reader } => write!(f, "{layer}.{head}.{}", reader.name()),
        }
    }
}

impl TryFrom<String> for Receiver {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Receiver> for String {
    fn from(receiver: Receiver) -> Self {
        receiver.to_string()
    }
}

/// How the receiver's input changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathForm {
    /// It becomes what it was on the frozen path.
    #[default]
    Replace,
    /// The change on the frozen path is added to it.
    Edge,
}

/// The effects of all senders on one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paths {
    /// Who reads.
    pub receiver: Receiver,
    /// How.
    pub form: PathForm,
    /// MLPs are held as well.
    pub strict: bool,
    /// Mean logit difference of the clean runs.
    #[serde(with = "number")]
    pub clean: f64,
    /// Of the corrupted ones.
    #[serde(with = "number")]
    pub corrupted: f64,
    /// Layer by layer, head by head: the share of the logit difference that goes; 0 at and after the receiver.
    #[serde(with = "number::nested")]
    pub effect: Vec<Vec<f64>>,
}

/// The passes `corrupted`, `clean`, `path` and `final` for one sender.
///
/// # Errors
/// A head that the network lacks.
pub fn path_run(
    net: &Decoder,
    sender: (usize, usize),
    receivers: &[Receiver],
    form: PathForm,
    strict: bool,
) -> Result<Run> {
    let facts = net.facts();
    let from = |pass: &str, site: &str| json!({ "pass": pass, "site": site });
    let replace = |at: String, pass: &str, site: &str| -> Result<Edit> {
        Ok(Edit::new(at.parse()?, "replace").with("value", from(pass, site)))
    };
    let mut frozen = Vec::new();
    for layer in 0..facts.layers.len() {
        let z = format!("blocks.{layer}.attn.hook_z");
        frozen.push(replace(z.clone(), "clean", &z)?);
        if layer == sender.0 {
            frozen.push(replace(format!("{z}[head={}]", sender.1), "corrupted", &z)?);
        }
        if strict {
            let mlp = format!("blocks.{layer}.hook_mlp_out");
            frozen.push(replace(mlp.clone(), "clean", &mlp)?);
        }
    }
    let mut last = Vec::new();
    for receiver in receivers {
        let (site, at) = match *receiver {
            Receiver::Logits => {
                let site = format!("blocks.{}.hook_resid_post", facts.layers.len() - 1);
                (site.clone(), site)
            }
            Receiver::Head { layer, head, reader } => {
                let site = format!("blocks.{layer}.hook_{}_input", reader.name());
                let group = facts.n_heads / facts.n_kv_heads;
                let at = match reader {
                    Reader::Q => format!("{site}[head={head}]"),
                    _ => format!("{site}[kv_head={}]", head / group),
                };
                (site, at)
            }
        };
        match form {
            PathForm::Replace => last.push(replace(at, "path", &site)?),
            PathForm::Edge => {
                let add = |pass: &str, sign: f64| -> Result<Edit> {
                    Ok(Edit::new(at.parse()?, "add").with("value", from(pass, &site)).with("coefficient", sign))
                };
                last.extend([add("path", 1.0)?, add("clean", -1.0)?]);
            }
        }
    }
    for edit in frozen.iter().chain(&last) {
        edit.site.resolve(net.sites())?;
    }
    let pass =
        |name: &str, edits: Vec<Edit>| Pass { name: name.into(), edits, output: Output::Last, ..Pass::default() };
    let passes = vec![pass("corrupted", vec![]), pass("clean", vec![]), pass("path", frozen), pass("final", last)];
    Ok(Run { passes })
}

/// Path patching of every head before the receiver, over all pairs.
///
/// # Errors
/// No pair, prompts of unequal length, answers that tell nothing apart, a receiver that the network lacks.
pub fn paths(net: &Decoder, pairs: &[Pair], receiver: Receiver, form: PathForm, strict: bool) -> Result<Paths> {
    let facts = net.facts();
    if pairs.is_empty() {
        return Err(Error::invalid("no pair of prompts was given", "give a clean and a corrupted prompt"));
    }
    if let Some(at) = pairs.iter().position(|p| p.clean.len() != p.corrupted.len()) {
        return Err(Error::invalid(
            format!("pair {at} (counted from 0) has prompts of unequal length in tokens"),
            "a patch takes each position from the same position: give prompts of equal length",
        ));
    }
    let end = match receiver {
        Receiver::Logits => facts.layers.len(),
        Receiver::Head { layer, head, .. } => {
            check_head(net, layer, head)?;
            layer
        }
    };
    let registry = registry();
    let difference = |pair: &Pair, logits: &candle_core::Tensor| -> Result<f64> {
        let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        let at = |id: u32| {
            logits.get(id as usize).map(|x| f64::from(*x)).ok_or_else(|| {
                Error::invalid(
                    format!("the answer {id} is beyond the vocabulary"),
                    "the ids come from another tokenizer",
                )
            })
        };
        Ok(at(pair.correct)? - at(pair.wrong)?)
    };
    let (mut clean, mut corrupted) = (0.0, 0.0);
    let mut effect = vec![vec![0.0; facts.n_heads]; facts.layers.len()];
    let senders = (0..end.max(1)).flat_map(|layer| (0..facts.n_heads).map(move |head| (layer, head)));
    for (layer, head) in senders {
        let run = path_run(net, (layer, head), &[receiver], form, strict)?;
        for pair in pairs {
            let input =
                |ids: &[u32]| Ok::<_, Error>(Input::Tokens(Tokens::from_rows(&[ids.to_vec()], Side::Right, 0)?));
            let own = input(&pair.clean)?;
            let inputs = [input(&pair.corrupted)?, own.clone(), own.clone(), own];
            let job = Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
            let outcome = execute(net, job)?;
            let ld = |pass: &str| difference(pair, &outcome.pass(pass)?.output);
            if (layer, head) == (0, 0) {
                clean += ld("clean")?;
                corrupted += ld("corrupted")?;
            }
            effect[layer][head] += ld("clean")? - ld("final")?;
        }
    }
    let span = clean - corrupted;
    if span.is_nan() || span.abs() <= 1e-6 {
        return Err(Error::invalid(
            "the answers do not tell the prompts apart",
            "give prompts that this model answers differently, and answers that differ",
        ));
    }
    effect.iter_mut().flatten().for_each(|x| *x /= span);
    let n = pairs.len() as f64;
    Ok(Paths { receiver, form, strict, clean: clean / n, corrupted: corrupted / n, effect })
}
