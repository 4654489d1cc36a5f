//! Language neurons and alignment (Zhang et al. 2025): on artificial languages whose truth is known, and with `--full` on
//! the organism and, where the data folder has them, on `models/polyglot-6m` with `data/parallel-books`.
//!
//! The paper aligns 7-billion-parameter models by preferences between answers; here a small network learns translation
//! pairs. What it claims of alignment is asked against a control that learns scrambled pairs, whatever comes of it.
//!
//! What comes of it here: a language loses several times more without its own neurons than without another's, but two to
//! three and a half times more than without random ones, not five (a fifth of the neurons selected; 128 to 768 neurons, two
//! or four alphabets). Where a word is a token it is far more than five times in two seeds of three and nothing in the
//! third, so that this is no better ground. Facts do not follow translation in any of these. The README has the figures.

use serde_json::{Value, json};

use super::{Context, Finding, Paper, Scale as Extent};
use crate::analysis::languages::{
    Agenda, Alignment, Asking, Helm, Options, Reading, Scale, Steering, Study, Tests, Texts, alignment, study,
};
use crate::analysis::{Estimate, Figures};
use crate::data::TextSet;
use crate::data::organism::embedded;
use crate::data::tongues::Customs;
use crate::models::Model;
use crate::report::{Block, Judged, Progress, Report};
use crate::train::tongues::{Effort, Sizes};
use crate::{Error, Result};

/// Share of the neurons that is selected: the networks here have few.
const SHARE: f64 = 0.05;
/// The same for the artificial languages, whose networks have 128: fewer would leave one or two to a language.
const MINIATURE: f64 = 0.2;
/// A model with languages of its own, in the data folder.
const POLYGLOT: &str = "models/polyglot-6m";
/// Its languages, and the books whose last part it never saw.
const LANGUAGES: [&str; 7] = ["en", "de", "es", "hi", "zh", "vi", "ar"];
const BOOKS: &str = "data/parallel-books";
const TITLES: [&str; 3] = ["alice", "gatsby", "moby-dick"];
/// Tokens of each language that are counted.
const TOKENS: u64 = 30_000;
/// Share of every book that the models were trained on.
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
        let mut subjects = vec![("organism", context.organism()?, embedded::texts())];
        if context.has(POLYGLOT) && context.has(BOOKS) {
            let set = |name: &&str| TextSet { name: (*name).to_string(), texts: Vec::new() };
            subjects.push(("polyglot", context.model(POLYGLOT)?, LANGUAGES.iter().map(set).collect()));
        }
        let mut studies = Vec::new();
        for (name, model, own) in &subjects {
            let languages: Vec<String> = own.iter().map(|set| set.name.clone()).collect();
            let study = match context.has(BOOKS) {
                true => {
                    let [seen, unseen] = books(context, &languages)?;
                    examine(model, &seen, Some(&unseen), context.seed, &mut watch)?
                }
                false => examine(model, own, None, context.seed, &mut watch)?,
            };
            studies.push((*name, study));
        }
        for (name, study) in studies {
            finding.blocks.push(Block::heading(format!("The {name}")));
            finding.blocks.extend(study.blocks());
            finding.verdicts.extend(losses(name, &study.figures()));
            finding.verdicts.extend(study.steering.as_ref().map(|steering| turned(name, steering)));
            finding.figures.extend(study.figures().into_iter().map(|(figure, x)| (format!("{name}.{figure}"), x)));
            finding.result[name] = value(&study)?;
        }
        Ok(finding)
    }
}

/// A network of 4 x 128 neurons learns these languages as well, but loses 0.006 nats or so by any handful of them, whose ever
/// they are: it has too many that do the same. With 4 x 32 each has something to do.
fn scale(extent: Extent, seed: u64) -> Scale {
    let effort = |updates, rows, rate| Effort { updates, rows, rate };
    let (worlds, learning, pairs, lines) = match extent {
        Extent::Quick => (1, effort(1200, 32, 3e-3), effort(400, 32, 1e-3), 120),
        Extent::Full => (3, effort(2500, 32, 3e-3), effort(1000, 32, 1e-3), 240),
    };
    let (customs, sizes) = (Customs::default(), Sizes { neurons: 32, ..Sizes::default() });
    Scale { worlds, customs, sizes, learning, pairs, lines, share: MINIATURE, seed }
}

/// A model's language neurons: counted in `texts`, tested on `tests`, or else on what is held out of `texts`.
fn examine(
    model: &Model,
    texts: &[TextSet],
    tests: Option<&[TextSet]>,
    seed: u64,
    watch: &mut dyn FnMut(&str, usize, usize),
) -> Result<Study> {
    let own = Reading::default();
    let held_out = if tests.is_some() { 0.0 } else { own.held_out };
    let agenda = Agenda {
        reading: Reading { seed, held_out, tokens: Some(TOKENS), ..own },
        options: Options { share: SHARE, seed, ..Options::default() },
        asking: Some(Asking { seed, ..Asking::default() }),
        helm: Some(Helm { seed, ..Helm::default() }),
        ..Agenda::default()
    };
    let tests = Tests { texts: tests.map(Texts::Sets), ..Tests::default() };
    Ok(study(model, Texts::Sets(texts), &tests, &agenda, watch)?.0)
}

/// The paragraphs of all books in each language: what models were trained on, and the rest. Books are mixed evenly, in the
/// same order in every language, so that languages differ in nothing but language.
fn books(context: &Context, languages: &[String]) -> Result<[Vec<TextSet>; 2]> {
    let mut parts = [Vec::new(), Vec::new()];
    for language in languages {
        // By part: paragraphs with their place in the book, 0 to 1.
        let mut placed: [Vec<(f64, String)>; 2] = Default::default();
        for book in TITLES {
            let path = context.file(&format!("{BOOKS}/{book}/{language}.txt"))?;
            let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
            let lines: Vec<&str> = text.lines().collect();
            let trained = (lines.len() as f64 * TRAINED) as usize;
            for (at, line) in lines.iter().enumerate() {
                let place = at as f64 / lines.len() as f64;
                placed[usize::from(at >= trained)].push((place, (*line).to_string()));
            }
        }
        for (part, mut placed) in parts.iter_mut().zip(placed) {
            placed.sort_by(|a, b| a.0.total_cmp(&b.0));
            let texts = placed.into_iter().map(|(_, line)| line).collect();
            part.push(TextSet { name: language.clone(), texts });
        }
    }
    Ok(parts)
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
    Judged::claim(name, holds, 3, figures)
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

/// What is written turns into a language whose neurons are raised.
fn turned(whose: &str, steering: &Steering) -> Judged {
    let ([free, steered, random], [_, cost, random_cost]) = (steering.wanted(), steering.nats());
    judged(
        format!("{whose}: raised neurons of a language turn what is written into it, more than random ones do"),
        steering.gain().ends().0 > 0.0,
        &[
            ("as it is", free),
            ("steered", steered),
            ("random", random),
            ("gain, lower end", steering.gain().ends().0),
            ("nats per token, steered", cost),
            ("nats per token, random", random_cost),
        ],
    )
}

fn verdicts(found: &Alignment) -> Vec<Judged> {
    let figures = found.figures();
    let of = |name: &str| figures.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, value)| *value);
    let change = |name: &str| (of(&format!("change.{name}")), of(&format!("scrambled.change.{name}")));
    let (specific, related) = (change("specific"), change("related"));
    let [aligned, others] = found.gains();
    let facts = |whose: &str, when: &str| of(&format!("facts.{whose}.{when}"));
    // More than before, and more than the control knows of the same facts, beyond what chance in facts explains.
    let known = |name: &str, whose: &str, gain: &Estimate| {
        let (before, pairs, scrambled) = (facts(whose, "before"), facts(whose, "after"), facts(whose, "scrambled"));
        judged(
            name.to_string(),
            pairs > before && gain.ends().0 > 0.0,
            &[("before", before), ("pairs", pairs), ("scrambled", scrambled), ("gain, lower end", gain.ends().0)],
        )
    };
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
        known("aligned languages come to know facts, more than by scrambled pairs", "aligned", &aligned),
        known("so do languages that were not aligned (spontaneous alignment)", "others", &others),
    ]);
    verdicts
}
