//! The pass of the network over a reading: of every watched unit, the places at which it is active.

use candle_core::{D, Device};
use rayon::prelude::*;

use super::reading::{Piece, Reading};
use super::trace::{Sign, Tail, Trace};
use crate::Result;
use crate::analysis::scan::Kind;
use crate::hook::{Output, Pass, Record};
use crate::models::{Input, Model, Side, Tokens};

/// Units that one task owns.
const TASK: usize = 32;

/// Units of a site that are to be labelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The site.
    pub site: String,
    /// Its block.
    pub layer: Option<usize>,
    /// What its units are.
    pub kind: Kind,
    /// Which of them, ascending.
    pub numbers: Vec<usize>,
    /// The sides that are units of their own.
    pub signs: Vec<Sign>,
}

impl Watch {
    /// All units of a site of a model: (u, -) too, where values are not bounded below.
    pub fn of(model: &Model, site: &str, layer: Option<usize>, kind: Kind, numbers: Vec<usize>) -> Self {
        use crate::nn::Activation::{Identity, Tanh};
        let mlp = &model.decoder.facts().mlp;
        let both = match kind {
            // act(gate) times a linear branch; every other activation in use has a lower bound near 0.
            Kind::Neuron => mlp.gated || matches!(mlp.activation, Identity | Tanh),
            Kind::Head => false,
            Kind::Direction => true,
        };
        let signs = if both { vec![Sign::Plus, Sign::Minus] } else { vec![Sign::Plus] };
        Self { site: site.to_string(), layer, kind, numbers, signs }
    }

    /// Units, sides counted singly.
    pub fn units(&self) -> usize {
        self.numbers.len() * self.signs.len()
    }
}

/// A unit: one side of one number of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId {
    /// Index of the watched site.
    pub watch: usize,
    /// Its number within the site.
    pub number: usize,
    /// Its side.
    pub sign: Sign,
}

/// Upper bound of the bytes that traces of these units take while they are made.
pub fn bytes(watches: &[Watch], counted: u64) -> u64 {
    let units: u64 = watches.iter().map(|w| w.units() as u64).sum();
    units.saturating_mul(Tail::bytes(counted))
}

/// Runs the network over all pieces, `batch` tokens at a time, and gives the trace of every unit, site by site, number by
/// number, side by side. `told` hears how many tokens are done.
///
/// # Errors
/// Whatever the network refuses.
pub fn traces(
    model: &Model,
    reading: &Reading,
    watches: &[Watch],
    batch: usize,
    mut told: impl FnMut(usize),
) -> Result<Vec<(UnitId, Trace)>> {
    let counted = reading.count();
    let side = |numbers: usize| vec![Tail::new(counted); numbers];
    let mut tails: Vec<Vec<Vec<Tail>>> =
        watches.iter().map(|w| w.signs.iter().map(|_| side(w.numbers.len())).collect()).collect();
    let mut records = Vec::new();
    for watch in watches {
        records.push(Record::whole(watch.site.parse()?));
    }
    let pass = Pass { records, output: Output::Unread, ..Pass::default() };
    let special = model.special();
    let mut order: Vec<&Piece> = reading.pieces.iter().collect();
    order.sort_by_key(|p| (p.places.len(), p.places.start));
    for pieces in batches(&order, batch) {
        let rows: Vec<Vec<u32>> = pieces.iter().map(|p| reading.tokens[p.places.clone()].to_vec()).collect();
        let mut tokens = Tokens::from_rows(&rows, Side::Right, model.pad())?;
        tokens.special = special.clone();
        let pos = tokens.pos;
        let registry = crate::analysis::registry();
        let seen = crate::models::execute::observe(&model.decoder, &Input::Tokens(tokens), &pass, &registry)?;
        // The cells of the batch that count, and their places.
        let cell = |(row, piece): (usize, &&Piece)| {
            let places = piece.places.clone().enumerate().filter(|(_, place)| reading.counted.contains(*place));
            places.map(move |(at, place)| (row * pos + at, place as u32)).collect::<Vec<_>>()
        };
        let cells: Vec<(usize, u32)> = pieces.iter().enumerate().flat_map(cell).collect();
        for (watch, tails) in watches.iter().zip(&mut tails) {
            let mut values = seen.records.get(&watch.site)?.clone(); // [batch, pos, width] or [batch, pos, head, d]
            if watch.kind == Kind::Head {
                values = values.sqr()?.sum(D::Minus1)?.sqrt()?; // [batch, pos, head]
            }
            let width = values.dim(2)?;
            let values = values.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            for (tails, sign) in tails.iter_mut().zip(&watch.signs) {
                let units = tails.par_chunks_mut(TASK).zip(watch.numbers.par_chunks(TASK));
                units.for_each(|(tails, numbers)| {
                    for (cell, place) in &cells {
                        let row = &values[cell * width..][..width];
                        tails.iter_mut().zip(numbers).for_each(|(tail, n)| tail.push(*place, sign.of(row[*n])));
                    }
                });
            }
        }
        told(pieces.iter().map(|p| p.places.len()).sum());
    }
    let mut out = Vec::new();
    for (index, (watch, tails)) in watches.iter().zip(tails).enumerate() {
        let mut sides: Vec<_> = tails.into_iter().map(Vec::into_iter).collect();
        for number in &watch.numbers {
            for (side, sign) in sides.iter_mut().zip(&watch.signs) {
                if let Some(tail) = side.next() {
                    out.push((UnitId { watch: index, number: *number, sign: *sign }, tail.finish()));
                }
            }
        }
    }
    Ok(out)
}

/// Neighbours of at most so many cells together, padding included; one piece at least.
fn batches<'p>(pieces: &'p [&'p Piece], cells: usize) -> impl Iterator<Item = &'p [&'p Piece]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let fits = (1..=rest.len()).take_while(|n| *n == 1 || n * rest[n - 1].places.len() <= cells).last()?;
        let (batch, tail) = rest.split_at(fits);
        rest = tail;
        Some(batch)
    })
}
