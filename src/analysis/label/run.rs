//! Labelling: a model and texts, or the atlas of a scan, to labels with their scores.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ablation::{Ablation, ablate};
use super::telling::{Telling, ToldUnits, tell};
use super::text::{
    self, Label, Layer, Options, RULES, Reading, Split, Text, Trace, Unit, UnitId, WINDOW, Watch, exemplars,
};
use crate::analysis::memory::{self, Needs};
use crate::analysis::scan::{self, About, Manifest};
use crate::data::Documents;
use crate::hook::Selector;
use crate::models::{Model, Network};
use crate::report::Progress;
use crate::report::chart::TokenRow;
use crate::store::atlas::{DATABASE, Database, LabelRow, Labeller, MANIFEST, NewLabel};
use crate::store::{HubOptions, sha256_bytes};
use crate::{Error, Result};

/// What is asked of a labelling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The units.
    pub units: Selector,
    /// Tokens that are read, about.
    pub tokens: u64,
    /// Longest piece that the network reads at once, in tokens.
    pub window: usize,
    /// Most tokens of a batch, padding included.
    pub batch: usize,
    /// How units are labelled.
    pub options: Options,
}

impl Request {
    /// The units of this selector, and defaults.
    pub fn of(units: Selector) -> Self {
        Self { units, tokens: 120_000, window: 256, batch: 2048, options: Options::default() }
    }
}

/// What a labelling gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// Documents read, by split: selection, calibration, validation, test.
    pub documents: [usize; 4],
    /// Tokens that count.
    pub tokens: u64,
    /// Fewest active windows of a unit that is not too rare.
    pub least: u64,
    /// By site and explainer.
    pub layers: Vec<Layer>,
    /// All units.
    pub units: Vec<Unit>,
    /// Units in detail.
    pub sheets: Vec<Sheet>,
    /// What the network loses without labelled neurons, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablation: Option<Ablation>,
}

/// A unit in detail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// The unit.
    pub name: String,
    /// Its label.
    pub label: Label,
    /// Its strongest windows in the test documents, with the values above its level.
    pub rows: Vec<TokenRow>,
}

/// Seconds that a labelling took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The pass of the network.
    pub pass: f64,
    /// Search and scores.
    pub labels: f64,
    /// Search and scores, per unit.
    pub per_unit: f64,
}

/// A reading with the traces of units: what every explainer begins with.
pub struct Evidence {
    /// The texts.
    pub reading: Reading,
    /// The sites.
    pub watches: Vec<Watch>,
    /// Every unit's active places.
    pub traces: Vec<(UnitId, Trace)>,
}

impl Evidence {
    /// Reads texts with a model.
    ///
    /// # Errors
    /// Too few documents, more memory than there is, and whatever the network refuses.
    pub fn of(
        model: &Model,
        texts: &[Text],
        groups: &[String],
        watches: Vec<Watch>,
        request: &Request,
        progress: &Progress,
    ) -> Result<Self> {
        let window = model.decoder.facts().context.map_or(request.window, |limit| request.window.min(limit));
        let reading = Reading::of(model.tokenizer()?, texts, groups, window, request.options.seed)?;
        let batch = request.batch.max(window) as u64;
        let widths: u64 = watches
            .iter()
            .filter_map(|w| model.decoder.sites().find(&w.site))
            .map(|id| {
                let sizes = &model.decoder.sites().get(id).sizes;
                sizes.iter().flatten().map(|n| *n as u64).product::<u64>()
            })
            .sum();
        let needs = Needs::default()
            .and("activations of a batch", memory::activations(model.decoder.sites(), batch, window as u64))
            .and("activations that are looked at", batch * widths * 4)
            .and("active places of all units", text::bytes(&watches, reading.count()))
            .and("texts and classes", reading.tokens.len() as u64 * 120);
        needs.check(memory::available(), "label fewer --units, or on fewer --tokens")?;
        progress.begin(reading.tokens.len() as u64);
        let traces = text::traces(model, &reading, &watches, request.batch, |tokens| progress.advance(tokens as u64))?;
        Ok(Self { reading, watches, traces })
    }
}

/// The units that a selector names, among the sites that are watched in a scan.
///
/// # Errors
/// A selector that matches nothing, or that names positions, rows or what is no unit.
pub fn watches(model: &Model, selector: &Selector, known: &[scan::Watched]) -> Result<Vec<Watch>> {
    let selection = selector.resolve(model.decoder.sites())?;
    let mut watches = Vec::new();
    for selected in &selection.sites {
        let Some(site) = known.iter().find(|w| w.site == selected.name) else {
            let names: Vec<&str> = known.iter().map(|w| w.site.as_str()).take(6).collect();
            return Err(Error::invalid(
                format!("`{}` has no units in the atlas", selected.name),
                format!("its sites are {}{}", names.join(", "), if known.len() > names.len() { ", ..." } else { "" }),
            ));
        };
        let numbers = match selected.indices.as_slice() {
            [] => (0..site.width).collect(),
            [(2, numbers)] => numbers.clone(),
            _ => {
                return Err(Error::invalid(
                    format!("`{selector}` names more than units"),
                    "name units by site and number, such as 'blocks.3.mlp.hook_post[neuron=12,40]'",
                ));
            }
        };
        watches.push(Watch::of(model, &site.site, site.layer, site.kind, numbers));
    }
    Ok(watches)
}

/// The neurons of every MLP: what is labelled without a scan.
pub fn neurons(model: &Model, selector: &Selector) -> Result<Vec<Watch>> {
    let known = scan::watched(model.decoder.sites(), &scan::Options::default());
    watches(model, selector, &known)
}

/// Labels all units of the evidence by rules and by what they promote.
///
/// # Errors
/// A model without a tokenizer.
pub fn label(model: &Model, evidence: &Evidence, options: &Options) -> Result<Labelled> {
    let Evidence { reading, watches, traces } = evidence;
    let tokenizer = model.tokenizer()?;
    let promoted = text::promoted(model, watches)?;
    let (units, layers) = text::study(reading, tokenizer, watches, traces, &|id| promoted.get(id).cloned(), options)?;
    let splits = [Split::Selection, Split::Calibration, Split::Validation, Split::Test];
    let sheets = sheets(model, evidence, &units)?;
    Ok(Labelled {
        documents: splits.map(|split| reading.of_split(split).count()),
        tokens: reading.count(),
        least: options.least,
        layers,
        units,
        sheets,
        ablation: None,
    })
}

/// Units that are shown of every site: the best and the middle one of those whose label is more than chance.
fn sheets(model: &Model, evidence: &Evidence, units: &[Unit]) -> Result<Vec<Sheet>> {
    let tokenizer = model.tokenizer()?;
    let mut by_site: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, (id, _)) in evidence.traces.iter().enumerate() {
        if units[i].by(RULES).is_some_and(|l| l.holds) && !units[i].exemplars.is_empty() {
            by_site.entry(id.watch).or_default().push(i);
        }
    }
    let mut sheets = Vec::new();
    for mut members in by_site.into_values() {
        let low = |i: &usize| units[*i].by(RULES).map_or(0.0, |l| l.held.interval.0);
        members.sort_by(|a, b| low(b).total_cmp(&low(a)).then(a.cmp(b)));
        let mut shown = vec![members[0], members[members.len() / 2]];
        shown.dedup();
        for i in shown {
            let (unit, trace) = (&units[i], &evidence.traces[i].1);
            let Some(label) = unit.by(RULES) else { continue };
            let row = |e: &text::Exemplar| TokenRow {
                name: format!("document {}", e.document),
                tokens: e.places.clone().map(|p| tokenizer.token_text(evidence.reading.tokens[p])).collect(),
                values: exemplars::values(trace, &e.places).into_iter().map(f64::from).collect(),
                focus: Some(e.peak - e.places.start),
            };
            let rows = unit.exemplars.iter().map(row).collect();
            sheets.push(Sheet { name: unit.name(), label: label.clone(), rows });
        }
    }
    Ok(sheets)
}

/// The atlas of a scan that is to be labelled, and the texts that were scanned.
pub struct Scan {
    /// The scan's own words.
    pub about: About,
    database: std::path::PathBuf,
    documents: Documents,
}

impl Scan {
    /// Opens an atlas of this model with its corpus: the one that its manifest names, or `corpus`, which must be the same
    /// files.
    ///
    /// # Errors
    /// An atlas of another model, a shard, an atlas that is damaged, a corpus that is not there or not the one scanned.
    pub fn open(model: &Model, atlas: &Path, corpus: Option<&str>, hub: &HubOptions) -> Result<Self> {
        let (about, ..) = scan::open_of(model, atlas)?;
        let database = atlas.join(DATABASE);
        if let Some(shard) = about.job.shard {
            let what = format!("this is the atlas of shard {shard}, not of a whole corpus");
            return Err(Error::file(atlas, what, "merge the shards with `optrode merge`"));
        }
        let named = match corpus {
            Some(corpus) => corpus.to_string(),
            None => Manifest::open(atlas.join(MANIFEST))?.corpus.ok_or_else(|| {
                Error::file(atlas, "the atlas was merged and does not name its corpus", "name it with --corpus")
            })?,
        };
        let documents = Documents::open(&named, about.job.documents.clone(), hub).map_err(|e| {
            Error::file(
                atlas,
                format!("the corpus `{named}` of the atlas cannot be read: {e}"),
                "name where it is now with --corpus",
            )
        })?;
        if documents.survey != about.job.corpus {
            return Err(Error::file(
                atlas,
                format!(
                    "`{named}` is not the corpus that was scanned: its files have other hashes, documents or groups"
                ),
                "name the texts of the scan with --corpus, or scan again",
            ));
        }
        Ok(Self { about, database, documents })
    }

    /// The texts to label on, and the names of their groups.
    ///
    /// # Errors
    /// When the corpus cannot be read.
    pub fn texts(&self, request: &Request) -> Result<(Vec<Text>, Vec<String>)> {
        let reached = &self.about.reached;
        let per_token = reached.bytes as f64 / reached.tokens().max(1) as f64;
        let bytes = |tokens: u64| (tokens as f64 * per_token).ceil() as u64;
        let piece = bytes(request.window.max(WINDOW) as u64);
        let texts = text::sample(&self.documents, bytes(request.tokens), piece, request.options.seed)?;
        Ok((texts, self.documents.survey.groups.clone()))
    }

    /// The sha256 of everything that labels depend on.
    ///
    /// # Errors
    /// A request that JSON cannot hold.
    pub fn stamp(&self, request: &Request) -> Result<String> {
        let job = json!({ "scan": self.about.job, "request": { "tokens": request.tokens, "window": request.window,
            "options": request.options }, "optrode": env!("CARGO_PKG_VERSION") });
        Ok(sha256_bytes(job.to_string().as_bytes()))
    }

    /// Writes the labels of units into the atlas, in one transaction, in the place of those that the same explainers gave
    /// them before. Returns how many were written.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, labelled: &Labelled, request: &Request) -> Result<usize> {
        let stamp = self.stamp(request)?;
        let ids = self.unit_ids()?;
        let (mut rows, mut again) = (Vec::new(), Vec::new());
        for unit in &labelled.units {
            let id = ids.get(&unit.site).and_then(|ids| ids.get(unit.number)).copied().ok_or_else(|| {
                Error::file(&self.database, format!("it lacks {}", unit.name()), "the file is damaged: scan again")
            })?;
            again.extend([RULES, text::PROMOTES].map(|explainer| (id, explainer.to_string())));
            rows.extend(unit.labels.iter().map(|label| row(id, unit, label, &stamp, request)));
        }
        Labeller::open(&self.database)?.put(&rows, &again)?;
        Ok(rows.len())
    }

    /// The path of its database.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// All labels that it holds.
    pub(super) fn labels(&self) -> Result<Vec<LabelRow>> {
        Database::open(&self.database)?.labels(None)
    }

    /// The ids of the units of every site.
    pub(super) fn unit_ids(&self) -> Result<BTreeMap<String, Vec<i64>>> {
        let database = Database::open(&self.database)?;
        let sites = database.sites()?.into_iter().enumerate();
        sites.map(|(index, site)| Ok((site.name, database.unit_ids(index)?))).collect()
    }
}

/// A label as a row of the atlas.
fn row(id: i64, unit: &Unit, label: &Label, stamp: &str, request: &Request) -> NewLabel {
    let provenance = json!({
        "optrode": env!("CARGO_PKG_VERSION"),
        "job": stamp,
        "tokens": request.tokens,
        "seed": request.options.seed,
        "sign": unit.sign,
        "level": unit.level,
        "rule": label.rule,
        "criterion": "IoU on selection documents, less 0.01 for every part beyond the first",
        "selection": label.selection,
        "held": label.held,
        "permuted": label.permuted.is_finite().then_some(label.permuted),
        "chance": label.chance,
        "p": label.p,
        "holds": label.holds,
    });
    NewLabel {
        unit: id,
        explainer: label.explainer.clone(),
        text: label.text.clone(),
        score: Some(label.held.auroc),
        coverage: Some(label.held.overlap.recall()),
        provenance: provenance.to_string(),
    }
}

/// Labels the units of an atlas and writes the labels into it: rules at once, words one by one; then silences neurons by
/// their labels, if that is wanted.
///
/// # Errors
/// As [`Evidence::of`], [`Scan::write`], [`tell`] and [`ablate`].
pub fn label_atlas(
    model: &Model,
    scan: &Scan,
    request: &Request,
    telling: &Telling,
    ablated: bool,
    progress: &Progress,
) -> Result<(Labelled, ToldUnits, Seconds)> {
    let watches = watches(model, &request.units, &scan.about.watched)?;
    let (texts, groups) = scan.texts(request)?;
    let clock = Instant::now();
    progress.task("reading");
    let evidence = Evidence::of(model, &texts, &groups, watches, request, progress)?;
    let pass = clock.elapsed().as_secs_f64();
    progress.task(format!("labelling {} units", evidence.traces.len()));
    let mut labelled = label(model, &evidence, &request.options)?;
    let labels = clock.elapsed().as_secs_f64() - pass;
    scan.write(&labelled, request)?;
    let per_unit = labels / evidence.traces.len().max(1) as f64;
    let told = match telling.draws > 0 || telling.endpoint.is_some() {
        true => tell(model, scan, &evidence, &mut labelled, telling, request, progress)?,
        false => ToldUnits::default(),
    };
    if ablated {
        labelled.ablation = Some(ablate(model, &evidence, &labelled, request.options.seed, progress)?);
    }
    Ok((labelled, told, Seconds { pass, labels, per_unit }))
}
