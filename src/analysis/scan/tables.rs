//! The database of an atlas, made from the states of the reducers alone.

use std::path::Path;

use super::reduced::{Reduced, key, untagged};
use super::units::Watched;
use crate::hook::reduce::{Firing, Histogram, Moments, Reducer, Sample, Sampled, Top, TopEntry};
use crate::store::Tokenizer;
use crate::store::atlas::{ContextRow, GroupRow, ProfileRow, QUANTILES, RunRow, UnitRow, Writer, write_database};
use crate::{Error, Result};

/// Bands of the sample's quantiles, and their names.
const BANDS: [(f64, f64, &str); 5] = [
    (0.99, 1.0, "q99-100"),
    (0.95, 0.99, "q95-99"),
    (0.75, 0.95, "q75-95"),
    (0.5, 0.75, "q50-75"),
    (0.0, 0.5, "q00-50"),
];
/// Examples of each band.
const PER_BAND: usize = 3;

/// A place in the corpus whose neighbours are to be shown.
pub(super) struct Place<'a> {
    pub document: u64,
    pub group: usize,
    pub position: u32,
    pub tokens: &'a [u32],
    pub focus: usize,
}

impl<'a> Place<'a> {
    fn of_entry(entry: &'a TopEntry) -> Self {
        let (document, group) = untagged(entry.document);
        Self { document, group, position: entry.position, tokens: &entry.tokens, focus: entry.at }
    }

    fn of_sampled(sampled: &Sampled<'a>) -> Self {
        let (document, group) = untagged(sampled.document);
        Self { document, group, position: sampled.position, tokens: sampled.tokens, focus: sampled.at }
    }

    /// Its row, as a tokenizer reads it.
    pub fn row(&self, tokenizer: &Tokenizer) -> Result<ContextRow> {
        Ok(ContextRow {
            document: self.document,
            position: self.position,
            group: self.group,
            tokens: self.tokens.to_vec(),
            focus: self.focus,
            words: self.tokens.iter().map(|id| tokenizer.token_text(*id)).collect(),
            text: tokenizer.decode(self.tokens, true)?,
        })
    }
}

/// Writes the database. `context` gives the row of a place.
pub(super) fn write(
    path: &Path,
    reduced: &Reduced,
    context: &mut dyn FnMut(&Place) -> Result<ContextRow>,
) -> Result<()> {
    write_database(path, |writer| fill(writer, path, reduced, context))
}

fn fill(
    writer: &mut Writer,
    path: &Path,
    reduced: &Reduced,
    context: &mut dyn FnMut(&Place) -> Result<ContextRow>,
) -> Result<()> {
    let about = &reduced.about;
    writer.run(&RunRow {
        optrode: env!("CARGO_PKG_VERSION").to_string(),
        model: about.model.clone(),
        model_sha256: about.job.model.clone(),
        job: serde_json::to_string(&about.job).map_err(|e| Error::file(path, e.to_string(), "report this defect"))?,
        documents: about.reached.documents(),
        tokens: about.reached.tokens(),
    })?;
    for (index, (name, (documents, tokens))) in about.job.corpus.groups.iter().zip(&about.reached.groups).enumerate() {
        writer.group(index, &GroupRow { name: name.clone(), documents: *documents, tokens: *tokens })?;
    }
    for (index, watched) in about.watched.iter().enumerate() {
        writer.site(index, &watched.row())?;
        let states = States::of(reduced, watched)?;
        // The places of the sample stand in every atlas, so that parts can be merged whatever the bands become.
        let sampled: Vec<Sampled> = states.sample.iter().collect();
        for sampled in &sampled {
            let place = Place::of_sampled(sampled);
            writer.context(place.document, place.position, || context(&place))?;
        }
        for number in 0..watched.width {
            let id = writer.unit(index, number, &states.unit(number), &states.profile(number))?;
            for (kind, entries) in [("top", states.top.top(number)), ("bottom", states.top.bottom(number))] {
                for (rank, entry) in entries.iter().enumerate() {
                    let place = Place::of_entry(entry);
                    let at = writer.context(place.document, place.position, || context(&place))?;
                    writer.example(id, kind, rank, f64::from(entry.value), at)?;
                }
            }
            for (kind, rank, sampled) in bands(&sampled, number) {
                let place = Place::of_sampled(sampled);
                let at = writer.context(place.document, place.position, || context(&place))?;
                writer.example(id, kind, rank, f64::from(sampled.values[number]), at)?;
            }
        }
    }
    Ok(())
}

/// A few members of each band of a unit's values in the sample, in the sample's random order.
fn bands<'s>(sampled: &'s [Sampled<'s>], unit: usize) -> Vec<(&'static str, usize, &'s Sampled<'s>)> {
    let n = sampled.len() as f64;
    let mut order: Vec<usize> = (0..sampled.len()).collect();
    order.sort_by(|a, b| sampled[*a].values[unit].total_cmp(&sampled[*b].values[unit]).then(a.cmp(b)));
    let mut chosen = Vec::new();
    for (low, high, name) in BANDS {
        let quantile = |rank: usize| (rank as f64 + 0.5) / n;
        let within = order.iter().enumerate().filter(|(rank, _)| (low..high).contains(&quantile(*rank)));
        let mut members: Vec<usize> = within.map(|(_, i)| *i).collect();
        members.sort_unstable();
        chosen.extend(members.iter().take(PER_BAND).enumerate().map(|(rank, i)| (name, rank, &sampled[*i])));
    }
    chosen
}

/// The reducers of one site.
struct States {
    moments: Moments,
    non_finite: Vec<u64>,
    firing: Option<Firing>,
    top: Top,
    histogram: Histogram,
    sample: Sample,
    /// By group; one group alone is the whole.
    groups: Vec<Option<(Moments, Option<Firing>)>>,
}

impl States {
    fn of(reduced: &Reduced, watched: &Watched) -> Result<Self> {
        let site = watched.site.as_str();
        let missing = |kind: &str| {
            let what = format!("the scan has no {kind} of `{site}` for {} units", watched.width);
            Error::invalid(what, "its files are damaged: scan again")
        };
        let width = watched.width;
        let fits = |r: Reducer| (r.width() == width).then_some(r);
        macro_rules! all {
            ($site:expr, $name:literal, $kind:ident) => {
                match reduced.all($site, $name)?.and_then(fits) {
                    Some(Reducer::$kind(inner)) => inner,
                    _ => return Err(missing($name)),
                }
            };
        }
        let firing = match &watched.fires {
            Some(fires) => Some(all!(fires, "firing", Firing)),
            None => None,
        };
        let count = reduced.about.job.corpus.groups.len();
        let group = |group: usize| -> Option<(Moments, Option<Firing>)> {
            let Reducer::Moments(moments) = reduced.reducers.get(&key(site, "moments", group))? else { return None };
            let fires = watched.fires.as_ref();
            let firing = fires.and_then(|fires| match reduced.reducers.get(&key(fires, "firing", group)) {
                Some(Reducer::Firing(firing)) if firing.fired().len() == width => Some(firing.clone()),
                _ => None,
            });
            Some((moments.clone(), firing))
        };
        let moments = all!(site, "moments", Moments);
        Ok(Self {
            non_finite: moments.non_finite(),
            moments,
            firing,
            top: all!(site, "top", Top),
            histogram: all!(site, "histogram", Histogram),
            sample: all!(site, "sample", Sample),
            groups: if count > 1 { (0..count).map(group).collect() } else { Vec::new() },
        })
    }

    fn unit(&self, number: usize) -> UnitRow {
        let moments = self.moments.unit(number);
        let of = |value: fn(&crate::hook::reduce::UnitMoments) -> f64| moments.as_ref().map(value);
        UnitRow {
            count: moments.as_ref().map_or(0, |m| m.count),
            non_finite: self.non_finite[number],
            mean: of(|m| m.mean),
            std: of(|m| m.std),
            skewness: moments.as_ref().and_then(|m| m.skewness),
            kurtosis: moments.as_ref().and_then(|m| m.excess_kurtosis),
            min: of(|m| f64::from(m.min)),
            max: of(|m| f64::from(m.max)),
            fired: self.firing.as_ref().and_then(|f| f.fired().get(number).copied()),
            rate: self.firing.as_ref().and_then(|f| f.rate(number)),
            quantiles: QUANTILES.map(|q| self.histogram.quantile(number, q).map(|q| q.value)),
        }
    }

    fn profile(&self, number: usize) -> Vec<ProfileRow> {
        let row = |(group, states): (usize, &Option<(Moments, Option<Firing>)>)| {
            let (moments, firing) = states.as_ref()?;
            let unit = moments.unit(number);
            Some(ProfileRow {
                group,
                count: unit.as_ref().map_or(0, |u| u.count),
                mean: unit.as_ref().map(|u| u.mean),
                std: unit.as_ref().map(|u| u.std),
                fired: firing.as_ref().and_then(|f| f.fired().get(number).copied()),
                rate: firing.as_ref().and_then(|f| f.rate(number)),
            })
        };
        self.groups.iter().enumerate().filter_map(row).collect()
    }
}
