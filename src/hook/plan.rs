//! A pass compiled against one network's site table: per site, what to record, edit and differentiate.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::context::Context;
use super::edit::{Captured, Edit, Event, Registry, Source, SourceOf};
use super::editor::Editor;
use super::record::{Record, Recorder, Records, check_stack};
use super::run::{Output, Pass};
use super::selector::{IndexList, Phase, Positions, SelectedSite, Selector};
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
    /// Whether a later pass uses the captured value, of a timed site that of every step.
    pub history: bool,
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
    output: Output,
    /// Seed of the pass.
    pub(super) seed: u64,
    /// Events raised by edits, in order.
    pub(super) events: Vec<Event>,
    /// Gradient openings, in order of visits.
    pub(super) gradients: Vec<(SiteId, Var)>,
}

impl Plan {
    /// Compiles `pass` for a network with the sites `table`.
    ///
    /// The network's own [`Standing`](super::Standing) edits come first. `captures` names sites whose values later passes use. Selectors, operations, parameters and values are all
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
            output: pass.output,
            seed: pass.seed,
            events: Vec::new(),
            gradients: Vec::new(),
        };
        for record in &pass.records {
            plan.add_record(table, record)?;
        }
        if let Some(standing) = &table.standing {
            for (name, tensor) in &standing.stored {
                if plan.values.stored.insert(name.clone(), tensor.clone()).is_some() {
                    return Err(Error::invalid(
                        format!("the model's own edits and this pass both store a tensor named `{name}`"),
                        "rename one of them",
                    ));
                }
            }
            for edit in &standing.edits {
                plan.add_edit(table, edit, &standing.registry)?;
            }
        }
        for edit in &pass.edits {
            plan.add_edit(table, edit, registry)?;
        }
        for selector in &pass.gradients {
            for selected in selector.resolve(table)?.sites {
                check_gradient(selector, &selected, table.get(selected.site))?;
                plan.actions_mut(table, selected.site).gradient = true;
                plan.set_opens(selected.site);
            }
        }
        for name in captures {
            plan.add_capture(table, name)?.history = true;
        }
        Ok(plan)
    }

    fn add_record(&mut self, table: &SiteTable, record: &Record) -> Result<()> {
        for selected in record.site.resolve(table)?.sites {
            let id = selected.site;
            let site = table.get(id);
            check_times(&record.site, site)?;
            let raw = record.site.raw();
            let key = if raw { format!("{}@raw", site.name) } else { site.name.clone() };
            let recorder = Recorder::new(key, record.clone(), selected, site)?;
            let actions = self.actions_mut(table, id);
            let list = if raw { &mut actions.raw } else { &mut actions.recorders };
            if list.iter().any(|r| r.clashes(&recorder)) {
                return Err(Error::invalid(
                    format!("`{}` is recorded twice in one pass", recorder.key),
                    "merge the two selectors, or record one of them in another pass",
                ));
            }
            list.push(recorder);
        }
        Ok(())
    }

    fn add_edit(&mut self, table: &SiteTable, edit: &Edit, registry: &Registry) -> Result<()> {
        let op = registry.build(edit)?;
        if edit.site.raw() {
            return Err(Error::invalid(
                format!("the edit at `{}` is scoped `@raw`", edit.site),
                "`@raw` says when a record is taken; leave it out",
            ));
        }
        for source in op.sources() {
            self.check_source(table, source, edit)?;
        }
        for selected in edit.site.resolve(table)?.sites {
            let id = selected.site;
            check_times(&edit.site, table.get(id))?;
            let editor = Editor { selector: edit.site.clone(), selected, op: op.clone(), acted: false };
            self.actions_mut(table, id).editors.push(editor);
            self.set_opens(id);
        }
        Ok(())
    }

    /// Makes sure a source will be at hand when its edit runs.
    fn check_source(&mut self, table: &SiteTable, source: &Source, edit: &Edit) -> Result<()> {
        source.check()?;
        let Source::Of(of) = source else { return Ok(()) };
        let by_head = |(axis, _): &(Axis, IndexList)| matches!(axis, Axis::Head | Axis::KvHead);
        if of.heads.is_some() && !edit.site.indices().iter().any(by_head) {
            return Err(Error::invalid(
                format!("the edit at `{}` has a head map but selects no heads", edit.site),
                "name the edited heads, for example `[head=0..8]`; the map gives the source's head for each",
            ));
        }
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

    fn add_capture(&mut self, table: &SiteTable, name: &str) -> Result<&mut Actions> {
        let id = table.id(name)?;
        let actions = self.actions_mut(table, id);
        actions.capture = true;
        Ok(actions)
    }

    /// Whether the value at the site goes to an edit or a later pass.
    pub(super) fn captures(&self, id: SiteId) -> bool {
        self.actions.get(id.index()).and_then(Option::as_ref).is_some_and(|actions| actions.capture)
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
                history: false,
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

    /// Whether somebody listens at `id` or at a later site.
    pub(super) fn wants_from(&self, id: SiteId) -> bool {
        let (word, bit) = (id.index() / 64, id.index() % 64);
        let first = self.wants.get(word).is_some_and(|w| w >> bit != 0);
        first || self.wants.iter().skip(word + 1).any(|w| *w != 0)
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    /// Runs the pass in the differentiable form even where no gradient is asked.
    pub fn differentiable(mut self) -> Self {
        self.form = Form::Differentiable;
        self
    }

    /// Whether anything happens at the site in this step of time.
    pub(super) fn acts(&self, id: SiteId, call: &Context) -> bool {
        self.actions[id.index()].as_ref().is_some_and(|actions| {
            let mut selectors = actions.raw.iter().chain(&actions.recorders).map(|r| &r.record.site);
            actions.gradient
                || actions.capture
                || selectors.any(|s| call.in_time(s))
                || actions.editors.iter().any(|e| call.in_time(&e.selector))
        })
    }

    pub(super) fn take(&mut self, id: SiteId) -> Option<Box<Actions>> {
        self.actions[id.index()].take()
    }

    pub(super) fn put(&mut self, id: SiteId, actions: Box<Actions>) {
        self.actions[id.index()] = Some(actions);
    }

    pub(super) fn capture(&mut self, id: SiteId, actions: &Actions, x: &Tensor, call: &Context) -> Result<()> {
        let fresh =
            || Captured { tensor: x.clone(), call: call.clone(), site: actions.site.clone(), steps: BTreeMap::new() };
        let captured = self.captured.entry(id).or_insert_with(fresh);
        captured.tensor = x.clone();
        captured.call.clone_from(call);
        if let (Some(moment), true) = (call.time, actions.history) {
            let bytes = (captured.steps.len() as u64 + 1) * (x.elem_count() * x.dtype().size_in_bytes()) as u64;
            check_stack(&actions.site, bytes)?;
            captured.steps.insert(moment.step, x.clone());
        }
        Ok(())
    }

    /// A tensor of the bundle.
    pub(super) fn stored(&self, name: &str) -> Option<&Tensor> {
        self.values.stored.get(name)
    }

    /// The captured value that a source refers to, if it has been computed.
    pub(super) fn captured(&self, of: &SourceOf) -> Option<&Captured> {
        let (id, full) = self.referred.get(of.site.as_ref()?)?;
        match &of.pass {
            Some(pass) => self.values.passes.get(&(pass.clone(), full.clone())),
            None => self.captured.get(id),
        }
    }

    /// The edits that have acted nowhere so far: their positions, rows or phase never came.
    pub fn idle(&self) -> Vec<&Selector> {
        let editors = self.actions.iter().flatten().flat_map(|actions| &actions.editors);
        let mut idle: Vec<&Selector> = editors.clone().filter(|e| !e.acted).map(|e| &e.selector).collect();
        idle.retain(|selector| !editors.clone().any(|e| e.acted && e.selector == **selector));
        idle.dedup();
        idle
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

    /// Ends a pass that may have ended before a recorded position or phase came: what was recorded until then.
    pub fn records_so_far(mut self, table: &SiteTable) -> Result<Records> {
        for actions in self.actions.iter_mut().flatten() {
            actions.raw.retain(Recorder::visited);
            actions.recorders.retain(Recorder::visited);
        }
        self.records(table)
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

/// Refuses a time scope at a site that is not visited over time, and a scope of tokens at one that is.
fn check_times(selector: &Selector, site: &Site) -> Result<()> {
    if site.timed {
        let tokens = *selector.positions() != Positions::All || selector.phase() != Phase::Any;
        let rows = selector.rows().is_some() && !site.by_row();
        return match (tokens, rows) {
            (true, _) => Err(Error::invalid(
                format!("`{selector}` is scoped by token positions or a phase, which `{}` does not have", site.name),
                "scope it by time: `@t=0..5`, `@t=-1`, `@every=10`",
            )),
            (_, true) => Err(Error::invalid(
                format!("`{selector}` is scoped by rows, which `{}` does not have", site.name),
                "leave the rows out: all rows share it",
            )),
            _ => Ok(()),
        };
    }
    if selector.time().is_all() {
        return Ok(());
    }
    Err(Error::invalid(
        format!("`{selector}` is scoped by time, which `{}` does not have", site.name),
        "scope it by position (`@0..5`) or phase (`@generated`)",
    ))
}

/// A gradient is taken at whole sites.
fn check_gradient(selector: &Selector, selected: &SelectedSite, site: &Site) -> Result<()> {
    if site.timed {
        return Err(Error::invalid(
            format!("a gradient is asked at `{}`, which is visited in every time step", site.name),
            "compare a run with an edit at the site with one without",
        ));
    }
    let scoped = *selector.positions() != Positions::All || selector.phase() != Phase::Any || selector.rows().is_some();
    if selected.indices.is_empty() && !scoped && !selector.raw() {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the gradient at `{selector}` is narrowed by indices, positions or rows"),
        "ask for the whole site, and take the part from the gradient",
    ))
}
