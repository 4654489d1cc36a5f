//! Sites: the named places of a network where activations can be recorded and edited.
//!
//! A network has one [`SiteTable`], made when it is built; parser, `optrode sites`, documentation and tests derive
//! from it. A site is interned once; on the hot path it is an index ([`SiteId`]).

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The index of a site in its network's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub(crate) u32);

impl SiteId {
    /// Position in [`SiteTable::iter`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What one axis of a site's tensor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Rows of the batch.
    Batch,
    /// Token positions of the row.
    Pos,
    /// Query heads.
    Head,
    /// Key/value heads; under grouped-query attention each serves several query heads.
    KvHead,
    /// Coordinates inside one head.
    DHead,
    /// Coordinates of the residual stream.
    DModel,
    /// Neurons of an MLP layer.
    Neuron,
    /// Position of the attending token.
    Query,
    /// Position of the token attended to.
    Key,
    /// Tokens of the vocabulary.
    Vocab,
    /// A single value (norm scales).
    One,
    /// Flat coordinates of another kind (joined heads, projected embeddings).
    Width,
    /// Time steps of a simulation.
    Time,
}

impl Axis {
    /// The name used in selectors, record metadata and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Pos => "pos",
            Self::Head => "head",
            Self::KvHead => "kv_head",
            Self::DHead => "d_head",
            Self::DModel => "d_model",
            Self::Neuron => "neuron",
            Self::Query => "query",
            Self::Key => "key",
            Self::Vocab => "vocab",
            Self::One => "one",
            Self::Width => "width",
            Self::Time => "time",
        }
    }
}

/// How a site's tensor relates to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The residual stream itself.
    Stream,
    /// Added to the residual stream as it stands: after any post-norm and multiplier.
    Contribution,
    /// A module's own value, before any post-norm or multiplier.
    Raw,
}

/// One named place in a network.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// Full name, e.g. `blocks.3.mlp.hook_post`.
    pub name: String,
    /// The block it lies in, if any.
    pub layer: Option<usize>,
    /// Axes of the tensor, outermost first.
    pub axes: Vec<Axis>,
    /// Size of each axis; `None` where the run decides (batch, positions, time).
    pub sizes: Vec<Option<usize>>,
    /// Relation to the residual stream.
    pub kind: Kind,
    /// True for tensors that are only made when somebody asks (per-head results, per-head inputs).
    pub on_demand: bool,
    /// One line for people.
    pub meaning: &'static str,
}

impl Site {
    /// The dimension that carries `axis`, if the site has it.
    pub fn dim(&self, axis: Axis) -> Option<usize> {
        self.axes.iter().position(|a| *a == axis)
    }

    /// Values per (row, position): the product of all sizes that the network fixes.
    pub fn width(&self) -> usize {
        self.sizes.iter().flatten().product()
    }
}

/// All sites of one network, in the order of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct SiteTable {
    sites: Vec<Site>,
    index: HashMap<String, SiteId>,
    aliases: HashMap<String, SiteId>,
}

impl SiteTable {
    /// Adds a site and returns its index. Names are unique: a second site of one name is a defect of the network.
    pub fn push(&mut self, site: Site) -> SiteId {
        let id = SiteId(self.sites.len() as u32);
        let earlier = self.index.insert(site.name.clone(), id);
        debug_assert!(earlier.is_none(), "site {} declared twice", site.name);
        self.sites.push(site);
        id
    }

    /// Lets `alias` stand for a site's name wherever a name is read.
    pub fn alias(&mut self, alias: impl Into<String>, id: SiteId) {
        self.aliases.insert(alias.into(), id);
    }

    /// The site with this exact name or alias.
    ///
    /// # Errors
    /// [`Error::UnknownSite`] with the nearest names.
    pub fn id(&self, name: &str) -> Result<SiteId> {
        self.find(name).ok_or_else(|| Error::UnknownSite {
            name: name.to_string(),
            nearest: self.nearest(name),
        })
    }

    /// The site with this exact name or alias, if there is one.
    pub fn find(&self, name: &str) -> Option<SiteId> {
        self.index.get(name).or_else(|| self.aliases.get(name)).copied()
    }

    /// The site's description.
    pub fn get(&self, id: SiteId) -> &Site {
        &self.sites[id.index()]
    }

    /// All sites with their indices, in the order of the forward pass.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        self.sites.iter().enumerate().map(|(i, s)| (SiteId(i as u32), s))
    }

    /// Number of sites.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// True for a network without sites.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Up to five existing names, nearest to `name` first.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(usize, &str)> = self
            .sites
            .iter()
            .map(|s| (edit_distance(name, &s.name), s.name.as_str()))
            .collect();
        scored.sort();
        scored.into_iter().take(5).map(|(_, n)| n.to_string()).collect()
    }
}

/// Levenshtein distance; names are short, so two rows suffice.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let change = above[j] + usize::from(ca != *cb);
            row.push(change.min(above[j + 1] + 1).min(row[j] + 1));
        }
        above = row;
    }
    above[b.len()]
}
