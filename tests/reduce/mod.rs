//! Streaming reducers: shards, closed forms, threads, padding and saved states.

mod closed_forms;
mod laws;
mod saved;

use optrode::hook::reduce::*;
use proptest::prelude::*;

/// A batch that owns what an observation borrows.
#[derive(Clone, Debug)]
pub struct Batch {
    pub values: Vec<f32>,
    pub rows: usize,
    pub pos: usize,
    pub width: usize,
    pub keep: Vec<bool>,
    pub tokens: Vec<u32>,
    pub documents: Vec<u64>,
    pub positions: Vec<u32>,
}

impl Batch {
    pub fn observation(&self) -> Observation<'_> {
        Observation {
            values: &self.values,
            rows: self.rows,
            pos: self.pos,
            width: self.width,
            keep: &self.keep,
            tokens: &self.tokens,
            documents: &self.documents,
            positions: &self.positions,
        }
    }

    /// Kept positions as (document, position, flat index).
    pub fn kept(&self) -> impl Iterator<Item = (u64, u32, usize)> {
        let places = (0..self.keep.len()).filter(|i| self.keep[*i]);
        places.map(|i| (self.documents[i / self.pos], self.positions[i], i))
    }
}

/// All kept values of `unit` over `batches`.
pub fn column(batches: &[Batch], unit: usize) -> Vec<f32> {
    let values = |b: &Batch| b.kept().map(|(_, _, i)| b.values[i * b.width + unit]).collect::<Vec<_>>();
    batches.iter().flat_map(values).collect()
}

pub fn pass(spec: &ReducerSpec, batches: &[Batch]) -> Reducer {
    let mut reducer = spec.build(batches[0].width).unwrap();
    for batch in batches {
        reducer.observe(&batch.observation()).unwrap();
    }
    reducer
}

/// Every kind of reducer, with parameters that small data can exhaust.
pub fn specs() -> Vec<ReducerSpec> {
    let json = [
        r#"{"kind":"moments"}"#,
        r#"{"kind":"firing","threshold":0.5}"#,
        r#"{"kind":"firing","threshold":0.5,"documents":400}"#,
        r#"{"kind":"top","k":3,"context":[2,1],"one_per_document":false}"#,
        r#"{"kind":"top","k":2,"bottom":false,"context":[0,3]}"#,
        r#"{"kind":"top","k":4,"context":[1,0],"one_per_document":true}"#,
        r#"{"kind":"histogram","octaves":[-3,3],"divisions":4}"#,
        r#"{"kind":"covariance"}"#,
        r#"{"kind":"covariance","centered":false}"#,
        r#"{"kind":"sample","k":5,"seed":3,"context":[2,1]}"#,
    ];
    json.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Values with many ties, both zeros, extremes and now and then no number at all.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-4i32..5).prop_map(|n| n as f32 / 2.0),
        4 => -10f32..10.0,
        1 => Just(-0.0f32),
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(1e30), Just(1e-30)],
    ]
}

/// Batches of rows with left padding, right padding and holes; documents ascend and may go on in the next row.
pub fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let row = (0usize..3, 0usize..3, any::<bool>());
    let batch = (1usize..4, 1usize..9).prop_flat_map(move |(rows, pos)| {
        (Just(pos), prop::collection::vec(row.clone(), rows), prop::collection::vec(0u8..8, rows * pos))
    });
    (1usize..6, prop::collection::vec(batch, 1..7)).prop_flat_map(|(width, batches)| {
        let size: usize = batches.iter().map(|(pos, rows, _)| pos * rows.len() * width).sum();
        let values = prop::collection::vec(value(), size);
        (Just(width), Just(batches), values).prop_map(|(width, batches, values)| build(width, batches, &values))
    })
}

type Rows = (usize, Vec<(usize, usize, bool)>, Vec<u8>);

fn build(width: usize, batches: Vec<Rows>, mut values: &[f32]) -> Vec<Batch> {
    let (mut document, mut next) = (0u64, 0u32);
    let made = batches.into_iter().map(|(pos, rows, dice)| {
        let (own, rest) = values.split_at(pos * rows.len() * width);
        values = rest;
        let mut batch = Batch {
            values: own.to_vec(),
            rows: rows.len(),
            pos,
            width,
            keep: Vec::new(),
            tokens: dice.iter().enumerate().map(|(i, d)| u32::from(*d) * 1000 + i as u32).collect(),
            documents: Vec::new(),
            positions: Vec::new(),
        };
        for (r, (left, right, continues)) in rows.into_iter().enumerate() {
            if !continues {
                (document, next) = (document + 1, 0);
            }
            batch.documents.push(document);
            for p in 0..pos {
                let real = p >= left && p + right < pos;
                batch.positions.push(if real { next } else { PADDING });
                batch.keep.push(real && dice[r * pos + p] > 0);
                next += u32::from(real);
            }
        }
        batch
    });
    made.collect()
}
