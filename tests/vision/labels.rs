//! Labels of channels: masks, formulas, held-out scores, descriptions by pmi, mending.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::analysis::label::{Bits, Overlap};
use optrode::analysis::measure::mean;
use optrode::analysis::vision::concepts::{Concepts, Formula, best_formula};
use optrode::analysis::vision::cuts::{balanced, outputs, right, silencing};
use optrode::analysis::vision::describe::{
    Candidate, Exemplar, Search, candidates, choose, features, log_probabilities,
};
use optrode::analysis::vision::learn::{Training, describer};
use optrode::analysis::vision::mend::{baked, repair};
use optrode::analysis::vision::names::{Naming, Seen, name_units};
use optrode::analysis::vision::phrases::{Meaning, Set, sets};
use optrode::analysis::vision::planted::Planted;
use optrode::analysis::vision::study::{Sizes, Study, f1, study};
use optrode::analysis::vision::units::{
    Maps, NetworkMaps, QUANTILE, Unit, active_places, exemplar_masks, scaled, scaled_mask, units,
};
use optrode::analysis::vision::words::Vocabulary;
use optrode::data::glyphs::{Signed, Signs};
use optrode::data::scenes::{Atom, SIDE, Scenes};
use optrode::hook::{Tap, random};
use optrode::models::{Captioner, CaptionerConfig, Convolutional, ConvolutionalConfig, Input, Network, State};
use optrode::report::Progress;
use optrode::store::ModelFolder;

use crate::common::shared::shared;
use crate::common::{bits, floats};

const AREA: usize = SIDE * SIDE;

fn quiet() -> Progress {
    Progress::hidden()
}

fn small() -> Convolutional {
    let config = ConvolutionalConfig::plain([3, SIDE, SIDE], &[4, 6, 8], Scenes::classes());
    let variables = Convolutional::variables(&config, 5).unwrap();
    let weights: BTreeMap<String, Tensor> =
        variables.into_iter().map(|(name, var)| (name, var.as_tensor().detach())).collect();
    Convolutional::new(config, &weights).unwrap()
}

#[test]
fn maps_scale_to_images_as_they_should() {
    assert_eq!(scaled(&[3.0; 6], [2, 3], [8, 9]), vec![3.0; 72]);
    let map = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(scaled(&map, [2, 2], [2, 2]), map);
    // Bilinear, corners not aligned: the middle of the pixels is what is interpolated.
    assert_eq!(scaled(&[0.0, 1.0], [1, 2], [1, 4]), [0.0, 0.25, 0.75, 1.0]);
}

#[test]
fn masks_add_up_to_one_and_constant_maps_keep_their_value() {
    let mask: Vec<bool> = (0..64).map(|i| i % 7 == 3).collect();
    let weights = scaled_mask(&mask, [8, 8], [2, 2]);
    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(scaled_mask(&[false; 64], [8, 8], [2, 2]), [0.25; 4]);
    // A network whose first layer gives a constant gives that constant as a feature, whatever the mask.
    let config = ConvolutionalConfig::plain([3, SIDE, SIDE], &[2], vec!["a".into()]);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let weights: BTreeMap<String, Tensor> = [
        ("conv.0.weight".to_string(), zeros(&[2, 3, 3, 3])),
        ("conv.0.bias".to_string(), Tensor::new(&[0.5f32, 2.0], &Device::Cpu).unwrap()),
        ("head.weight".to_string(), zeros(&[1, 2])),
        ("head.bias".to_string(), zeros(&[1])),
    ]
    .into();
    let net = Convolutional::new(config, &weights).unwrap();
    let scenes = Scenes::draw(3, 0);
    let set = vec![Exemplar { image: 2, mask: (0..AREA).map(|i| i % 5 == 0).collect() }];
    let found = features(&net, &scenes.images, &[set], &quiet()).unwrap();
    let expected = [0.5f32, 2.0];
    assert!(floats(&found).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn exemplars_are_the_largest_and_one_in_a_hundred_places_is_active() {
    let (net, scenes) = (small(), Scenes::draw(150, 4));
    let source = NetworkMaps { net: &net, set: &scenes.images };
    let found = units(&source, 10, &quiet()).unwrap();
    assert_eq!(found.len(), 18);
    let all: Vec<usize> = (0..150).collect();
    let maps = source.maps(&all).unwrap();
    for unit in &found {
        let map = maps[unit.layer].narrow(1, unit.channel, 1).unwrap().flatten_from(1).unwrap();
        let mut most: Vec<(f32, usize)> =
            floats(&map.max(1).unwrap()).into_iter().enumerate().map(|(i, a)| (a, i)).collect();
        most.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        assert_eq!(unit.top, most[..10], "{}", unit.name());
        let values = floats(&map);
        let above = values.iter().filter(|a| **a > unit.level).count() as f64 / values.len() as f64;
        // The histogram's bins are a sixteenth of an octave wide.
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        let exact = sorted[(QUANTILE * (sorted.len() - 1) as f64) as usize];
        let near = (unit.level - exact).abs() <= 0.06 * exact.abs() + 1e-4;
        assert!(near && above < 0.05, "{}: level {}, exact {exact}, {above} above", unit.name(), unit.level);
    }
}

#[test]
fn places_of_exemplars_agree_with_the_places_of_all_images() {
    let (net, scenes) = (small(), Scenes::draw(40, 4));
    let source = NetworkMaps { net: &net, set: &scenes.images };
    let found = units(&source, 3, &quiet()).unwrap();
    let active = active_places(&source, &found, &quiet()).unwrap();
    for (unit, active) in found.iter().zip(&active) {
        for (mask, (_, image)) in exemplar_masks(&source, unit).unwrap().iter().zip(&unit.top) {
            let same = (0..AREA).all(|p| mask[p] == active.contains(image * AREA + p));
            assert!(same, "{}, image {image}", unit.name());
        }
    }
}

#[test]
fn a_concept_is_found_in_its_own_mask() {
    let scenes = Scenes::draw(80, 9);
    let concepts = Concepts::of_scenes(&scenes);
    for (c, mask) in concepts.masks.iter().enumerate() {
        let (formula, iou) = best_formula(&concepts, mask, 3, 10).unwrap();
        assert_eq!((formula, iou), (Formula::Is(c), 1.0));
    }
    let both = concepts.masks[Atom::Red.index()].and(&concepts.masks[Atom::Circle.index()]);
    let (formula, iou) = best_formula(&concepts, &both, 3, 10).unwrap();
    assert_eq!(iou, 1.0);
    assert_eq!(concepts.words(&formula).split(' ').count(), 3, "{}", concepts.words(&formula));
    assert!(best_formula(&concepts, &Bits::new(both.universe()), 3, 10).is_none());
}

#[test]
fn made_up_units_get_their_label_back_and_permuted_labels_do_not_fit() {
    let scenes = [Scenes::draw(200, 1), Scenes::draw(200, 2)];
    let concepts = scenes.each_ref().map(Concepts::of_scenes);
    let and = |a: Atom, b: Atom| Formula::And(Box::new(Formula::Is(a.index())), b.index());
    let truth: Vec<Formula> = (0..Atom::ALL.len())
        .map(Formula::Is)
        .chain([and(Atom::Red, Atom::Square), and(Atom::Dotted, Atom::Left), and(Atom::Blue, Atom::Striped)])
        .collect();
    let masks = concepts.each_ref().map(|c| truth.iter().map(|f| c.mask(f)).collect::<Vec<Bits>>());
    let source = |at: usize| Planted { masks: &masks[at], size: [SIDE, SIDE], noise: 0.2, seed: at as u64 };
    let found = units(&source(0), 15, &quiet()).unwrap();
    let active = [0, 1].map(|at| active_places(&source(at), &found, &quiet()).unwrap());
    let seen = |at: usize| Seen { concepts: &concepts[at], active: &active[at], area: AREA };
    let named = name_units(&found, &seen(0), &seen(1), Naming::default());
    let same = |(n, mask): (&optrode::analysis::vision::names::Named, &Bits)| {
        n.formula.as_ref().is_some_and(|f| Overlap::of(&concepts[1].mask(f), mask).iou() == 1.0)
    };
    let recovered = named.iter().zip(&masks[1]).filter(|x| same(*x)).count();
    assert!(20 * recovered >= 19 * truth.len(), "{recovered} of {}", truth.len());
    let auroc = named.iter().map(|n| n.auroc.value).sum::<f64>() / named.len() as f64;
    let permuted = named.iter().map(|n| n.permuted).sum::<f64>() / named.len() as f64;
    assert!(auroc > 0.95 && permuted < 0.7, "{auroc}, permuted {permuted}");
    assert!(named.iter().filter(|n| n.holds()).count() >= truth.len() - 2);
}

#[test]
fn edits_in_weights_equal_edits_while_running() {
    let (net, scenes) = (small(), Scenes::draw(6, 4));
    let unit = |layer, channel| Unit { layer, channel, level: 0.0, top: Vec::new() };
    let units = [unit(0, 1), unit(2, 5), unit(2, 0)];
    let run = outputs(&net, &scenes.images, &silencing(&units.iter().collect::<Vec<_>>()).unwrap()).unwrap();
    let plain = outputs(&net, &scenes.images, &[]).unwrap();
    let weights = baked(&net, &units).unwrap();
    assert_eq!(bits(&outputs(&weights, &scenes.images, &[]).unwrap()), bits(&run));
    assert_ne!(bits(&run), bits(&plain));
    assert_eq!(bits(&outputs(&baked(&net, &[]).unwrap(), &scenes.images, &[]).unwrap()), bits(&plain));
    let all: Vec<usize> = (0..6).collect();
    let shares = balanced(&net, &scenes.images, &scenes.targets(&all), &[]).unwrap();
    assert!(shares.len() == Atom::CLASSES && shares.iter().all(|s| (0.0..=1.0).contains(s)));
    if let Some(folder) = shared("models/resnet20-cifar10") {
        let net = Convolutional::open(&ModelFolder::open(folder).unwrap()).unwrap();
        let error = baked(&net, &[unit(2, 3)]).err().unwrap().to_string();
        assert!(error.contains("shortcut"), "{error}");
        let units = [unit(1, 3)];
        let run = outputs(&net, &scenes.images, &silencing(&[&units[0]]).unwrap()).unwrap();
        let weights = outputs(&baked(&net, &units).unwrap(), &scenes.images, &[]).unwrap();
        let close = floats(&run).iter().zip(floats(&weights)).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0));
        assert!(close);
    }
}

/// A describer with drawn weights.
fn speaker(vocab: usize, sets: usize) -> Captioner {
    let config = CaptionerConfig { vocab, embed: 5, hidden: 7 };
    let values: Vec<f32> = (0..sets * 2 * 3).map(|i| random::normal(i as u64 + 1) as f32).collect();
    let features = Tensor::from_vec(values, (sets, 2, 3), &Device::Cpu).unwrap();
    let weights: BTreeMap<String, Tensor> = (Captioner::variables(&config, Some(3), 1).unwrap().into_iter())
        .map(|(name, var)| (name, var.as_tensor().detach()))
        .collect();
    Captioner::new(config, Some(features), &weights).unwrap()
}

fn language(vocab: usize) -> Captioner {
    let config = CaptionerConfig { vocab, embed: 5, hidden: 7 };
    let weights: BTreeMap<String, Tensor> = (Captioner::variables(&config, None, 2).unwrap().into_iter())
        .map(|(name, var)| (name, var.as_tensor().detach()))
        .collect();
    Captioner::new(config, None, &weights).unwrap()
}

#[test]
fn a_wide_beam_finds_every_description_with_its_probability() {
    let words = Vocabulary::of(["a b c"].into_iter());
    let (net, language) = (speaker(words.len(), 2), language(words.len()));
    // Three words, then the end: 1 + 3 + 9 + 27 descriptions of at most four steps.
    let search = Search { beam: 1000, words: 4 };
    let found = candidates(&net, &language, 2, &words, search, &quiet()).unwrap();
    assert_eq!(found[0].len(), 40);
    let rows: Vec<Vec<u32>> = found[1].iter().map(|c| words.encode(&c.text)).collect();
    let whole = log_probabilities(&net, 1, &rows).unwrap();
    for (candidate, whole) in found[1].iter().zip(&whole) {
        // The beam goes on from a state, this one begins anew.
        assert!((candidate.log_given - whole).abs() < 1e-4, "{candidate:?} {whole}");
    }
    assert!(found[1].windows(2).all(|p| p[0].log_given >= p[1].log_given));
    let narrow = candidates(&net, &language, 2, &words, Search { beam: 5, words: 4 }, &quiet()).unwrap();
    assert!(narrow[1].len() <= 5 && narrow[1][0].log_given <= found[1][0].log_given + 1e-9);
    let total: f64 = found[0].iter().map(|c| c.log_given.exp()).sum();
    assert!(total < 1.0 + 1e-6, "{total}");
}

#[test]
fn lambda_0_is_likelihood_and_a_constant_prior_changes_nothing() {
    let candidate = |text: &str, log_given, log_prior| Candidate { text: text.into(), log_given, log_prior };
    let all = [candidate("common", -1.0, -0.5), candidate("rare", -2.0, -6.0), candidate("odd", -9.0, -9.0)];
    assert_eq!(choose(&all, 0.0).unwrap().text, "common");
    assert_eq!(choose(&all, 1.0).unwrap().text, "rare");
    let shifted = all.clone().map(|c| Candidate { log_prior: c.log_prior - 3.0, ..c });
    for lambda in [0.2, 1.0, 2.0] {
        assert_eq!(choose(&all, lambda).unwrap().text, choose(&shifted, lambda).unwrap().text);
    }
    // Where the exemplars add nothing, pmi is 0 for all.
    let same = [candidate("a", -1.0, -1.0), candidate("b", -3.0, -3.0)];
    assert!(same.iter().all(|c| c.log_given - c.log_prior == 0.0));
    assert!(choose(&[], 0.2).is_none());
}

#[test]
fn attention_is_a_site_and_can_be_clamped() {
    let words = Vocabulary::of(["a b c"].into_iter());
    let net = speaker(words.len(), 2);
    let mut tokens =
        optrode::models::Tokens::from_rows(&[words.encode("a c b")], optrode::models::Side::Right, 1).unwrap();
    tokens.documents = vec![1];
    let input = Input::Tokens(tokens);
    let run = serde_json::from_value(serde_json::json!({ "passes": [
        { "name": "first", "records": [{ "site": "decoder.hook_attention" }, { "site": "decoder.hook_h" }] },
        { "name": "second", "edits": [{ "site": "decoder.hook_h", "op": "set",
                                        "value": { "pass": "first", "site": "decoder.hook_h" } }] },
        { "name": "third", "edits": [{ "site": "decoder.hook_attention", "op": "zero" }] },
    ]}))
    .unwrap();
    let registry = optrode::hook::Registry::elementary();
    let inputs = [input.clone()];
    let job = optrode::models::Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
    let done = optrode::models::execute(&net, job).unwrap();
    let attention = done.passes[0].records.get("decoder.hook_attention").unwrap();
    assert_eq!(attention.dims(), [5, 1, 2]);
    assert!(floats(&attention.sum(2).unwrap()).iter().all(|s| (s - 1.0).abs() < 1e-6));
    let plain = net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap();
    assert_eq!(bits(&done.passes[0].output), bits(&plain));
    assert_ne!(bits(&done.passes[2].output), bits(&plain));
}

#[test]
fn a_describer_learns_what_sets_show() {
    let atoms = [Atom::Red, Atom::Blue, Atom::Circle];
    let phrase = |i: usize| atoms[i % 3].word().to_string();
    let sets: Vec<Set> = (0..6)
        .map(|i| Set {
            meaning: Meaning::One(atoms[i % 3]),
            scenes: vec![0, 1],
            phrases: [phrase(i), phrase(i), phrase(i)],
        })
        .collect();
    let values: Vec<f32> = (0..6 * 2 * 3).map(|at| if at % 3 == at / 6 % 3 { 1.0 } else { 0.0 }).collect();
    let features = Tensor::from_vec(values, (6, 2, 3), &Device::Cpu).unwrap();
    let words = Vocabulary::of(sets.iter().flat_map(|s| s.phrases.iter().map(String::as_str)));
    let config = CaptionerConfig { vocab: words.len(), embed: 8, hidden: 16 };
    let how = Training { updates: 120, batch: 12, rate: 2e-2, seed: 0 };
    let net = describer(config, Some(features), &sets, &words, how, &quiet()).unwrap();
    let language = describer(config, None, &sets, &words, how, &quiet()).unwrap();
    let found = candidates(&net, &language, 6, &words, Search { beam: 4, words: 3 }, &quiet()).unwrap();
    for (set, found) in sets.iter().zip(&found) {
        let said = choose(found, 0.2).unwrap();
        assert_eq!(said.text, set.phrases[0]);
        // Without the set each of the three is as likely.
        assert!((said.log_prior - (1.0f64 / 3.0).ln()).abs() < 0.3, "{said:?}");
        assert!(said.log_given > -0.3, "{said:?}");
    }
}

#[test]
fn sets_show_what_they_were_drawn_for() {
    let scenes = Scenes::draw(300, 3);
    let drawn = sets(&scenes, 60, 15, 2);
    assert_eq!(drawn.len(), 60);
    assert!(drawn.iter().any(|s| matches!(s.meaning, Meaning::Above(..))));
    for set in &drawn {
        assert_eq!(set.scenes.len(), 15);
        for scene in &set.scenes {
            assert!(set.mask(&scenes, *scene).iter().any(|m| *m), "{:?}", set.meaning);
        }
    }
}

#[test]
fn f1_counts_words_that_say_something() {
    assert_eq!(f1("red circle", &["red", "circle"]), 1.0);
    assert_eq!(f1("objects that are red", &["red", "circle"]), 2.0 / 3.0);
    assert_eq!(f1("shapes", &["red"]), 0.0);
}

#[test]
fn the_experiment_is_repeatable_and_its_control_is_worse() {
    let describer = Some((20, 6));
    let sizes = Sizes { train: 300, probe: 32, updates: 30, planted: 18, describer, tested: 3, seed: 1 };
    let first = study(sizes, &quiet()).unwrap();
    let text = |study: &Study| serde_json::to_string(study).unwrap();
    assert!(text(&first) == text(&study(sizes, &quiet()).unwrap()));
    assert!(first.accuracy > 0.52, "{}", first.accuracy);
    assert!(first.recovered.permuted < first.recovered.auroc - 0.15, "{:?}", first.recovered);
    assert_eq!(first.described.unwrap().lambdas.len(), 6);
}

#[test]
fn mending_silences_what_misleads_and_nothing_where_nothing_does() {
    let shapes = Signed::draw(60, Signs::Random, 1);
    let classes: Vec<String> = shapes.scenes.images.classes.clone();
    let config = ConvolutionalConfig::plain([3, SIDE, SIDE], &[4], classes);
    let variables = Convolutional::variables(&config, 5).unwrap();
    let mut weights: BTreeMap<String, Tensor> =
        variables.into_iter().map(|(name, var)| (name, var.as_tensor().detach())).collect();
    // Channel 0 is always active and says the first shape, louder than everything else.
    let zero = |name: &str, weights: &BTreeMap<String, Tensor>| weights[name].zeros_like().unwrap();
    let mut bias = floats(&zero("conv.0.bias", &weights));
    bias[0] = 100.0;
    weights.insert("conv.0.bias".into(), Tensor::from_vec(bias, 4, &Device::Cpu).unwrap());
    let mut head = floats(&weights["head.weight"]);
    head[0] = 50.0;
    (1..4).for_each(|class| head[4 * class] = 0.0);
    weights.insert("head.weight".into(), Tensor::from_vec(head, (4, 4), &Device::Cpu).unwrap());
    let net = Convolutional::new(config, &weights).unwrap();
    let images = &shapes.scenes.images;
    let unit = |channel| Unit { layer: 0, channel, level: 0.0, top: Vec::new() };
    let all: Vec<Unit> = (0..4).map(unit).collect();
    let first = right(&net, images, &[]).unwrap();
    let shown = images.labels.iter().filter(|l| **l == 0).count();
    assert_eq!(first.iter().sum::<f64>() as usize, shown, "it always says the first shape");
    let none = repair(&net, "sign", &[], &all, [images, images], 0).unwrap();
    assert!(none.silenced.is_empty() && none.gain.value == 0.0 && none.after == none.before);
    let done = repair(&net, "sign", &[&all[0], &all[1]], &all, [images, images], 0).unwrap();
    if !done.silenced.is_empty() {
        assert_eq!(done.silenced[0], all[0]);
        let after = right(&baked(&net, &done.silenced).unwrap(), images, &[]).unwrap();
        assert!((done.gain.value - (mean(&after) - mean(&first))).abs() < 1e-12);
    }
    assert!(done.gain.value >= 0.0 && done.curves[0].points.len() == 3);
}
