//! The page of one unit: what an atlas knows of it, and what its weights say.

mod along;
mod report;
mod weights;

use std::path::Path;

use serde::Serialize;

use super::scan::{self, Watched};
use crate::hook::reduce::{Histogram, Reducer, Sample};
use crate::hook::{Selector, SiteTable};
use crate::models::{Model, Network};
use crate::store::Tokenizer;
use crate::store::atlas::{Arrays, ExampleRow, GroupRow, LabelRow, ProfileRow, SiteRow, UnitRow};
use crate::{Error, Result};

pub use along::{Along, along};
pub use report::KINDS;
pub use weights::{Effect, Effects, Neighbour};

/// Entries of each list of the page.
const SHOWN: usize = 8;
/// Bins of the histogram that make one bin of the page: two an octave.
const COARSE: usize = 4;

/// Everything about a unit.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Its name: `blocks.3.mlp.hook_post[neuron=12]`.
    pub name: String,
    /// What the model is called.
    pub model: String,
    /// Its site.
    pub site: SiteRow,
    /// Its number within the site.
    pub number: usize,
    /// Documents of the corpus.
    pub documents: u64,
    /// Tokens counted.
    pub tokens: u64,
    /// Its statistics.
    pub statistics: UnitRow,
    /// Edges of the bins of its values, ascending, and how many values lie between two of them.
    pub histogram: (Vec<f64>, Vec<u64>),
    /// What it does in each group; empty for a corpus of one group.
    pub groups: Vec<(GroupRow, ProfileRow)>,
    /// Its labels, where `optrode label` or others wrote some.
    pub labels: Vec<LabelRow>,
    /// Its examples.
    pub examples: Vec<Example>,
    /// What it does to the logits directly; `None` for heads.
    pub effects: Option<Effects>,
    /// Neurons that read nearly the same direction, or its opposite.
    pub reads: Vec<Neighbour>,
    /// Neurons that write nearly the same direction, or its opposite.
    pub writes: Vec<Neighbour>,
    /// The largest |cosine| that as many random directions of this width would be expected to reach.
    pub by_chance: f64,
    /// Units whose values go up and down with its own in the sample (Pearson's r).
    pub together: Vec<Neighbour>,
    /// The largest |r| of any unit with its own values in random order: the control.
    pub together_by_chance: f64,
    /// Tokens of the sample.
    pub sampled: usize,
}

/// An example in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// As the atlas has it.
    #[serde(flatten)]
    pub row: ExampleRow,
    /// The text before the token.
    pub before: String,
    /// The token.
    pub token: String,
    /// The text after it.
    pub after: String,
}

/// The page of the unit that `selector` names, from the atlas in a folder and the weights of `model`.
///
/// # Errors
/// A selector that does not name exactly one unit, a unit that the atlas lacks, another model's atlas, and whatever is
/// wrong with the atlas.
pub fn page(model: &Model, atlas: &Path, selector: &Selector) -> Result<Page> {
    let (site, number, name) = single(model.decoder.sites(), selector)?;
    let (about, arrays, database) = scan::open_of(model, atlas)?;
    let run = database.run()?;
    let sites = database.sites()?;
    let Some(index) = sites.iter().position(|s| s.name == site) else {
        let known: Vec<&str> = sites.iter().map(|s| s.name.as_str()).take(6).collect();
        return Err(Error::file(
            atlas,
            format!("the atlas has no units of `{site}`"),
            format!("its sites are {}{}", known.join(", "), if sites.len() > known.len() { ", ..." } else { "" }),
        ));
    };
    let (id, statistics) = database.unit(index, number)?;
    let Reducer::Histogram(histogram) = arrays.unit(&scan::key(&site, "histogram", 0), number)? else {
        return Err(mixed(atlas, &site));
    };
    let groups = database.groups()?;
    let profile = database.profile(id)?.into_iter();
    let groups = profile.filter_map(|p| Some((groups.get(p.group)?.clone(), p))).collect();
    let tokenizer = model.tokenizer()?;
    let examples = database.examples(id)?.into_iter().map(|row| example(tokenizer, row)).collect();
    let together = together(&arrays, &about.watched, atlas, (&site, number), about.job.options.seed)?;
    let directions = weights::Directions::of(&model.decoder, &sites[index], number)?;
    Ok(Page {
        name,
        model: run.model,
        site: sites[index].clone(),
        number,
        documents: run.documents,
        tokens: run.tokens,
        statistics,
        histogram: coarse(&histogram),
        groups,
        labels: database.labels(Some(id))?,
        examples,
        effects: directions.effects(&model.decoder, tokenizer)?,
        reads: directions.reads(&model.decoder)?,
        writes: directions.writes(&model.decoder)?,
        by_chance: directions.by_chance(&model.decoder),
        together: together.0,
        together_by_chance: together.1,
        sampled: together.2,
    })
}

/// The site, number and full name of the one unit that a selector names.
fn single(table: &SiteTable, selector: &Selector) -> Result<(String, usize, String)> {
    let selection = selector.resolve(table)?;
    let one = |what: String| Error::invalid(what, "name one unit, such as 'blocks.3.mlp.hook_post[neuron=12]'");
    let [selected] = selection.sites.as_slice() else {
        return Err(one(format!("`{selector}` names {} sites", selection.sites.len())));
    };
    let site = table.get(selected.site);
    match selected.indices.as_slice() {
        [(dim, numbers)] if numbers.len() == 1 && *dim == 2 => {
            let axis = site.axes[2].name();
            Ok((site.name.clone(), numbers[0], format!("{}[{axis}={}]", site.name, numbers[0])))
        }
        _ => Err(one(format!("`{selector}` does not name one unit"))),
    }
}

/// The text around a token, from the bytes of tokens: pieces of a character come together.
fn example(tokenizer: &Tokenizer, row: ExampleRow) -> Example {
    let text = |ids: &[u32]| {
        let bytes: Vec<u8> = ids.iter().filter_map(|id| tokenizer.token_bytes(*id)).flatten().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (tokens, focus) = (&row.context.tokens, row.context.focus);
    Example {
        before: text(&tokens[..focus]),
        token: row.context.words[focus].clone(),
        after: text(&tokens[focus + 1..]),
        row,
    }
}

/// The bins that hold values, a few together, with the outermost cut to the range.
fn coarse(histogram: &Histogram) -> (Vec<f64>, Vec<u64>) {
    let counts = histogram.counts(0);
    let Some(range) = histogram.range(0) else { return (Vec::new(), Vec::new()) };
    let [least, most] = range.map(f64::from);
    let zero = counts.len() / 2;
    let group = |bin: usize| {
        let steps = bin.abs_diff(zero).div_ceil(COARSE) as i64;
        if bin < zero { -steps } else { steps }
    };
    let mut edges: Vec<f64> = Vec::new();
    let mut sums: Vec<(i64, u64)> = Vec::new();
    let first = counts.iter().position(|n| *n > 0).unwrap_or(0);
    let last = counts.iter().rposition(|n| *n > 0).unwrap_or(0);
    for (bin, count) in counts.iter().enumerate().take(last + 1).skip(first) {
        match sums.last_mut() {
            Some((g, sum)) if *g == group(bin) => *sum += count,
            _ => {
                let low = histogram.ends(bin).map_or(least, |[low, _]| low);
                edges.push(low.max(least));
                sums.push((group(bin), *count));
            }
        }
    }
    edges.push(most);
    (edges, sums.into_iter().map(|(_, sum)| sum).collect())
}

/// The units that go with a unit in the sample, the largest |r| of its values in random order, and the size of the sample.
fn together(
    arrays: &Arrays,
    watched: &[Watched],
    atlas: &Path,
    (site, number): (&str, usize),
    seed: u64,
) -> Result<(Vec<Neighbour>, f64, usize)> {
    let sample = |site: &str| match arrays.reducer(&scan::key(site, "sample", 0))? {
        Reducer::Sample(sample) => Ok(sample),
        _ => Err(mixed(atlas, site)),
    };
    let places = |s: &Sample| s.iter().map(|s| (s.document, s.position)).collect::<Vec<_>>();
    let own = sample(site)?;
    let own_places = places(&own);
    let values: Vec<f64> = own.iter().map(|s| s.values.get(number).map_or(0.0, |x| f64::from(*x))).collect();
    let own_scores = scores(values);
    let order = super::corpus::permutation(own_scores.len(), seed, number as u64);
    let shuffled: Vec<f64> = order.into_iter().map(|i| own_scores[i]).collect();
    let mut found = Vec::new();
    let mut chance = 0f64;
    for other in watched {
        let sample = sample(&other.site)?;
        // Where a vector was not finite, the places are not the same.
        if places(&sample) != own_places {
            continue;
        }
        let rows: Vec<&[f32]> = sample.iter().map(|s| s.values).collect();
        for unit in (0..other.width).filter(|unit| (other.site.as_str(), *unit) != (site, number)) {
            let theirs = scores(rows.iter().map(|row| row.get(unit).map_or(0.0, |x| f64::from(*x))).collect());
            let product = |own: &[f64]| own.iter().zip(&theirs).map(|(a, b)| a * b).sum::<f64>();
            found.push(Neighbour { site: other.site.clone(), number: unit, likeness: product(&own_scores) });
            chance = chance.max(product(&shuffled).abs());
        }
    }
    Ok((weights::nearest(found), chance, own_places.len()))
}

/// Values around their mean, of length 1; zeros where they are all equal.
fn scores(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|x| *x -= mean);
    let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|x| *x /= length);
    }
    values
}

fn mixed(atlas: &Path, site: &str) -> Error {
    Error::file(atlas, format!("the states of `{site}` are of the wrong kind"), "the files are damaged: scan again")
}
