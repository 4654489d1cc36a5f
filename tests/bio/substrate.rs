//! The parts of bio-inspired networks against what is known of them.

use optrode::analysis::doctor::closed_forms;
use optrode::report::Verdict;

#[test]
fn every_closed_form_holds() {
    let findings = closed_forms().unwrap();
    let failed: Vec<String> = (findings.iter().filter(|f| f.verdict != Verdict::Passed))
        .map(|f| format!("{}: {:.3e} > {:.1e} ({})", f.name, f.absolute, f.tolerance, f.meaning))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(findings.len() >= 26);
}
