//! Sites: the named places of a network where activations can be recorded and edited.
//!
//! A network has one [`SiteTable`], made when it is built; parser, `optrode sites`, documentation and tests derive
//! from it. A site is interned once; on the hot path it is an index ([`SiteId`]).

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::standing::Standing;
use crate::{Error, Result};

/// The index of a site in its network's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteId(pub(crate) u32);

impl SiteId {
    /// The site of a place that a network does not have: nobody ever listens there.
    pub const ABSENT: Self = Self(u32::MAX);

    /// The site that comes after this one in its network's table.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

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
    /// Neurons of an MLP layer or of a population.
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
    /// Channels of a map over an image.
    Channel,
    /// Rows of such a map, from the top.
    Y,
    /// Columns of such a map, from the left.
    X,
    /// Classes of a classifier.
    Class,
    /// Exemplars of a unit.
    Exemplar,
    /// Neurons that a projection ends at.
    Post,
    /// Neurons that a projection comes from.
    Pre,
    /// Joints of a body, from the head.
    Joint,
    /// Dorsal 0, ventral 1.
    Side,
    /// Links of a body, from the head.
    Link,
    /// Dendritic segments of a neuron.
    Segment,
    /// Synapses of a segment.
    Synapse,
}

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 25] = [
        Self::Batch,
        Self::Pos,
        Self::Head,
        Self::KvHead,
        Self::DHead,
        Self::DModel,
        Self::Neuron,
        Self::Query,
        Self::Key,
        Self::Vocab,
        Self::One,
        Self::Width,
        Self::Time,
        Self::Channel,
        Self::Y,
        Self::X,
        Self::Class,
        Self::Exemplar,
        Self::Post,
        Self::Pre,
        Self::Joint,
        Self::Side,
        Self::Link,
        Self::Segment,
        Self::Synapse,
    ];

    /// The axis of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|axis| axis.name() == name)
    }

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
            Self::Channel => "channel",
            Self::Y => "y",
            Self::X => "x",
            Self::Class => "class",
            Self::Exemplar => "exemplar",
            Self::Post => "post",
            Self::Pre => "pre",
            Self::Joint => "joint",
            Self::Side => "side",
            Self::Link => "link",
            Self::Segment => "segment",
            Self::Synapse => "synapse",
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
    /// True where the site is visited once in every time step of a run: its axes are those of one step, a record of the
    /// run is stacked along a leading `time`, and `@t=..` and `@every=..` scope it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed: bool,
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

    /// True where the tensor holds one entry per row and position: its first two axes are batch and pos.
    pub fn by_position(&self) -> bool {
        self.axes.starts_with(&[Axis::Batch, Axis::Pos])
    }

    /// True where the tensor holds one entry per row of every step of a simulation.
    pub fn by_row(&self) -> bool {
        self.timed && self.axes.first() == Some(&Axis::Batch)
    }

    /// True where the tensor holds one entry per place that reducers count: per row and position, or per row and step.
    pub fn by_place(&self) -> bool {
        self.by_position() || self.by_row()
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
    /// What acts in every pass.
    pub(super) standing: Option<Arc<Standing>>,
}

impl SiteTable {
    /// The same sites with edits that act in every pass; `None` for none.
    pub(crate) fn with_standing(mut self, standing: Option<Standing>) -> Self {
        self.standing = standing.map(Arc::new);
        self
    }

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
        self.find(name).ok_or_else(|| Error::UnknownSite { name: name.to_string(), nearest: self.nearest(name) })
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

    /// All aliases with the sites they stand for, in no particular order.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, SiteId)> {
        self.aliases.iter().map(|(alias, id)| (alias.as_str(), *id))
    }

    /// Up to five existing names or aliases, nearest to `name` first.
    ///
    /// A name that contains the query, best at its end, is nearest; else the one with a part most like it. Names that
    /// differ in numbers only (`blocks.0.x`, `blocks.1.x`) count as one, shown with the number nearest to the query's.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let query: String = name.chars().take(QUERY).collect::<String>().to_ascii_lowercase();
        let (form, number) = without_numbers(&query);
        let names = self.iter().map(|(_, site)| (false, site.name.as_str()));
        let names = names.chain(self.aliases().map(|(alias, _)| (true, alias)));
        let mut forms: HashMap<String, (usize, bool, &str)> = HashMap::new();
        for (alias, name) in names {
            let (form, n) = without_numbers(&name.to_ascii_lowercase());
            let candidate = (n.abs_diff(number), alias, name);
            let best = forms.entry(form).or_insert(candidate);
            *best = candidate.min(*best);
        }
        let mut scored: Vec<_> = forms
            .into_iter()
            .map(|(f, (_, alias, name))| {
                let within = within_distance(&form, &f);
                (within, !f.ends_with(&form), edit_distance(&form, &f), alias, name)
            })
            .collect();
        scored.sort_unstable();
        scored.into_iter().take(5).map(|(.., name)| name.to_string()).collect()
    }
}

/// Characters of a query that [`SiteTable::nearest`] looks at.
const QUERY: usize = 200;

/// The text with each run of digits replaced by `#`, and the first number (0 if there is none).
fn without_numbers(text: &str) -> (String, usize) {
    let mut form = String::new();
    let mut first = None;
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        if !digits.is_empty() {
            first = first.or(Some(digits.parse().unwrap_or(usize::MAX)));
            form.push('#');
        }
        form.push_str(&part[digits.len()..]);
    }
    (form, first.unwrap_or(0))
}

/// Levenshtein distance; names are short, so two rows suffice.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let length = b.chars().count();
    last_row(a, b, (0..=length).collect())[length]
}

/// The least Levenshtein distance from `a` to any part of `b`.
fn within_distance(a: &str, b: &str) -> usize {
    let rows = last_row(a, b, vec![0; b.chars().count() + 1]); // 0: what stands before the part is free
    rows.into_iter().min().unwrap_or(0)
}

fn last_row(a: &str, b: &str, first: Vec<usize>) -> Vec<usize> {
    let b: Vec<char> = b.chars().collect();
    let mut above = first;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let change = above[j] + usize::from(ca != *cb);
            row.push(change.min(above[j + 1] + 1).min(row[j] + 1));
        }
        above = row;
    }
    above
}
