//! The synthetic experiment of paper 31: every image's pixels are known, so labels can be right or wrong.
//!
//! A classifier of scenes is labelled by formulas; units that were made up must get their own formula back; a describer
//! trained on other sets and a second network's features says in words what sets show, by pmi at several lambda; units are
//! silenced by their labels.

use serde::{Deserialize, Serialize};

use super::super::label::{Bits, Matching, Overlap};
use super::concepts::{Concepts, Formula};
use super::cuts::{Curve, at_random, balanced, curve, silencing};
use super::describe::{Candidate, Exemplar, Search, candidates, choose, features};
use super::labels::{Labels, labels};
use super::learn::{Training, classifier, describer};
use super::names::{Naming, Seen, name_units};
use super::phrases::{Set, sets};
use super::planted::Planted;
use super::units::{EXEMPLARS, Unit, active_places, units};
use super::words::Vocabulary;
use crate::Result;
use crate::analysis::Estimate;
use crate::data::scenes::{Atom, SIDE, Scenes};
use crate::hook::random::Stream;
use crate::models::{CaptionerConfig, Convolutional, ConvolutionalConfig};
use crate::report::Progress;

/// Channels of the small networks.
const CHANNELS: [usize; 3] = [16, 32, 64];
/// Noise of the units that were made up.
const NOISE: f64 = 0.2;
/// The lambdas that are compared; MILAN's is 0.2.
pub const LAMBDAS: [f64; 6] = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0];
/// Shares of the units that are silenced.
const SHARES: [f64; 6] = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2];
/// Random orders that curves are compared with.
const DRAWS: u64 = 5;

/// Sizes of the experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Scenes that the classifiers learn.
    pub train: usize,
    /// Scenes that labels are chosen on, and as many that they are scored on.
    pub probe: usize,
    /// Updates of a classifier, of 64 scenes.
    pub updates: u64,
    /// Units that are made up.
    pub planted: usize,
    /// Sets that the describer learns, and updates; `None` to leave descriptions out.
    pub describer: Option<(usize, u64)>,
    /// Sets that descriptions are tested on.
    pub tested: usize,
    /// Seed of everything.
    pub seed: u64,
}

/// Units that were made up, and what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    /// How many.
    pub units: usize,
    /// Share whose formula means the same: it holds at the same pixels.
    pub same: Estimate,
    /// Mean area under the ROC curve on held-out images, of labels.
    pub auroc: f64,
    /// The same, of the concepts that the units were made of. An active place is one of the largest hundredth, so that a
    /// concept on a share m of the pixels cannot tell more than (1 + (1 - m) / 0.99) / 2.
    pub ceiling: f64,
    /// The same, of labels permuted among units.
    pub permuted: f64,
    /// Share of the units of single concepts that soft WPMI gives their concept.
    pub wpmi: Estimate,
    /// The same, by WPMI without its ranks.
    pub hard_wpmi: Estimate,
}

/// Descriptions at one lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtLambda {
    /// Lambda.
    pub lambda: f64,
    /// F1 of the words against those that say the set's meaning.
    pub f1: Estimate,
    /// Entropy of the distribution of descriptions over sets, in nats.
    pub entropy: f64,
    /// Words of a description.
    pub words: f64,
    /// Share of sets whose description is a general phrase, without a word that says anything.
    pub empty: f64,
}

/// Descriptions of sets that nobody described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Sets.
    pub sets: usize,
    /// At every lambda.
    pub lambdas: Vec<AtLambda>,
    /// F1 of the description of another set at MILAN's lambda: chance.
    pub chance: f64,
    /// A few sets: meaning, description without lambda, and with MILAN's.
    pub examples: Vec<[String; 3]>,
    /// MILAN's descriptions of the classifier's units, with their formulas, best first.
    pub units: Vec<[String; 3]>,
}

/// What silencing units does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silenced {
    /// Mean balanced accuracy over classes against units silenced, by order.
    pub curves: Vec<Curve>,
    /// Units silenced for each class: those whose label names it.
    pub named: Vec<(String, usize)>,
    /// How much accuracy the named class loses.
    pub own: Estimate,
    /// How much the other classes lose.
    pub others: Estimate,
    /// How much the class loses by as many random units of the same layers.
    pub random: Estimate,
    /// How much more the named class loses than the others, class by class.
    pub over_others: Estimate,
    /// How much more it loses than by random units, class by class.
    pub over_random: Estimate,
}

/// The experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Mean balanced accuracy of the classifier on held-out scenes.
    pub accuracy: f64,
    /// Its labels.
    pub labels: Labels,
    /// Units that were made up.
    pub recovered: Recovered,
    /// Descriptions, if they were asked for.
    pub described: Option<Described>,
    /// Silenced units.
    pub silenced: Silenced,
}

/// Carries it out.
///
/// # Errors
/// None but Candle's own.
pub fn study(sizes: Sizes, progress: &Progress) -> Result<Study> {
    let seed = sizes.seed;
    let train = Scenes::draw(sizes.train, seed + 1);
    let (selection, test) = (Scenes::draw(sizes.probe, seed + 2), Scenes::draw(sizes.probe, seed + 3));
    let (chosen, scored) = (Concepts::of_scenes(&selection), Concepts::of_scenes(&test));
    progress.task("classifier");
    let net = network(&train, sizes.updates, seed, progress)?;
    let all: Vec<usize> = (0..test.len()).collect();
    let targets = test.targets(&all);
    let classes = balanced(&net, &test.images, &targets, &[])?;
    let naming = Naming { seed, ..Naming::default() };
    let labels = labels(&net, (&selection.images, &chosen), (&test.images, &scored), naming, progress)?;
    progress.task("planted units");
    let recovered = recovered(sizes, &chosen, &scored, progress)?;
    let described = match sizes.describer {
        None => None,
        Some((count, updates)) => Some(described(sizes, count, updates, &train, &net, &labels, progress)?),
    };
    progress.task("silenced units");
    let silenced = silenced(&net, &test, &targets, &classes, &labels, seed)?;
    let accuracy = classes.iter().sum::<f64>() / classes.len() as f64;
    Ok(Study { accuracy, labels, recovered, described, silenced })
}

fn network(scenes: &Scenes, updates: u64, seed: u64, progress: &Progress) -> Result<Convolutional> {
    let config = ConvolutionalConfig::plain([3, SIDE, SIDE], &CHANNELS, Scenes::classes());
    let all: Vec<usize> = (0..scenes.len()).collect();
    let how = Training { updates, batch: 64, rate: 3e-3, seed };
    classifier(&config, &scenes.images, &scenes.targets(&all), how, progress)
}

/// Formulas of one or two concepts; the first ones are the single concepts in turn.
fn planted_formulas(count: usize, seed: u64) -> Vec<Formula> {
    let mut random = Stream::new(seed, &[0x91a]);
    let kind = |atom: usize| [4, 10, 14].iter().filter(|first| atom >= **first).count();
    let mut formulas: Vec<Formula> = (0..Atom::ALL.len().min(count)).map(Formula::Is).collect();
    while formulas.len() < count {
        let (a, b) = (random.below(Atom::ALL.len()), random.below(Atom::ALL.len()));
        // Two of one kind never hold together, and two places are half of everything.
        let formula = match random.below(2) {
            0 if kind(a) != kind(b) => Formula::And(Box::new(Formula::Is(a)), b),
            1 if a != b && kind(a) < 3 && kind(b) < 3 => Formula::Or(Box::new(Formula::Is(a)), b),
            _ => continue,
        };
        if !formulas.contains(&formula) {
            formulas.push(formula);
        }
    }
    formulas
}

fn recovered(sizes: Sizes, chosen: &Concepts, scored: &Concepts, progress: &Progress) -> Result<Recovered> {
    let formulas = planted_formulas(sizes.planted, sizes.seed);
    let area = SIDE * SIDE;
    let masks = |concepts: &Concepts| -> Vec<Bits> { formulas.iter().map(|f| concepts.mask(f)).collect() };
    let (on_chosen, on_scored) = (masks(chosen), masks(scored));
    let source = |masks, seed| Planted { masks, size: [SIDE, SIDE], noise: NOISE, seed };
    let (a, b) = (source(&on_chosen, sizes.seed + 4), source(&on_scored, sizes.seed + 5));
    let found = units(&a, 100, progress)?;
    let active = [active_places(&a, &found, progress)?, active_places(&b, &found, progress)?];
    let seen = |concepts, active| Seen { concepts, active, area };
    let naming = Naming { seed: sizes.seed, ..Naming::default() };
    let named = name_units(&found, &seen(chosen, &active[0]), &seen(scored, &active[1]), naming);
    let same: Vec<f64> = (named.iter().zip(&on_scored))
        .map(|(n, truth)| n.formula.as_ref().is_some_and(|f| Overlap::of(&scored.mask(f), truth).iou() == 1.0))
        .map(|same| f64::from(u8::from(same)))
        .collect();
    let mean = |of: &dyn Fn(&super::names::Named) -> f64| named.iter().map(of).sum::<f64>() / named.len() as f64;
    let truth = on_scored.iter().zip(&active[1]).filter_map(|(mask, active)| Overlap::of(mask, active).auroc());
    let ceiling = truth.sum::<f64>() / named.len() as f64;
    let images = chosen.masks[0].universe() / area;
    let singles = &found[..found.len().min(chosen.names.len())];
    let by = |matching: Matching| -> Result<Estimate> {
        Ok(Estimate::mean(&matched(matching, chosen, images, singles)?, sizes.seed))
    };
    Ok(Recovered {
        units: named.len(),
        same: Estimate::mean(&same, sizes.seed),
        auroc: mean(&|n| n.auroc.value),
        ceiling,
        permuted: mean(&|n| n.permuted),
        wpmi: by(Matching::SOFT)?,
        hard_wpmi: by(Matching::HARD)?,
    })
}

/// Whether WPMI gives unit i the concept i: 1 or 0. An image's share of a concept is how much of what is there it is.
fn matched(matching: Matching, concepts: &Concepts, images: usize, units: &[Unit]) -> Result<Vec<f64>> {
    let count = concepts.names.len();
    let area = concepts.masks[0].universe() / images;
    let mut shares = Vec::with_capacity(images * count);
    for image in 0..images {
        let most = concepts.masks.iter().map(|m| m.count_in(image * area, (image + 1) * area)).max().unwrap_or(0);
        let share = |m: &Bits| m.count_in(image * area, (image + 1) * area) as f64 / most.max(1) as f64;
        shares.extend(concepts.masks.iter().map(share));
    }
    let top: Vec<Vec<usize>> = units.iter().map(|u| u.top.iter().map(|t| t.1).collect()).collect();
    let scores = matching.scores(&shares, count, &top)?;
    let best = |scores: &Vec<f64>| (0..count).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    Ok(scores.iter().enumerate().map(|(u, s)| f64::from(u8::from(best(s) == Some(u)))).collect())
}

fn exemplars(scenes: &Scenes, set: &Set) -> Vec<Exemplar> {
    set.scenes.iter().map(|scene| Exemplar { image: *scene, mask: set.mask(scenes, *scene) }).collect()
}

fn described(
    sizes: Sizes,
    count: usize,
    updates: u64,
    scenes: &Scenes,
    net: &Convolutional,
    labels: &Labels,
    progress: &Progress,
) -> Result<Described> {
    let seed = sizes.seed;
    progress.task("second network");
    let eye = network(scenes, sizes.updates, seed + 6, progress)?;
    let all = sets(scenes, count + sizes.tested, EXEMPLARS, seed + 7);
    let (learnt, tested) = all.split_at(count);
    let words = Vocabulary::of(learnt.iter().flat_map(|s| s.phrases.iter().map(String::as_str)));
    progress.task("features");
    let of = |sets: &[Set]| -> Vec<Vec<Exemplar>> { sets.iter().map(|s| exemplars(scenes, s)).collect() };
    let seen = features(&eye, &scenes.images, &of(learnt), progress)?;
    // Each feature on a scale of its own: layers differ in size.
    let scale = seen.flatten_to(1)?.sqr()?.mean(0)?.sqrt()?.affine(1.0, 1e-6)?;
    let config = CaptionerConfig { vocab: words.len(), embed: 64, hidden: 128 };
    let how = Training { updates, batch: 64, rate: 2e-3, seed };
    progress.task("describer");
    let speaker = describer(config, Some(seen.broadcast_div(&scale)?), learnt, &words, how, progress)?;
    progress.task("language model");
    let language = describer(config, None, learnt, &words, how, progress)?;
    progress.task("descriptions");
    let new = features(&eye, &scenes.images, &of(tested), progress)?.broadcast_div(&scale)?;
    let found = candidates(&speaker.looking_at(new)?, &language, tested.len(), &words, Search::default(), progress)?;
    let lambdas = LAMBDAS.iter().map(|lambda| at_lambda(*lambda, tested, &found, seed)).collect();
    let milan = |c: &[Candidate]| choose(c, super::super::label::criteria::LAMBDA).map_or("", |c| &c.text).to_string();
    let others = tested.iter().zip(found.iter().cycle().skip(1));
    let chance = others.map(|(set, c)| f1(&milan(c), &set.meaning.words())).sum::<f64>() / tested.len() as f64;
    let plainly = |c: &[Candidate]| choose(c, 0.0).map_or("", |c| &c.text).to_string();
    let examples = tested.iter().zip(&found).take(12);
    let examples = examples.map(|(set, c)| [set.meaning.words().join(" "), plainly(c), milan(c)]).collect();
    let units = describe_units(net, labels, &eye, &scale, (&speaker, &language), &words, sizes, progress)?;
    Ok(Described { sets: tested.len(), lambdas, chance, examples, units })
}

fn at_lambda(lambda: f64, tested: &[Set], found: &[Vec<Candidate>], seed: u64) -> AtLambda {
    let texts: Vec<&str> = found.iter().map(|c| choose(c, lambda).map_or("", |c| c.text.as_str())).collect();
    let scores: Vec<f64> = tested.iter().zip(&texts).map(|(set, text)| f1(text, &set.meaning.words())).collect();
    let mut counts = std::collections::BTreeMap::new();
    texts.iter().for_each(|text| *counts.entry(*text).or_insert(0u32) += 1);
    let n = texts.len().max(1) as f64;
    let entropy = -counts.values().map(|c| f64::from(*c) / n).map(|p| p * p.ln()).sum::<f64>();
    AtLambda {
        lambda,
        f1: Estimate::mean(&scores, seed),
        entropy,
        words: texts.iter().map(|t| t.split(' ').count() as f64).sum::<f64>() / n,
        empty: texts.iter().filter(|t| content(t).is_empty()).count() as f64 / n,
    }
}

/// Words that say something: those of a meaning.
fn content(text: &str) -> Vec<&str> {
    let says = |word: &&str| Atom::ALL.iter().any(|a| a.word() == *word) || matches!(*word, "or" | "above");
    text.split(' ').filter(says).collect()
}

/// Harmonic mean of precision and recall of a description's words that say something.
pub fn f1(text: &str, truth: &[&str]) -> f64 {
    let mut said = content(text);
    said.sort_unstable();
    said.dedup();
    let mut truth = truth.to_vec();
    truth.sort_unstable();
    truth.dedup();
    let both = said.iter().filter(|w| truth.contains(w)).count();
    if both == 0 { 0.0 } else { 2.0 * both as f64 / (said.len() + truth.len()) as f64 }
}

/// The classifier's units in words: (unit, formula, description), those whose formulas fit best first.
#[allow(clippy::too_many_arguments)] // what was learnt, and what it is asked about
fn describe_units(
    net: &Convolutional,
    labels: &Labels,
    eye: &Convolutional,
    scale: &candle_core::Tensor,
    (speaker, language): (&crate::models::Captioner, &crate::models::Captioner),
    words: &Vocabulary,
    sizes: Sizes,
    progress: &Progress,
) -> Result<Vec<[String; 3]>> {
    let selection = Scenes::draw(sizes.probe, sizes.seed + 2);
    let source = super::units::NetworkMaps { net, set: &selection.images };
    let mut best: Vec<&super::names::Named> = labels.units.iter().filter(|n| n.formula.is_some()).collect();
    best.sort_by(|a, b| b.iou.total_cmp(&a.iou));
    best.truncate(24);
    let set = |n: &&super::names::Named| -> Result<Vec<Exemplar>> {
        let masks = super::units::exemplar_masks(&source, &n.unit)?;
        Ok(n.unit.top.iter().zip(masks).map(|(t, mask)| Exemplar { image: t.1, mask }).collect())
    };
    let sets = best.iter().map(set).collect::<Result<Vec<_>>>()?;
    let seen = features(eye, &selection.images, &sets, progress)?.broadcast_div(scale)?;
    let found = candidates(&speaker.looking_at(seen)?, language, sets.len(), words, Search::default(), progress)?;
    let text =
        |c: &Vec<Candidate>| choose(c, super::super::label::criteria::LAMBDA).map_or("", |c| &c.text).to_string();
    Ok(best.iter().zip(&found).map(|(n, c)| [n.unit.name(), n.label.clone(), text(c)]).collect())
}

fn silenced(
    net: &Convolutional,
    test: &Scenes,
    targets: &[f32],
    before: &[f64],
    labels: &Labels,
    seed: u64,
) -> Result<Silenced> {
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
    let accuracy = |edits: &[crate::hook::Edit]| Ok(mean(&balanced(net, &test.images, targets, edits)?));
    let all: Vec<Unit> = labels.units.iter().map(|n| n.unit.clone()).collect();
    let counts: Vec<usize> = SHARES.iter().map(|s| (s * all.len() as f64).round() as usize).collect();
    let ordered = |score: &dyn Fn(&super::names::Named) -> f64| -> Vec<&Unit> {
        let mut order: Vec<&super::names::Named> = labels.units.iter().collect();
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order.into_iter().map(|n| &n.unit).collect()
    };
    let names_class = |n: &super::names::Named, class: usize| {
        n.formula.as_ref().is_some_and(|f| f.present().contains(&class)) && n.holds()
    };
    let any_class = |n: &super::names::Named| (0..Atom::CLASSES).any(|class| names_class(n, class));
    let mut curves = vec![
        curve("label fits best (IoU)", &ordered(&|n| n.iou), &counts, &accuracy)?,
        curve(
            "names a class, best first",
            &ordered(&|n| f64::from(u8::from(any_class(n))) + n.iou),
            &counts,
            &accuracy,
        )?,
        curve("label fits worst", &ordered(&|n| -n.iou), &counts, &accuracy)?,
    ];
    let draws = (0..DRAWS)
        .map(|draw| curve("random", &at_random(&all, seed, draw), &counts, &accuracy))
        .collect::<Result<Vec<_>>>()?;
    let average = |i: usize| (counts[i], draws.iter().map(|c| c.points[i].1).sum::<f64>() / DRAWS as f64);
    curves.push(Curve { name: "random units".into(), points: (0..counts.len()).map(average).collect() });
    let (mut own, mut others, mut random, mut named) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for class in 0..Atom::CLASSES {
        let units: Vec<&Unit> = labels.units.iter().filter(|n| names_class(n, class)).map(|n| &n.unit).collect();
        named.push((Atom::ALL[class].word().to_string(), units.len()));
        if units.is_empty() {
            continue;
        }
        let after = balanced(net, &test.images, targets, &silencing(&units)?)?;
        own.push(before[class] - after[class]);
        let rest: Vec<f64> = (0..Atom::CLASSES).filter(|c| *c != class).map(|c| before[c] - after[c]).collect();
        others.push(mean(&rest));
        let mut draws = Vec::new();
        for draw in 0..DRAWS {
            let mut stream = Stream::new(seed, &[0x5e, class as u64, draw]);
            let twins = twins(&units, &all, &mut stream);
            let after = balanced(net, &test.images, targets, &silencing(&twins)?)?;
            draws.push(before[class] - after[class]);
        }
        random.push(mean(&draws));
    }
    let over = |rest: &[f64]| {
        let differences: Vec<f64> = own.iter().zip(rest).map(|(a, b)| a - b).collect();
        Estimate::mean(&differences, seed)
    };
    Ok(Silenced {
        curves,
        named,
        over_others: over(&others),
        over_random: over(&random),
        own: Estimate::mean(&own, seed),
        others: Estimate::mean(&others, seed),
        random: Estimate::mean(&random, seed),
    })
}

/// As many other units of the same layers, where there are so many.
fn twins<'a>(units: &[&Unit], all: &'a [Unit], stream: &mut Stream) -> Vec<&'a Unit> {
    let mut rest: Vec<&Unit> = all.iter().filter(|u| !units.contains(u)).collect();
    stream.shuffle(&mut rest);
    let mut taken: Vec<&Unit> = Vec::new();
    for unit in units {
        if let Some(at) = rest.iter().position(|u| u.layer == unit.layer) {
            taken.push(rest.swap_remove(at));
        }
    }
    taken
}
