//! Steps of one's own, through the library.

use std::path::Path;

use optrode::models::{Model, OpenOptions};
use optrode::probe::document::Status;
use optrode::probe::expect::Expectation;
use optrode::probe::script::ScriptStep;
use optrode::probe::step::Step;
use optrode::probe::{AuditReport, Context, Job, Outcome, Script, StepKind, StepOutput, run};
use optrode::report::Progress;
use optrode::report::{Block, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use toml::Spanned;
use toml::de::DeTable;

use super::desk;
use crate::cli::Desk;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Empty {}

/// Gives the figures that it is made with.
struct Gives(&'static [(&'static str, f64)]);

impl StepKind for Gives {
    const NAME: &'static str = "gives";
    const SUMMARY: &'static str = "Gives figures.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[("x", "x"), ("*.y", "one per layer")];
    type Params = Empty;

    fn applies_to(&self, _: &Model) -> Result<(), String> {
        Ok(())
    }

    fn run(&self, context: &Context, _: &Empty) -> optrode::Result<StepOutput> {
        let figures = self.0.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
        let control = context.control.map(|c| c.decoder.facts().layers.len());
        let result = json!({"texts": context.texts.len(), "seed": context.seed, "control": control});
        context.input("gate.toml")?;
        Ok(StepOutput { blocks: Vec::new(), figures, result })
    }
}

/// Applies to nothing.
struct Never;

impl StepKind for Never {
    const NAME: &'static str = "never";
    const SUMMARY: &'static str = "Applies to nothing.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[("x", "x")];
    type Params = Empty;

    fn applies_to(&self, model: &Model) -> Result<(), String> {
        optrode::probe::step::needs_tokenizer(model)
    }

    fn run(&self, _: &Context, _: &Empty) -> optrode::Result<StepOutput> {
        panic!("a step that does not apply ran")
    }
}

fn entry(kind: &'static dyn Step, name: &str, expectations: &[&str]) -> ScriptStep {
    ScriptStep {
        name: name.to_string(),
        kind,
        bound: kind.bind(Spanned::new(0..0, DeTable::new())).unwrap(),
        expectations: expectations.iter().map(|e| Expectation::parse(e).unwrap()).collect(),
    }
}

fn report(desk: &Desk, steps: Vec<ScriptStep>) -> AuditReport {
    let script = Script {
        path: desk.path("gate.toml"),
        text: String::new(),
        title: "own".to_string(),
        seed: 0,
        model: Some("m".to_string()),
        control: Some("m".to_string()),
        texts: [("gate".to_string(), "gate.toml".to_string())].into(),
        steps,
    };
    let job = Job { script, model: None, edits: Vec::new(), against: None, seed: 11, options: OpenOptions::default() };
    let done = run(&job, &Progress::hidden()).unwrap();
    let read: Vec<&Path> = done.manifest.data.iter().map(|d| d.path.as_path()).collect();
    assert_eq!(read, [desk.path("gate.toml")]);
    done.report
}

#[test]
fn a_step_gets_texts_seed_and_control_and_its_figures_are_judged() {
    static STEP: Gives = Gives(&[("x", f64::NAN), ("layer_3.y", 2.0)]);
    let desk = desk();
    let expect = ["own.layer_3.y == 2", "own.x >= 0", "own.x != 1"];
    let report = report(&desk, vec![entry(&STEP, "own", &expect)]);
    assert_eq!(report.steps[0].result, json!({"texts": 1, "seed": 11, "control": 2}));
    let verdicts: Vec<Verdict> = report.steps[0].verdicts.iter().map(|v| v.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed, Verdict::Failed]);
    assert_eq!(report.outcome, Outcome::Failed);
}

#[test]
fn a_step_that_does_not_apply_is_skipped_with_its_reason() {
    static NEVER: Never = Never;
    static STEP: Gives = Gives(&[("x", 1.0)]);
    let desk = desk();
    let report = report(
        &desk,
        vec![entry(&NEVER, "never", &["never.x > 0"]), entry(&STEP, "own", &["own.x > never.x", "own.x > 0"])],
    );
    assert_eq!(
        (report.steps[0].status, report.steps[0].reason.as_str()),
        (Status::Skipped, "the model has no tokenizer")
    );
    let verdicts: Vec<Verdict> = report.steps.iter().flat_map(|s| &s.verdicts).map(|v| v.verdict).collect();
    assert_eq!(verdicts, [Verdict::Skipped, Verdict::Skipped, Verdict::Passed]);
    assert!(report.steps[1].verdicts[0].reason.contains("the model has no tokenizer"));
    assert_eq!(report.outcome, Outcome::Passed);
}

#[test]
fn a_figure_that_is_not_given_or_not_declared_fails_the_step() {
    static FEW: Gives = Gives(&[("x", 1.0)]);
    static UNDECLARED: Gives = Gives(&[("z", 1.0)]);
    static UNNAMEABLE: Gives = Gives(&[("a-b.y", 1.0)]);
    static TWICE: Gives = Gives(&[("x", 1.0), ("x", 2.0)]);
    let desk = desk();
    let steps = vec![
        entry(&FEW, "few", &["few.x == 1", "few.layer_9.y == 1"]),
        entry(&UNDECLARED, "undeclared", &[]),
        entry(&UNNAMEABLE, "unnameable", &[]),
        entry(&TWICE, "twice", &[]),
    ];
    let report = report(&desk, steps);
    assert!(report.steps.iter().all(|s| s.status == Status::Failed), "{report:?}");
    assert!(report.steps[0].reason.contains("did you mean `few.x`?"), "{}", report.steps[0].reason);
    // What it gave stays.
    assert_eq!(report.steps[0].figures.get("x"), Some(1.0));
    assert_eq!(report.steps[0].verdicts[0].verdict, Verdict::Passed);
    assert!(report.steps[3].reason.contains("`x`"));
    assert_eq!(report.outcome, Outcome::Error);
}

#[test]
fn names_of_tasks_become_names_of_figures() {
    assert_eq!(optrode::report::figures::name_part("gsm8k-main/4.1 é"), "gsm8k_main_4_1__");
}

#[test]
fn a_report_has_a_section_for_the_summary_and_for_every_step() {
    static STEP: Gives = Gives(&[("x", 1.0)]);
    static NEVER: Never = Never;
    let desk = desk();
    let report = report(&desk, vec![entry(&STEP, "own", &["own.x == 2"]), entry(&NEVER, "never", &[])]);
    let sections = report.sections();
    let titles: Vec<&str> = sections.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles, ["own", "own (gives)", "never"]);
    assert_eq!(sections[0].1, report.summary());
    let verdicts = Block::Verdicts { verdicts: report.steps[0].verdicts.clone() };
    assert!(sections[1].1.contains(&verdicts));
    assert!(sections[2].1.contains(&Block::text("Skipped: the model has no tokenizer")));
}
