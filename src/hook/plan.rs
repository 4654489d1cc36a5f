//! A pass compiled against one network's site table: per site, what to record, edit and differentiate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::context::Context;
use super::edit::Captured;
use super::edit::{EditOp, Event, Registry, Source};
use super::edit::{align, by_position};
use super::record::{Recorder, Records};
use super::run::Pass;
use super::selector::{SelectedSite, Selector};
use super::site::{Axis, Site, SiteId, SiteTable};
use super::tap::Form;
use crate::{Error, Result};

/// What happens at one site.
pub(super) struct Actions {
    pub site: Arc<Site>,
    pub raw: Vec<Recorder>,
    pub editors: Vec<Editor>,
    pub recorders: Vec<Recorder>,
    pub gradient: bool,
    pub capture: bool,
}

/// Tensors that edits of a job may refer to: stored ones by name, and captured ones by (pass, site name).
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Tensors of the bundle.
    pub stored: BTreeMap<String, Tensor>,
    pub(crate) passes: HashMap<(String, String), Captured>,
}

/// A compiled pass; holds what was recorded while it runs.
pub struct Plan {
    wants: Vec<u64>,
    opens: Vec<u64>,
    actions: Vec<Option<Box<Actions>>>,
    values: Values,
    captured: HashMap<SiteId, Captured>,
    /// Sites that edits refer to, as written: index and full name.
    referred: HashMap<String, (SiteId, String)>,
    form: Form,
    /// Seed of the pass.
    pub(super) seed: u64,
    /// Events raised by edits, in order.
    pub(super) events: Vec<Event>,
    /// Gradient openings, in order of visits.
    pub(super) gradients: Vec<(SiteId, Var)>,
    /// The rows and positions seen so far, joined over the calls of the pass.
    seen: Option<Context>,
}

impl Plan {
    /// Compiles `pass` for a network with the sites `table`.
    ///
    /// `captures` names sites whose values later passes use. Selectors, operations, parameters and values are all
    /// checked here, before any work is done.
    pub fn compile(
        table: &SiteTable,
        pass: &Pass,
        registry: &Registry,
        values: Values,
        captures: &[String],
    ) -> Result<Self> {
        let words = table.len().div_ceil(64);
        let mut plan = Self {
            wants: vec![0; words],
            opens: vec![0; words],
            actions: (0..table.len()).map(|_| None).collect(),
            values,
            captured: HashMap::new(),
            referred: HashMap::new(),
            form: if pass.gradients.is_empty() { Form::Inference } else { Form::Differentiable },
            seed: pass.seed,
            events: Vec::new(),
            gradients: Vec::new(),
            seen: None,
        };
        for record in &pass.records {
            plan.add_record(table, record)?;
        }
        for edit in &pass.edits {
            plan.add_edit(table, edit, registry)?;
        }
        for selector in &pass.gradients {
            for selected in selector.resolve(table)?.sites {
                plan.actions_mut(table, selected.site).gradient = true;
                plan.set_opens(selected.site);
            }
        }
        for name in captures {
            plan.add_capture(table, name)?;
        }
        Ok(plan)
    }

    fn add_record(&mut self, table: &SiteTable, record: &super::record::Record) -> Result<()> {
        for selected in record.site.resolve(table)?.sites {
            let id = selected.site;
            let site = table.get(id);
            let raw = record.site.raw();
            let key = if raw { format!("{}@raw", site.name) } else { site.name.clone() };
            let recorder = Recorder::new(key, record.clone(), selected, site)?;
            let actions = self.actions_mut(table, id);
            let list = if raw { &mut actions.raw } else { &mut actions.recorders };
            let twin =
                list.iter().any(|r| r.key == recorder.key && r.record.reduce.is_some() == record.reduce.is_some());
            if twin {
                return Err(Error::invalid(
                    format!("`{}` is recorded twice in one pass", recorder.key),
                    "merge the two selectors, or record one of them in another pass",
                ));
            }
            list.push(recorder);
        }
        Ok(())
    }

    fn add_edit(&mut self, table: &SiteTable, edit: &super::edit::Edit, registry: &Registry) -> Result<()> {
        let op = registry.build(edit)?;
        for source in op.sources() {
            self.check_source(table, source, edit)?;
        }
        for selected in edit.site.resolve(table)?.sites {
            let id = selected.site;
            let editor = Editor { selector: edit.site.clone(), selected, op: op.clone() };
            self.actions_mut(table, id).editors.push(editor);
            self.set_opens(id);
        }
        Ok(())
    }

    /// Makes sure a source will be at hand when its edit runs.
    fn check_source(&mut self, table: &SiteTable, source: &Source, edit: &super::edit::Edit) -> Result<()> {
        source.check()?;
        let Source::Of(of) = source else { return Ok(()) };
        if let Some(name) = &of.tensor {
            if !self.values.stored.contains_key(name) {
                let known: Vec<&str> = self.values.stored.keys().map(String::as_str).collect();
                return Err(Error::invalid(
                    format!("the edit at `{}` uses the stored tensor `{name}`, which the bundle lacks", edit.site),
                    format!("the bundle holds: {}", if known.is_empty() { "nothing".into() } else { known.join(", ") }),
                ));
            }
            return Ok(());
        }
        let Some(name) = &of.site else { return Ok(()) };
        let id = table.id(name)?;
        match &of.pass {
            Some(pass) => {
                let key = (pass.clone(), table.get(id).name.clone());
                if !self.values.passes.contains_key(&key) {
                    return Err(Error::invalid(
                        format!("the edit at `{}` uses pass `{pass}`, which has not run before it", edit.site),
                        "name an earlier pass of the same job",
                    ));
                }
            }
            None => {
                for selected in edit.site.resolve(table)?.sites {
                    if id >= selected.site {
                        return Err(Error::invalid(
                            format!(
                                "the edit at `{}` uses `{name}` of the same pass, which does not come before it",
                                table.get(selected.site).name
                            ),
                            "use an earlier site, or an earlier pass",
                        ));
                    }
                }
                self.add_capture(table, name)?;
            }
        }
        self.referred.insert(name.clone(), (id, table.get(id).name.clone()));
        Ok(())
    }

    fn add_capture(&mut self, table: &SiteTable, name: &str) -> Result<()> {
        let id = table.id(name)?;
        self.actions_mut(table, id).capture = true;
        Ok(())
    }

    fn actions_mut(&mut self, table: &SiteTable, id: SiteId) -> &mut Actions {
        self.wants[id.index() / 64] |= 1 << (id.index() % 64);
        self.actions[id.index()].get_or_insert_with(|| {
            Box::new(Actions {
                site: Arc::new(table.get(id).clone()),
                raw: Vec::new(),
                editors: Vec::new(),
                recorders: Vec::new(),
                gradient: false,
                capture: false,
            })
        })
    }

    fn set_opens(&mut self, id: SiteId) {
        self.opens[id.index() / 64] |= 1 << (id.index() % 64);
    }

    #[inline]
    pub(super) fn wants(&self, id: SiteId) -> bool {
        self.wants.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    #[inline]
    pub(super) fn opens(&self, id: SiteId) -> bool {
        self.opens.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Runs the pass in the differentiable form even where no gradient is asked.
    pub fn differentiable(mut self) -> Self {
        self.form = Form::Differentiable;
        self
    }

    pub(super) fn take(&mut self, id: SiteId) -> Option<Box<Actions>> {
        self.actions[id.index()].take()
    }

    pub(super) fn put(&mut self, id: SiteId, actions: Box<Actions>) {
        self.actions[id.index()] = Some(actions);
    }

    pub(super) fn capture(&mut self, id: SiteId, site: &Arc<Site>, x: &Tensor, call: &Context) {
        let captured = Captured { tensor: x.clone(), call: call.clone(), site: site.clone() };
        self.captured.insert(id, captured);
    }

    pub(super) fn enter(&mut self, call: &Context) {
        match &mut self.seen {
            Some(seen) if seen.rows == call.rows => seen.append(call),
            _ => self.seen = Some(call.clone()),
        }
    }

    /// Takes the events raised since the last call.
    pub fn drain_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The gradient openings of this pass: (site, zero variable), in order of visits.
    pub fn openings(&self) -> &[(SiteId, Var)] {
        &self.gradients
    }

    /// Ends the pass: everything recorded.
    pub fn records(mut self, table: &SiteTable) -> Result<Records> {
        self.finish_into(table, "", &mut Values::default())
    }

    /// Ends the pass `name` of a job: everything recorded; what later passes may use goes into `values`.
    pub(crate) fn finish_into(&mut self, table: &SiteTable, name: &str, values: &mut Values) -> Result<Records> {
        let mut records = Records::default();
        for actions in self.actions.iter_mut().filter_map(Option::take) {
            let actions = *actions;
            for recorder in actions.raw.into_iter().chain(actions.recorders) {
                recorder.finish(&actions.site, &mut records)?;
            }
        }
        for (id, captured) in self.captured.drain() {
            values.passes.insert((name.to_string(), table.get(id).name.clone()), captured);
        }
        Ok(records)
    }
}

/// One edit at one site.
pub(super) struct Editor {
    selector: Selector,
    selected: SelectedSite,
    pub op: Arc<dyn EditOp>,
}

impl Editor {
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The selected part of `x`.
    pub fn narrow(&self, x: &Tensor, site: &Site, call: &Context) -> Result<Tensor> {
        let mut indices = self.selected.indices.iter();
        indices.try_fold(x.clone(), |part, (dim, kept)| pick(&part, *dim, kept, site, call))
    }

    /// The operation's values, laid out for this call.
    pub fn values(
        &self,
        plan: &Plan,
        part: &Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Vec<Tensor>> {
        self.op.sources().into_iter().map(|s| self.value(plan, s, part, site, call, scope)).collect()
    }

    fn value(
        &self,
        plan: &Plan,
        source: &Source,
        part: &Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Tensor> {
        if let Some(constant) = source.constant(part.device()) {
            return constant;
        }
        let Source::Of(of) = source else {
            return Err(Error::invalid("an edit value of an unknown kind", "see the edit schema"));
        };
        let captured = match (&of.tensor, &of.pass, &of.site) {
            (Some(name), _, _) => {
                let stored = plan.values.stored.get(name).ok_or_else(|| {
                    Error::invalid(format!("the stored tensor `{name}` is missing"), "put it into the bundle")
                })?;
                if self.op.wants_reference_set() || !site.by_position() {
                    return Ok(stored.clone());
                }
                return by_position(stored, part.rank(), call, scope);
            }
            (None, Some(pass), Some(site)) => {
                let full = plan.referred.get(site).map(|(_, full)| full.clone());
                full.and_then(|full| plan.values.passes.get(&(pass.clone(), full)))
            }
            (None, None, Some(site)) => plan.referred.get(site).and_then(|(id, _)| plan.captured.get(id)),
            (None, _, None) => None,
        };
        let captured = captured.ok_or_else(|| {
            Error::invalid(
                format!("the value of site {:?} is not at hand when `{}` is edited", of.site, self.selector),
                "use a site that the network computes before the edited one",
            )
        })?;
        if self.op.wants_reference_set() {
            return Ok(captured.tensor.detach());
        }
        let mut value = align(of, captured, call, scope)?;
        for (dim, kept) in &self.selected.indices {
            let axis = captured.site.axes.get(*dim);
            let heads = of.heads.as_ref().filter(|_| matches!(axis, Some(Axis::Head | Axis::KvHead)));
            let kept = heads.unwrap_or(kept);
            let open = axis == Some(&Axis::Key);
            if axis.is_none() || !open && kept.iter().any(|i| *i >= value.dims()[*dim]) {
                return Err(Error::invalid(
                    format!("the value {:?} of shape {:?} lacks the selected indices", of.site, value.dims()),
                    "use a value with the site's own axes, or a head map within its heads",
                ));
            }
            value = pick(&value, *dim, kept, &captured.site, call)?;
        }
        Ok(value)
    }

    /// Puts the replacement `new` of `part` into `x`, at the rows and positions in scope.
    pub fn write_back(
        &self,
        x: &Tensor,
        part: &Tensor,
        new: Tensor,
        site: &Site,
        call: &Context,
        scope: Option<&[bool]>,
    ) -> Result<Tensor> {
        if new.dims() != part.dims() {
            return Err(Error::invalid(
                format!("an edit at `{}` gave shape {:?} for {:?}", site.name, new.dims(), part.dims()),
                "an operation must keep the shape",
            ));
        }
        let mut whole = new;
        // Innermost axis last: each step puts the narrowed axis back into the tensor narrowed by the earlier ones only.
        for i in (0..self.selected.indices.len()).rev() {
            let (dim, kept) = &self.selected.indices[i];
            let mut earlier = self.selected.indices[..i].iter();
            let base = earlier.try_fold(x.clone(), |base, (d, k)| pick(&base, *d, k, site, call))?;
            whole = put(&base, &whole, *dim, kept, site, call)?;
        }
        let Some(mask) = self.mask(site, call, scope)? else { return Ok(whole) };
        let mask = mask.to_device(x.device())?.broadcast_as(x.shape())?;
        Ok(mask.where_cond(&whole.contiguous()?, &x.contiguous()?)?)
    }

    /// Where the edit acts, broadcastable to the site; `None` for everywhere.
    ///
    /// In an attention map that is never a padded key nor one after its query, which a pass without padding, or with a
    /// cache, does not have.
    fn mask(&self, site: &Site, call: &Context, scope: Option<&[bool]>) -> Result<Option<Tensor>> {
        if scope.is_none() && site.dim(Axis::Key).is_none() {
            return Ok(None);
        }
        let positional = site.dim(Axis::Pos).or(site.dim(Axis::Query)).ok_or_else(|| {
            Error::invalid(
                format!("`{}` has no positions, yet the edit is scoped by position, phase or row", site.name),
                "edit it without a scope",
            )
        })?;
        let mut shape = vec![1; site.axes.len()];
        shape[0] = call.rows;
        shape[positional] = call.pos;
        let acts = |at: usize| scope.is_none_or(|s| s[at]);
        let places = 0..call.rows * call.pos;
        let mask: Vec<u8> = match site.dim(Axis::Key) {
            None => places.map(|at| u8::from(acts(at))).collect(),
            Some(key) => {
                shape[key] = call.keys;
                let pairs = places.flat_map(|at| (0..call.keys).map(move |column| (at, column)));
                pairs.map(|(at, column)| u8::from(acts(at) && call.precedes(at, column))).collect()
            }
        };
        Ok(Some(Tensor::from_vec(mask, shape, &Device::Cpu)?))
    }
}

/// Slices of `x` along an axis. Key indices are positions of the row; a row that lacks one yields its first key.
fn pick(x: &Tensor, dim: usize, kept: &[usize], site: &Site, call: &Context) -> Result<Tensor> {
    let slices = |x: &Tensor, columns: Vec<u32>| -> Result<Tensor> {
        let index = Tensor::from_vec(columns, kept.len(), x.device())?;
        Ok(x.contiguous()?.index_select(&index, dim)?)
    };
    if site.axes[dim] != Axis::Key {
        return slices(x, kept.iter().map(|i| *i as u32).collect());
    }
    let rows: Result<Vec<Tensor>> = (0..call.rows)
        .map(|row| {
            let columns = kept.iter().map(|p| call.key_column(row, *p).unwrap_or(0) as u32);
            slices(&x.narrow(0, row, 1)?, columns.collect())
        })
        .collect();
    Ok(Tensor::cat(&rows?, 0)?)
}

/// The inverse of [`pick`]: `base` with the picked slices taken from `part`.
fn put(base: &Tensor, part: &Tensor, dim: usize, kept: &[usize], site: &Site, call: &Context) -> Result<Tensor> {
    if site.axes[dim] != Axis::Key {
        return insert(base, part, dim, kept.iter().map(|i| Some(*i)));
    }
    let rows: Result<Vec<Tensor>> = (0..call.rows)
        .map(|row| {
            let columns = kept.iter().map(|p| call.key_column(row, *p));
            insert(&base.narrow(0, row, 1)?, &part.narrow(0, row, 1)?, dim, columns)
        })
        .collect();
    Ok(Tensor::cat(&rows?, 0)?)
}

/// `base` with the slices `columns` of axis `dim` taken from `part`: exact, and with a gradient to both.
fn insert(base: &Tensor, part: &Tensor, dim: usize, columns: impl Iterator<Item = Option<usize>>) -> Result<Tensor> {
    let size = base.dim(dim)?;
    let mut from: Vec<u32> = (0..size as u32).collect();
    for (i, column) in columns.enumerate() {
        if let Some(column) = column {
            from[column] = (size + i) as u32;
        }
    }
    let both = Tensor::cat(&[base, part], dim)?.contiguous()?;
    Ok(both.index_select(&Tensor::from_vec(from, size, base.device())?, dim)?)
}
