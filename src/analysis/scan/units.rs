//! Which units a scan watches, and what it keeps of them.

use serde::{Deserialize, Serialize};

use super::Options;
use crate::Result;
use crate::hook::reduce::{FiringSpec, HistogramSpec, ReducerSpec, SampleSpec, TopSpec};
use crate::hook::{Record, Site, SiteTable};
use crate::store::atlas::SiteRow;

/// What a unit of a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An MLP neuron.
    Neuron,
    /// An attention head; its number is the norm of what it adds to the stream.
    Head,
    /// A coordinate of the residual stream.
    Direction,
}

/// A site whose units are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Its name.
    pub site: String,
    /// Its block.
    pub layer: Option<usize>,
    /// What its units are.
    pub kind: Kind,
    /// How many it has.
    pub width: usize,
    /// The site where positive values count as firing, if units fire.
    pub fires: Option<String>,
}

/// The sites of a network that a scan with these options watches, in the order of the forward pass.
pub fn watched(table: &SiteTable, options: &Options) -> Vec<Watched> {
    table.iter().filter_map(|(_, site)| of(table, site, options)).collect()
}

fn of(table: &SiteTable, site: &Site, options: &Options) -> Option<Watched> {
    let layer = site.layer?;
    let (_, part) = site.name.strip_prefix("blocks.")?.split_once('.')?;
    let (kind, width, fires) = match part {
        "mlp.hook_post" => {
            let pre = format!("blocks.{layer}.mlp.hook_pre");
            (Kind::Neuron, site.width(), table.find(&pre).map(|_| pre))
        }
        "attn.hook_result" if options.heads => (Kind::Head, site.sizes[2]?, None),
        "hook_resid_post" if options.residual => (Kind::Direction, site.width(), Some(site.name.clone())),
        _ => return None,
    };
    Some(Watched { site: site.name.clone(), layer: Some(layer), kind, width, fires })
}

/// The kinds of reducers whose states are kept by group.
pub const BY_GROUP: [&str; 2] = ["moments", "firing"];

impl Watched {
    /// What is recorded.
    pub fn records(&self, options: &Options) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for spec in specs(options) {
            let norms = self.kind == Kind::Head;
            records.push(Record { norms, ..Record::reduced(self.site.parse()?, spec) });
        }
        if let Some(fires) = &self.fires {
            records.push(Record::reduced(fires.parse()?, ReducerSpec::Firing(FiringSpec::default())));
        }
        Ok(records)
    }

    /// Upper bound of the bytes of all its reducers, for so many groups.
    pub fn bytes(&self, options: &Options, groups: u64) -> u64 {
        let whole: u64 = specs(options).iter().map(|spec| spec.bytes(self.width)).fold(0, u64::saturating_add);
        let firing = ReducerSpec::Firing(FiringSpec::default()).bytes(self.width);
        let grouped = ReducerSpec::Moments {}.bytes(self.width) + firing;
        whole.saturating_add(grouped.saturating_mul(groups))
    }

    /// Its row in an atlas.
    pub fn row(&self) -> SiteRow {
        let (unit, value) = match self.kind {
            Kind::Neuron => ("neuron", "activation, as the down projection reads it"),
            Kind::Head => ("head", "Euclidean norm of what the head adds to the stream, before any post-norm"),
            Kind::Direction => ("direction", "coordinate of the residual stream after the block"),
        };
        let fires = match &self.fires {
            Some(fires) => format!("{fires} > 0"),
            None => "never: a norm is not negative".to_string(),
        };
        SiteRow {
            name: self.site.clone(),
            layer: self.layer,
            unit: unit.to_string(),
            value: value.to_string(),
            fires,
            units: self.width,
        }
    }
}

/// The reducers at the site itself.
fn specs(options: &Options) -> [ReducerSpec; 4] {
    let context = options.context;
    [
        ReducerSpec::Moments {},
        ReducerSpec::Top(TopSpec { k: options.examples, bottom: true, context, one_per_document: true }),
        ReducerSpec::Histogram(HistogramSpec::default()),
        ReducerSpec::Sample(SampleSpec { k: options.sample, seed: options.seed, context }),
    ]
}
