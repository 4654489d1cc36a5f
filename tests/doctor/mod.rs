//! The doctor on every golden network and on real checkpoints, and what it says when something is broken.

mod broken;
mod planted;
mod real;

use optrode::analysis::doctor::{self, Options, REFERENCE, Reference};
use optrode::analysis::unwatched;
use optrode::report::{Report, Verdict, terminal};

use crate::common::{folders, load};

#[test]
fn the_doctor_passes_every_golden() {
    let mut failures = Vec::new();
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let found = doctor::doctor(&load(&folder), &[], &Options::default(), &mut unwatched).unwrap();
        let worst = found.findings.iter().max_by(|a, b| a.relative.total_cmp(&b.relative)).unwrap();
        eprintln!("{name}: largest {:.1e}, {} at {:?}", worst.relative, worst.name, worst.place);
        if !found.passed() {
            failures.push(format!("{name}\n{}", terminal::render(&found.blocks(), &terminal::Style::plain(160))));
        }
        for finding in &found.findings {
            assert_ne!(finding.verdict, Verdict::Skipped, "{name}: {} {:?}", finding.name, finding.reason);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_golden_equals_its_reference_files() {
    for folder in folders() {
        let net = load(&folder);
        for case in ["plain", "left_padded", "right_padded"] {
            let reference = Reference::open(folder.join(format!("{case}.safetensors"))).unwrap();
            let found = doctor::against_reference(&net, &reference, REFERENCE).unwrap();
            assert_eq!(found.sites.len(), reference.sites.len());
            let style = terminal::Style::plain(160);
            assert!(found.passed(), "{} {case}\n{}", folder.display(), terminal::render(&found.blocks(), &style));
        }
    }
}
