use optrode::models::OpenOptions;
use optrode::papers::{ALL, Context, Finding, Outcome, Paper, Reproduction, Request, Scale, find, reproduce};
use optrode::report::{Block, Judged, Progress, Verdict};

use crate::cli::Desk;
use crate::probe::{ends, names, refused};

/// Claims that a draw below 1 is below `bound`.
struct Draw {
    bound: f64,
    verdicts: bool,
}

impl Paper for Draw {
    fn number(&self) -> u8 {
        99
    }

    fn name(&self) -> &'static str {
        "draw"
    }

    fn title(&self) -> &'static str {
        "On draws"
    }

    fn source(&self) -> &'static str {
        "nowhere, 2020"
    }

    fn claim(&self) -> &'static str {
        "A draw is small."
    }

    fn run(&self, scale: Scale, context: &Context) -> optrode::Result<Finding> {
        let drawn = optrode::hook::random::uniform(optrode::hook::random::key(context.seed, &[]));
        if scale == Scale::Full {
            std::fs::read(context.file("numbers.txt")?).unwrap();
        }
        let held = Judged {
            name: format!("draw < {}", self.bound),
            verdict: if drawn < self.bound { Verdict::Passed } else { Verdict::Failed },
            reason: String::new(),
            figures: Vec::new(),
        };
        Ok(Finding {
            blocks: vec![Block::heading("The draw"), Block::text("One number.")],
            figures: vec![("draw".to_string(), drawn)],
            verdicts: if self.verdicts { vec![held] } else { Vec::new() },
            ..Finding::default()
        })
    }
}

fn carry_out(paper: &Draw, scale: Scale, seed: u64, data: Option<&std::path::Path>) -> optrode::Result<Reproduction> {
    let options = OpenOptions::default();
    reproduce(paper, &Request { scale, seed, options: &options, data }, &Progress::hidden())
}

#[test]
fn the_registry_is_sorted_and_found_by_number_and_name() {
    assert!(ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    for paper in ALL {
        let number = paper.number();
        assert!((1..=45).contains(&number) && !paper.claim().is_empty() && !paper.source().is_empty());
        for word in [number.to_string(), format!("{number:02}"), paper.name().to_string()] {
            assert_eq!(find(&word).unwrap().number(), number);
        }
    }
    assert!(find("99").is_err());
}

#[test]
fn a_claim_that_fails_is_an_outcome_and_no_error() {
    let report = carry_out(&Draw { bound: 1.0, verdicts: true }, Scale::Quick, 3, None).unwrap();
    assert_eq!(report.outcome, Outcome::Passed);
    let failed = carry_out(&Draw { bound: 0.0, verdicts: true }, Scale::Quick, 3, None).unwrap();
    assert_eq!(failed.outcome, Outcome::Failed);
    let words = carry_out(&Draw { bound: 0.0, verdicts: false }, Scale::Quick, 3, None).unwrap_err().to_string();
    assert!(words.contains("gave no verdict"), "{words}");
}

#[test]
fn the_same_request_gives_the_same_report() {
    let paper = Draw { bound: 1.0, verdicts: true };
    let text = |seed| {
        let files = carry_out(&paper, Scale::Quick, seed, None).unwrap().files().unwrap();
        let bytes = |name: &str| files.iter().find(|f| f.0 == name).unwrap().1.clone();
        (bytes("report.json"), bytes("report.html"))
    };
    assert_eq!(text(3), text(3));
    assert_ne!(text(3).0, text(4).0);
    let (json, html) = text(3);
    let report: Reproduction = serde_json::from_slice(&json).unwrap();
    assert_eq!(report.paper.number, 99);
    assert!(String::from_utf8(html).unwrap().contains("A draw is small."));
}

#[test]
fn a_full_experiment_reads_its_data_where_the_user_says() {
    let paper = Draw { bound: 1.0, verdicts: true };
    let words = carry_out(&paper, Scale::Full, 0, None).unwrap_err().to_string();
    assert!(words.contains("--data DIR"), "{words}");
    let folder = tempfile::tempdir().unwrap();
    assert!(carry_out(&paper, Scale::Full, 0, Some(folder.path())).is_err());
    std::fs::write(folder.path().join("numbers.txt"), "1").unwrap();
    let files = carry_out(&paper, Scale::Full, 0, Some(folder.path())).unwrap().files().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&files[2].1).unwrap();
    let read = manifest["data"][0]["path"].as_str().unwrap();
    assert!(read.ends_with("numbers.txt") && manifest["scale"] == "full", "{manifest}");
}

#[test]
fn the_command_lists_papers_and_refuses_what_it_does_not_know() {
    let desk = Desk::new("llama");
    ends(&desk, &["reproduce", "list"], 0);
    let list: serde_json::Value = serde_json::from_str(&ends(&desk, &["reproduce", "list", "--json"], 0)).unwrap();
    assert_eq!(list.as_array().unwrap().len(), ALL.len());
    refused(&desk, &["reproduce", "99"], &["no paper `99`", "reproduce list"]);
    refused(&desk, &["reproduce", "skill-unlerning"], &["no paper"]);
    assert!(!names(desk.root()).iter().any(|name| name.starts_with("optrode-paper")));
}
