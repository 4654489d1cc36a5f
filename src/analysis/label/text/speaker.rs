//! What the local model says of strings: their log-probability after a prompt, and strings of its own. Keys and values of
//! a prompt are computed once; all candidates are one batch of suffixes.

use candle_core::{DType, Tensor};

use crate::generate::{Generator, Options, Sampler};
use crate::hook::{Output, Pass, Plan, Registry, Tap, Values};
use crate::models::{Input, Model, Network, Side, State, Tokens};
use crate::store::Tokenizer;
use crate::{Error, Result};

/// Most tokens of a string.
pub const LONGEST: usize = 16;

/// A model that is asked.
pub struct Speaker<'m> {
    model: &'m Model,
    tokenizer: &'m Tokenizer,
}

/// A prompt that was read: its keys and values, and what may follow.
pub struct Read {
    state: State,
    /// Log-probabilities of the next token.
    next: Vec<f64>,
}

impl<'m> Speaker<'m> {
    /// Of a model with a tokenizer.
    ///
    /// # Errors
    /// A model without one.
    pub fn new(model: &'m Model) -> Result<Self> {
        Ok(Self { model, tokenizer: model.tokenizer()? })
    }

    /// The tokens of a prompt, special ones in front.
    ///
    /// # Errors
    /// A text that the vocabulary cannot express.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, true)
    }

    /// The tokens of a string after a stem that ends without white space: a space before it, a line break behind it.
    ///
    /// # Errors
    /// A text that the vocabulary cannot express.
    pub fn suffix(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(&format!(" {}\n", text.trim()), false)
    }

    /// Most tokens that the model takes.
    pub fn context(&self) -> usize {
        self.model.decoder.facts().context.unwrap_or(2048)
    }

    /// Tokens that fit behind a prompt of so many.
    pub fn room(&self, prompt: usize) -> usize {
        self.context().saturating_sub(prompt)
    }

    /// Whether a string fits behind a prompt of so many tokens.
    pub fn fits(&self, prompt: usize) -> bool {
        self.room(prompt) >= 4 * LONGEST
    }

    /// Reads a prompt.
    ///
    /// # Errors
    /// A prompt without a token, or longer than the context.
    pub fn read(&self, prompt: &[u32]) -> Result<Read> {
        let mut state = State::cached();
        let logits = self.forward(&[prompt.to_vec()], &mut state, Output::Last)?;
        let next = log_softmax(&logits.squeeze(0)?.squeeze(0)?)?;
        Ok(Read { state, next })
    }

    /// log p of each string after a prompt that was read, in nats: the sum over its tokens.
    ///
    /// # Errors
    /// A string without a token; whatever the network refuses.
    pub fn log_probabilities(&self, read: &Read, strings: &[Vec<u32>]) -> Result<Vec<f64>> {
        if strings.is_empty() {
            return Ok(Vec::new());
        }
        // The last token of a string is only predicted.
        let mut sums = Vec::with_capacity(strings.len());
        for ids in strings {
            sums.push(first(ids).and_then(|id| at(&read.next, id))?);
        }
        let rows: Vec<Vec<u32>> = strings.iter().map(|ids| ids[..ids.len() - 1].to_vec()).collect();
        let longer: Vec<usize> = (0..rows.len()).filter(|r| !rows[*r].is_empty()).collect();
        if longer.is_empty() {
            return Ok(sums);
        }
        let batch: Vec<Vec<u32>> = longer.iter().map(|r| rows[*r].clone()).collect();
        let mut state = read.state.repeated(batch.len())?;
        let logits = self.forward(&batch, &mut state, Output::Whole)?; // [strings, longest, vocab]
        for (row, string) in longer.into_iter().enumerate() {
            let logits = logits.narrow(0, row, 1)?.squeeze(0)?;
            for (i, id) in strings[string].iter().skip(1).enumerate() {
                sums[string] += at(&log_softmax(&logits.narrow(0, i, 1)?.squeeze(0)?)?, *id)?;
            }
        }
        Ok(sums)
    }

    /// The same without a cache: each string in one pass with its prompt. What a cache must not change.
    ///
    /// # Errors
    /// As [`Speaker::log_probabilities`].
    pub fn uncached(&self, prompt: &[u32], strings: &[Vec<u32>]) -> Result<Vec<f64>> {
        let sum = |ids: &Vec<u32>| {
            first(ids)?;
            let whole = [prompt, &ids[..]].concat();
            let logits = self.forward(&[whole], &mut State::none(), Output::Whole)?.squeeze(0)?; // [tokens, vocab]
            let terms = ids
                .iter()
                .enumerate()
                .map(|(i, id)| at(&log_softmax(&logits.narrow(0, prompt.len() - 1 + i, 1)?.squeeze(0)?)?, *id));
            terms.sum::<Result<f64>>()
        };
        strings.iter().map(sum).collect()
    }

    /// log p of a text's own tokens after a prompt, in nats.
    ///
    /// # Errors
    /// As [`Speaker::log_probabilities`].
    pub fn log_probability(&self, read: &Read, ids: &[u32]) -> Result<f64> {
        Ok(self.log_probabilities(read, &[ids.to_vec()])?.first().copied().unwrap_or(f64::NAN))
    }

    /// Log-probabilities of the token after each of these places of a prompt, for these tokens: `[places][tokens]`.
    ///
    /// # Errors
    /// A place beyond the prompt.
    pub fn slots(&self, prompt: &[u32], places: &[usize], tokens: &[u32]) -> Result<Vec<Vec<f64>>> {
        let logits = self.forward(&[prompt.to_vec()], &mut State::none(), Output::Whole)?.squeeze(0)?; // [tokens, vocab]
        let slot = |place: &usize| {
            let next = log_softmax(&logits.narrow(0, *place, 1)?.squeeze(0)?)?;
            tokens.iter().map(|id| at(&next, *id)).collect()
        };
        places.iter().map(slot).collect()
    }

    /// Different strings of the model's own after a prompt: so many draws at a temperature, each up to the first line
    /// break, and the likeliest one.
    ///
    /// # Errors
    /// Whatever the generation refuses.
    pub fn strings(&self, prompt: &[u32], draws: usize, temperature: f64, seed: u64) -> Result<Vec<String>> {
        let (pass, registry) = (Pass::default(), Registry::elementary());
        let generator =
            Generator { net: &self.model.decoder, pass: &pass, registry: &registry, values: Values::default() };
        let options = |sampler| Options {
            max_new_tokens: LONGEST,
            sampler,
            seed,
            stop: self.model.eos(),
            context: Some(self.context()),
            ..Options::default()
        };
        let draw = Sampler::Random { temperature, top_k: None, top_p: None };
        let mut rows = Vec::new();
        for (sampler, n) in [(Sampler::Greedy, 1), (draw, draws)] {
            if n > 0 {
                let prompts = Tokens::from_rows(&vec![prompt.to_vec(); n], Side::Right, self.model.pad())?;
                rows.extend(generator.run(&prompts, &options(sampler), &mut |_, _| {})?.rows);
            }
        }
        let mut strings: Vec<String> = Vec::new();
        for row in rows {
            let text = self.tokenizer.decode(&row, true)?;
            let line = clean(text.lines().next().unwrap_or_default());
            if !line.is_empty() && !strings.contains(&line) {
                strings.push(line);
            }
        }
        Ok(strings)
    }

    fn forward(&self, rows: &[Vec<u32>], state: &mut State, output: Output) -> Result<Tensor> {
        let net = &self.model.decoder;
        let tokens = Tokens::from_rows(rows, Side::Right, self.model.pad())?;
        let pass = Pass { output, ..Pass::default() };
        let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[])?;
        Ok(net.forward(&Input::Tokens(tokens), state, &mut Tap::new(&mut plan))?.to_dtype(DType::F32)?)
    }
}

/// A string as a label: one line of printable characters.
pub fn clean(text: &str) -> String {
    let bare = text.replace("<<", " ").replace(">>", " ");
    let words: Vec<&str> = bare.split(|c: char| c.is_control() || c.is_whitespace() || c == '\u{fffd}').collect();
    let line = words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect::<String>().trim_matches(['"', '\'', '.', ' ']).to_string()
}

fn first(ids: &[u32]) -> Result<u32> {
    ids.first().copied().ok_or_else(|| Error::invalid("a string without a token has no probability", "give text"))
}

fn at(values: &[f64], id: u32) -> Result<f64> {
    values.get(id as usize).copied().ok_or_else(|| {
        Error::invalid(format!("token id {id} is beyond the vocabulary of {}", values.len()), "check the tokenizer")
    })
}

fn log_softmax(logits: &Tensor) -> Result<Vec<f64>> {
    let logits = logits.to_vec1::<f32>()?;
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    Ok(logits.iter().map(|x| f64::from(x - most) - total.ln()).collect())
}
