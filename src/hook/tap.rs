//! The tap: what a network calls once per site.
//!
//! ```text
//! let post = tap.at(self.site.mlp_post, post)?;      // identity, and free, unless somebody listens
//! ```
//!
//! A simulation visits its sites anew in every time step ([`Tap::tick`]); time scopes say in which of them one listens.
//!
//! At a site, in this order and no other: record with `@raw`; apply the edits in the order given; open the gradient;
//! record; hand the tensor on.

use candle_core::{Tensor, Var};

use super::context::{Context, Moment};
use super::edit::{EditContext, Event};
use super::editor::Editor;
use super::plan::Plan;
use super::run::Output;
use super::site::{Site, SiteId};
use crate::Result;

/// Which of the two forms of the arithmetic a forward pass uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Composed operations that all have a backward.
    Differentiable,
    /// Fast kernels that keep no graph.
    Inference,
}

/// The listener at a network's sites during one pass.
pub struct Tap<'p> {
    plan: Option<&'p mut Plan>,
    form: Form,
    call: Context,
    watch: Option<Box<Watch<'p>>>,
}

/// Hears of every time step before it begins, and ends the run with an error.
pub type Watch<'w> = dyn FnMut(Moment) -> Result<()> + Send + 'w;

impl Tap<'static> {
    /// Nobody listens; the inference form.
    pub fn off() -> Self {
        Self::silent(Form::Inference)
    }

    /// Nobody listens; the given form.
    pub fn silent(form: Form) -> Self {
        Self { plan: None, form, call: Context::default(), watch: None }
    }
}

impl<'p> Tap<'p> {
    /// Listens as `plan` says.
    pub fn new(plan: &'p mut Plan) -> Self {
        let form = plan.form();
        Self { plan: Some(plan), form, call: Context::default(), watch: None }
    }

    /// The same, and `watch` hears of every time step.
    pub fn watched(mut self, watch: impl FnMut(Moment) -> Result<()> + Send + 'p) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// The form the network must use.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Said by the network at the start of each forward call.
    pub fn enter(&mut self, call: Context) {
        self.call = call;
    }

    /// Said by a simulation at the start of each time step, after [`Tap::enter`].
    ///
    /// # Errors
    /// Whoever watches ends the run.
    pub fn tick(&mut self, moment: Moment) -> Result<()> {
        self.call.time = Some(moment);
        self.call.position.fill(u32::try_from(moment.step).unwrap_or(u32::MAX));
        self.watch.as_mut().map_or(Ok(()), |watch| watch(moment))
    }

    /// True when somebody records, edits or differentiates at the site.
    #[inline]
    pub fn wants(&self, site: SiteId) -> bool {
        self.plan.as_ref().is_some_and(|p| p.wants(site))
    }

    /// True when the value at the site may change or needs a gradient, so that a fused kernel must be opened there.
    #[inline]
    pub fn opens(&self, site: SiteId) -> bool {
        self.plan.as_ref().is_some_and(|p| p.opens(site))
    }

    /// How much of the network's output is read; the network computes no more of it.
    pub fn output(&self) -> Output {
        self.plan.as_ref().map_or(Output::Whole, |p| p.output())
    }

    /// True when somebody listens at the site or at one that comes after it in the network's table.
    pub fn wants_from(&self, site: SiteId) -> bool {
        self.plan.as_ref().is_some_and(|p| p.wants_from(site))
    }

    /// True when a gradient may have to flow into or out of the site beside its usual way: it may change, needs a
    /// gradient, or is handed to a later pass. In the inference form no gradient flows, and only a change counts.
    pub fn follows(&self, site: SiteId) -> bool {
        let differentiable = self.form == Form::Differentiable;
        self.plan.as_ref().is_some_and(|p| p.opens(site) || differentiable && p.captures(site))
    }

    /// Passes a tensor through its site.
    #[inline]
    pub fn at(&mut self, site: SiteId, x: Tensor) -> Result<Tensor> {
        match self.plan.as_deref_mut() {
            Some(plan) if plan.wants(site) => visit(plan, site, x, &self.call),
            _ => Ok(x),
        }
    }

    /// Serves a tensor that does not otherwise exist: made only if somebody listens in this step, and returned only if
    /// it was edited (or needs a gradient) and so must be written back.
    pub fn at_with(&mut self, site: SiteId, make: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
        if !self.plan.as_ref().is_some_and(|plan| plan.wants(site) && plan.acts(site, &self.call)) {
            return Ok(None);
        }
        let x = self.at(site, make()?)?;
        Ok(self.opens(site).then_some(x))
    }
}

fn visit(plan: &mut Plan, id: SiteId, mut x: Tensor, call: &Context) -> Result<Tensor> {
    let Some(mut actions) = plan.take(id) else { return Ok(x) };
    for recorder in actions.raw.iter_mut().filter(|r| call.in_time(&r.record.site)) {
        recorder.visit(&actions.site, &x, call)?;
    }
    for editor in actions.editors.iter_mut().filter(|e| call.in_time(&e.selector)) {
        x = edit(plan, editor, &actions.site, x, call)?;
    }
    if actions.gradient {
        let zero = Var::zeros(x.shape(), x.dtype(), x.device())?;
        x = (x + zero.as_tensor())?;
        plan.gradients.push((id, zero));
    }
    for recorder in actions.recorders.iter_mut().filter(|r| call.in_time(&r.record.site)) {
        recorder.visit(&actions.site, &x, call)?;
    }
    if actions.capture {
        plan.capture(id, &actions, &x, call)?;
    }
    plan.put(id, actions);
    Ok(x)
}

/// Applies one edit: narrows `x` to the selected indices, lets the operation replace it, writes it back in scope.
fn edit(plan: &mut Plan, editor: &mut Editor, site: &Site, x: Tensor, call: &Context) -> Result<Tensor> {
    let scope = call.scope(&editor.selector)?;
    if scope.as_ref().is_some_and(|s| !s.iter().any(|b| *b)) {
        return Ok(x);
    }
    editor.acted = true;
    let part = editor.narrow(&x, site, call)?;
    let values = editor.values(plan, &part, site, call, scope.as_deref())?;
    let mut events: Vec<Event> = Vec::new();
    let mut cx =
        EditContext { site, call, scope: scope.as_deref(), values: &values, seed: plan.seed, events: &mut events };
    let new = editor.op.apply(&part, &mut cx)?;
    plan.events.append(&mut events);
    editor.write_back(&x, &part, new, site, call, scope.as_deref())
}
