//! Language neurons and alignment (Zhang et al. 2025): on artificial languages whose truth is known, and with `--full` on
//! the organism and, where the data folder has them, on `models/polyglot-6m` with `data/parallel-books`.
//!
//! The paper aligns 7-billion-parameter models by preferences between answers; here a small network learns translation
//! pairs. What it claims of alignment is asked against a control that learns scrambled pairs, whatever comes of it.

use serde_json::{Value, json};

use super::{Context, Finding, Paper, Scale as Extent};
use crate::analysis::Figures;
use crate::analysis::languages::{
    Agenda, Alignment, Asking, Helm, Options, Reading, Scale, Study, Tests, Texts, alignment, study,
};
use crate::data::TextSet;
use crate::data::organism::embedded;
use crate::models::Model;
use crate::report::{Block, Cell, Figure, Judged, Progress, Report, Verdict};
use crate::train::tongues::Effort;
use crate::{Error, Result};

/// Share of the neurons that is selected: the networks here have few.
const SHARE: f64 = 0.05;
/// A model with languages of its own, in the data folder.
const POLYGLOT: &str = "models/polyglot-6m";
/// Its languages, and the books whose last part it never saw.
const LANGUAGES: [&str; 7] = ["en", "de", "es", "hi", "zh", "vi", "ar"];
const BOOKS: [&str; 3] = ["alice", "gatsby", "moby-dick"];
/// Share of every book that the model was trained on.
const TRAINED: f64 = 0.92;

/// Paper 36.
pub struct LanguageNeurons;

impl Paper for LanguageNeurons {
    fn number(&self) -> u8 {
        36
    }

    fn name(&self) -> &'static str {
        "language-neurons"
    }

    fn title(&self) -> &'static str {
        "How does Alignment Enhance LLMs' Multilingual Capabilities? A Language Neurons Perspective"
    }

    fn source(&self) -> &'static str {
        "Zhang et al., AAAI 2026, arXiv 2505.21505"
    }

    fn claim(&self) -> &'static str {
        "Some MLP neurons serve one language, others several; without its own a language loses more than others do. \
         Alignment makes specific neurons fewer and related ones more, also for languages that it does not train."
    }

    fn run(&self, extent: Extent, context: &Context) -> Result<Finding> {
        let mut watch = watching(context.progress);
        let small = alignment(&scale(extent, context.seed), &mut watch)?;
        let mut finding = Finding { blocks: small.blocks(), figures: small.figures(), ..Finding::default() };
        finding.verdicts = verdicts(&small);
        finding.result = json!({ "alignment": value(&small)? });
        if extent == Extent::Quick {
            return Ok(finding);
        }
        let organism = context.organism()?;
        let mut studies = vec![("organism", examine(&organism, &embedded::texts(), context, &mut watch)?)];
        if context.has(POLYGLOT) {
            let polyglot = context.model(POLYGLOT)?;
            studies.push(("polyglot", examine(&polyglot, &unseen(context)?, context, &mut watch)?));
        }
        for (name, study) in studies {
            finding.blocks.push(Block::heading(format!("The {name}")));
            finding.blocks.extend(study.blocks());
            finding.verdicts.extend(losses(name, &study.figures()));
            finding.figures.extend(study.figures().into_iter().map(|(figure, x)| (format!("{name}.{figure}"), x)));
            finding.result[name] = value(&study)?;
        }
        Ok(finding)
    }
}

fn scale(extent: Extent, seed: u64) -> Scale {
    let effort = |updates, rows, rate| Effort { updates, rows, rate };
    match extent {
        Extent::Quick => Scale {
            worlds: 1,
            learning: effort(1000, 32, 3e-3),
            pairs: effort(200, 32, 1e-3),
            lines: 120,
            share: SHARE,
            seed,
        },
        Extent::Full => Scale {
            worlds: 3,
            learning: effort(1500, 64, 3e-3),
            pairs: effort(400, 64, 1e-3),
            lines: 240,
            share: SHARE,
            seed,
        },
    }
}

/// A model's language neurons on texts that it never saw.
fn examine(
    model: &Model,
    sets: &[TextSet],
    context: &Context,
    watch: &mut dyn FnMut(&str, usize, usize),
) -> Result<Study> {
    let seed = context.seed;
    let agenda = Agenda {
        reading: Reading { seed, ..Reading::default() },
        options: Options { share: SHARE, seed, ..Options::default() },
        asking: Some(Asking { seed, ..Asking::default() }),
        helm: Some(Helm { seed, ..Helm::default() }),
        ..Agenda::default()
    };
    Ok(study(model, Texts::Sets(sets), &Tests::default(), &agenda, watch)?.0)
}

/// The last part of every book.
fn unseen(context: &Context) -> Result<Vec<TextSet>> {
    let mut sets = Vec::new();
    for language in LANGUAGES {
        let mut texts = Vec::new();
        for book in BOOKS {
            let path = context.file(&format!("data/parallel-books/{book}/{language}.txt"))?;
            let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
            let lines: Vec<&str> = text.lines().collect();
            let trained = (lines.len() as f64 * TRAINED) as usize;
            texts.extend(lines[trained..].iter().map(|line| (*line).to_string()));
        }
        sets.push(TextSet { name: language.to_string(), texts });
    }
    Ok(sets)
}

/// Shows what is done and how far it is.
fn watching(progress: &Progress) -> impl FnMut(&str, usize, usize) + '_ {
    let mut before = (String::new(), 0);
    move |name, done, all| {
        if before.0 != name || done < before.1 {
            progress.task(name);
            progress.begin(all as u64);
            before = (name.to_string(), 0);
        }
        progress.advance((done - before.1) as u64);
        before.1 = done;
    }
}

fn value(result: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(result).map_err(|e| {
        Error::invalid(format!("the result of an experiment cannot be written: {e}"), "report this defect")
    })
}

fn judged(name: String, holds: bool, figures: &[(&str, f64)]) -> Judged {
    let figure = |(name, value): &(&str, f64)| Figure::new(*name, Cell::Number { value: *value, digits: 3 });
    Judged {
        name,
        verdict: if holds { Verdict::Passed } else { Verdict::Failed },
        reason: String::new(),
        figures: figures.iter().map(figure).collect(),
    }
}

/// A language loses more without its own neurons than others do, and than without random ones.
fn losses(whose: &str, figures: &[(String, f64)]) -> Vec<Judged> {
    let of = |name: &str| figures.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, value)| *value);
    let own = of("deactivation.diagonal");
    let (others, random) = (of("deactivation.off_diagonal"), of("deactivation.random.same_layers"));
    vec![
        judged(
            format!("{whose}: a language loses 3 times more without its own neurons than without others'"),
            own >= 3.0 * others,
            &[("own", own), ("others", others)],
        ),
        judged(
            format!("{whose}: and 5 times more than without random neurons of the same layers"),
            own >= 5.0 * random,
            &[("own", own), ("random", random)],
        ),
    ]
}

fn verdicts(found: &Alignment) -> Vec<Judged> {
    let figures = found.figures();
    let of = |name: &str| figures.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, value)| *value);
    let change = |name: &str| (of(&format!("change.{name}")), of(&format!("scrambled.change.{name}")));
    let (specific, related) = (change("specific"), change("related"));
    let [aligned, aligned_control] = ["after", "scrambled"].map(|when| of(&format!("facts.aligned.{when}")));
    let [others, others_control] = ["after", "scrambled"].map(|when| of(&format!("facts.others.{when}")));
    let mut verdicts = losses("artificial languages", &figures);
    verdicts.extend([
        judged(
            "alignment lowers the number of specific neurons, more than scrambled pairs do".to_string(),
            specific.0 < 0.0 && specific.0 < specific.1,
            &[("pairs", specific.0), ("scrambled", specific.1)],
        ),
        judged(
            "alignment raises the number of related neurons, more than scrambled pairs do".to_string(),
            related.0 > 0.0 && related.0 > related.1,
            &[("pairs", related.0), ("scrambled", related.1)],
        ),
        judged(
            "aligned languages come to know facts, more than by scrambled pairs".to_string(),
            aligned > of("facts.aligned.before") && aligned > aligned_control,
            &[("before", of("facts.aligned.before")), ("pairs", aligned), ("scrambled", aligned_control)],
        ),
        judged(
            "so do languages that were not aligned (spontaneous alignment)".to_string(),
            others > of("facts.others.before") && others > others_control,
            &[("before", of("facts.others.before")), ("pairs", others), ("scrambled", others_control)],
        ),
    ]);
    verdicts
}
