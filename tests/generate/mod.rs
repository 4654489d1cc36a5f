//! Generation: one text whatever the batch, the padding and the cache; sampling; how rows end.

mod agree;
mod ending;
mod sampling;
mod trained;

use optrode::generate::{Generated, Generator, Options};
use optrode::hook::{Edit, Pass, Record, Registry, Values};
use optrode::models::{Decoder, Side, Tokens};

/// What is generated after `prompts`.
pub fn generate(net: &Decoder, prompts: &Tokens, pass: &Pass, options: &Options) -> Generated {
    generate_with(net, prompts, pass, options, &Registry::elementary())
}

pub fn generate_with(net: &Decoder, prompts: &Tokens, pass: &Pass, options: &Options, known: &Registry) -> Generated {
    let generator = Generator { net, pass, registry: known, values: Values::default() };
    generator.run(prompts, options, &mut |_, _| {}).unwrap()
}

/// Options for `n` new tokens.
pub fn tokens(n: usize) -> Options {
    Options { max_new_tokens: n, ..Options::default() }
}

/// Three rows of different lengths.
pub fn prompts(net: &Decoder, side: Side) -> Tokens {
    let vocab = net.facts().vocab as u32;
    let row = |from: u32, n: u32| (0..n).map(|i| (from * 7 + i * i * 3 + 1) % vocab).collect();
    let rows: Vec<Vec<u32>> = vec![row(1, 7), row(2, 5), row(3, 2)];
    Tokens::from_rows(&rows, side, 0).unwrap()
}

/// The row of a batch alone, still the same document.
pub fn alone(batch: &Tokens, row: usize) -> Tokens {
    Tokens { documents: vec![batch.documents[row]], ..Tokens::from_rows(&[batch.row(row)], Side::Left, 0).unwrap() }
}

pub fn pass(records: &[&str], edits: Vec<Edit>) -> Pass {
    Pass {
        records: records.iter().map(|s| Record::whole(s.parse().unwrap())).collect(),
        edits,
        seed: 3,
        ..Pass::default()
    }
}

pub fn edit(site: &str, op: &str) -> Edit {
    Edit::new(site.parse().unwrap(), op)
}
