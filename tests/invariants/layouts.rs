//! The ways in which the same texts can be given to a network, and a view of the results that does not depend on them.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Axis, Pass, Recorded, Records, Tap};
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};

use crate::common::{plan, relative};

/// A prompt and what follows it.
#[derive(Clone, Debug)]
pub struct Text {
    pub prompt: Vec<u32>,
    pub generated: Vec<u32>,
}

impl Text {
    fn whole(&self) -> Vec<u32> {
        [self.prompt.as_slice(), &self.generated].concat()
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// One call, padding before the texts.
    Left,
    /// One call, padding after the texts.
    Right,
    /// One call, padding on both sides of every text.
    Both,
    /// The prompts in one call, then token by token.
    Cached(Side),
    /// The prompts in two calls, then token by token.
    Chunked(Side, usize),
}

/// The texts in one call; what counts as prompt is said.
pub fn together(texts: &[Text], side: Side) -> Tokens {
    let rows: Vec<Vec<u32>> = texts.iter().map(Text::whole).collect();
    let pad = if side == Side::Left { 7 } else { 4000 };
    let prompt = texts.iter().map(|t| t.prompt.len() as u32).collect();
    Tokens { prompt, ..Tokens::from_rows(&rows, side, pad).unwrap() }
}

/// Row `row` of the corpus by itself.
pub fn alone(texts: &[Text], row: usize) -> Tokens {
    Tokens { documents: vec![row as u64], ..together(&texts[row..=row], Side::Left) }
}

fn columns(tokens: &Tokens, from: usize, to: usize) -> Tokens {
    fn cut<T: Copy>(all: &[T], pos: usize, from: usize, to: usize) -> Vec<T> {
        all.chunks(pos).flat_map(|row| row[from..to].to_vec()).collect()
    }
    Tokens {
        pos: to - from,
        ids: cut(&tokens.ids, tokens.pos, from, to),
        real: cut(&tokens.real, tokens.pos, from, to),
        ..tokens.clone()
    }
}

fn padded_more(tokens: &Tokens, before: usize, after: usize) -> Tokens {
    fn widen<T: Copy>(all: &[T], pos: usize, fill: T, before: usize, after: usize) -> Vec<T> {
        let row = |row: &[T]| [&vec![fill; before], row, &vec![fill; after]].concat();
        all.chunks(pos).flat_map(row).collect()
    }
    Tokens {
        pos: tokens.pos + before + after,
        ids: widen(&tokens.ids, tokens.pos, 9, before, after),
        real: widen(&tokens.real, tokens.pos, false, before, after),
        ..tokens.clone()
    }
}

impl Layout {
    /// The forward calls that this layout makes of the texts.
    pub fn calls(self, texts: &[Text]) -> Vec<Tokens> {
        let (side, chunk) = match self {
            Self::Left => return vec![together(texts, Side::Left)],
            Self::Right => return vec![together(texts, Side::Right)],
            Self::Both => return vec![padded_more(&together(texts, Side::Left), 1, 2)],
            Self::Cached(side) => (side, 0),
            Self::Chunked(side, chunk) => (side, chunk),
        };
        let bare = |t: &Text| Text { prompt: t.prompt.clone(), generated: Vec::new() };
        let mut prefill = together(&texts.iter().map(bare).collect::<Vec<_>>(), side);
        let chunk = chunk % prefill.pos;
        let mut calls = if chunk > 0 {
            vec![columns(&prefill, 0, chunk), columns(&prefill, chunk, prefill.pos)]
        } else {
            prefill.prompt.clear();
            vec![prefill.clone()]
        };
        let steps = texts.iter().map(|t| t.generated.len()).max().unwrap_or(0);
        for step in 0..steps {
            let token = |t: &Text| t.generated.get(step).copied();
            let ids: Vec<u32> = texts.iter().map(|t| token(t).unwrap_or(11)).collect();
            let real: Vec<bool> = texts.iter().map(|t| token(t).is_some()).collect();
            calls.push(prefill.next(&ids, &real));
        }
        calls
    }
}

/// What the calls gave, joined along the positions.
pub struct Trace {
    pub logits: Tensor,
    pub records: Records,
    /// For each row the columns of its real tokens.
    columns: Vec<Vec<u32>>,
}

/// Runs the calls with one plan; several calls share a cache.
pub fn trace(net: &Decoder, calls: &[Tokens], pass: &Pass, stored: &BTreeMap<String, Tensor>) -> Trace {
    let mut plan = plan(net, pass, stored);
    let mut state = if calls.len() > 1 { State::cached() } else { State::none() };
    let mut logits = Vec::new();
    let mut columns = vec![Vec::new(); calls[0].rows];
    let mut start = 0;
    for call in calls {
        let input = Input::Tokens(call.clone());
        logits.push(net.forward(&input, &mut state, &mut Tap::new(&mut plan)).unwrap());
        for (row, columns) in columns.iter_mut().enumerate() {
            let real = &call.real[row * call.pos..(row + 1) * call.pos];
            columns.extend((0..call.pos).filter(|c| real[*c]).map(|c| (start + c) as u32));
        }
        start += call.pos;
    }
    Trace { logits: Tensor::cat(&logits, 1).unwrap(), records: plan.records(net.sites()).unwrap(), columns }
}

impl Trace {
    /// The real tokens of a row, in order: `[1, .., position, ..]`.
    fn row(&self, recorded: &Recorded, row: usize) -> Tensor {
        let count = self.columns[row].len();
        let index = Tensor::from_vec(self.columns[row].clone(), count, recorded.tensor.device()).unwrap();
        let mut x = recorded.tensor.narrow(0, row, 1).unwrap();
        for (dim, axis) in recorded.axes.iter().enumerate() {
            if matches!(axis, Axis::Pos | Axis::Query | Axis::Key) {
                x = x.contiguous().unwrap().index_select(&index, dim).unwrap();
            }
        }
        x
    }

    /// The largest relative error of a row against the same text alone, and its site.
    pub fn worst(&self, row: usize, alone: &Self) -> (f32, String) {
        let logits = |trace: &Self, row| {
            let axes = vec![Axis::Batch, Axis::Pos, Axis::Vocab];
            let tensor = trace.logits.clone();
            trace.row(&Recorded { tensor, axes }, row)
        };
        let mut worst = (relative(&logits(self, row), &logits(alone, 0)), "the output".to_string());
        for (name, reference) in &alone.records.tensors {
            let error = relative(&self.row(&self.records.tensors[name], row), &alone.row(reference, 0));
            if error > worst.0 {
                worst = (error, name.clone());
            }
        }
        worst
    }
}
