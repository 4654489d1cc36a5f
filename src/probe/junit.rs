//! A report as JUnit XML, for pipelines.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::document::{AuditReport, StepReport};
use crate::report::{Judged, Verdict};
use crate::{Error, Result};

/// One suite per step; in it one case for the step and one per expectation.
///
/// # Errors
/// Text that XML cannot hold.
pub fn xml(report: &AuditReport) -> Result<String> {
    let mut out = Report::new(report.title.as_str());
    out.add_test_suites(report.steps.iter().map(suite));
    out.to_string()
        .map_err(|e| Error::invalid(format!("the report cannot be written as XML: {e}"), "report this defect"))
}

fn suite(step: &StepReport) -> TestSuite {
    let mut suite = TestSuite::new(step.name.as_str());
    let ran = match step.status.verdict() {
        Verdict::Passed => TestCaseStatus::success(),
        // A step that breaks is JUnit's error, an expectation that does not hold its failure.
        Verdict::Failed => message(TestCaseStatus::non_success(NonSuccessKind::Error), &step.reason),
        Verdict::Skipped => message(TestCaseStatus::skipped(), &step.reason),
    };
    suite.add_test_case(case(step, format!("step {}", step.step), ran));
    suite.add_test_cases(step.verdicts.iter().map(|judged| case(step, judged.name.clone(), status(judged))));
    suite
}

fn case(step: &StepReport, name: String, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(step.name.as_str());
    case
}

fn status(judged: &Judged) -> TestCaseStatus {
    let figures: Vec<String> = judged.figures.iter().map(|f| format!("{} {}", f.name, f.value)).collect();
    match judged.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Failed => {
            let said = format!("{} ({})", judged.reason, figures.join(", "));
            message(TestCaseStatus::non_success(NonSuccessKind::Failure), &said)
        }
        Verdict::Skipped => message(TestCaseStatus::skipped(), &judged.reason),
    }
}

fn message(mut status: TestCaseStatus, text: &str) -> TestCaseStatus {
    status.set_message(text);
    status
}
