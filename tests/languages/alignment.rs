//! Two models side by side, artificial languages, and the alignment experiment in small.

use std::collections::BTreeSet;

use optrode::analysis::Figures;
use optrode::analysis::languages::{Options, Scale, alignment, compare, script};
use optrode::data::tongues::{BOS, TONGUES, Tongues};
use optrode::hook::random::Stream;
use optrode::report::{Block, Report};
use optrode::train::tongues::{Diet, Effort, FIRST, Polyglot, fact_hits};

use super::counts;

/// Forty neurons of three languages: neuron 0 is the first language's, 1 the second's, and 2 of both.
fn rates(first: f64, second: f64) -> Vec<Vec<f64>> {
    let mut p = vec![vec![0.1; 3]; 40];
    p[0] = vec![0.9, first, 0.0];
    p[1] = vec![0.0, 0.9, second];
    p[2] = vec![0.9, 0.9, 0.0];
    p
}

#[test]
fn what_becomes_related_is_seen_and_whose_it_is() {
    let options = Options { share: 0.075, lambda: Some(0.0), ..Options::default() };
    let [before, after] = [rates(0.0, 0.0), rates(0.85, 0.0)].map(|p| counts(2, &p, &[100; 3]));
    let names: Vec<String> = ["l0", "l1"].map(String::from).to_vec();
    let found = compare(&before, &after, &names, &options).unwrap();
    let figure = |name: &str| found.figures().into_iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!((found.before.specific(), found.before.related()), (2, 1));
    assert_eq!((found.common.specific(), found.common.related()), (1, 2));
    assert_eq!((figure("change.specific"), figure("change.related")), (-1.0, 1.0));
    // Neuron 0 left the first language's own ones and joined those of both: one related neuron more for each of two.
    assert_eq!((figure("change.trained.specific"), figure("change.trained.related")), (-1.0, 2.0));
    assert_eq!((figure("change.untrained.specific"), figure("change.untrained.related")), (0.0, 0.0));
    assert_eq!(found.kept[0], 1.0);
    assert!((found.kept[1] - 2.0 / 3.0).abs() < 1e-12 && found.kept[2].is_nan());
    let same = compare(&before, &before, &[], &options).unwrap();
    assert_eq!((same.common.masks.clone(), same.own.masks.clone()), (same.before.masks.clone(), same.before.masks));
    let other = counts(4, &rates(0.0, 0.0), &[100; 3]);
    assert!(compare(&before, &other, &[], &options).unwrap_err().to_string().contains("cannot be compared"));
    let nobody = compare(&before, &after, &["l7".to_string()], &options);
    assert!(nobody.unwrap_err().to_string().contains("no language `l7`"));
}

#[test]
fn artificial_languages_share_grammar_and_nothing_else() {
    let tongues = Tongues::new(3);
    let tokenizer: tokenizers::Tokenizer = tongues.tokenizer().to_string().parse().unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), Tongues::vocabulary());
    let mut scripts = Vec::new();
    for tongue in 0..TONGUES {
        let texts = tongues.texts(tongue, 20, 3, 5);
        assert_eq!(texts, tongues.texts(tongue, 20, 3, 5));
        scripts.push(script(&texts.concat()).unwrap());
        for text in &texts {
            let ids = tokenizer.encode(text.as_str(), true).unwrap().get_ids().to_vec();
            assert_eq!(ids[0], BOS);
            let stop = Tongues::sign(".");
            assert!(ids[1..].iter().all(|id| *id == stop || Tongues::is_word(tongue, *id)), "{text}");
        }
    }
    assert_eq!(scripts.iter().collect::<BTreeSet<_>>().len(), 4, "two of five share an alphabet: {scripts:?}");
    assert_eq!(scripts[3], scripts[4]);
    // One meaning has the same form everywhere: as many words, in the same places of each language's list.
    let meaning = tongues.meaning(&mut Stream::new(1, &[2]));
    let first = Tongues::say(0, &meaning);
    for tongue in 1..TONGUES {
        let here = Tongues::say(tongue, &meaning);
        let step = here[0] - first[0];
        assert!(here.iter().zip(&first).all(|(a, b)| a - b == step));
    }
    let (here, there) = (tongues.fact(0, 7), tongues.fact(4, 7));
    assert_eq!(here[1..], there[1..]);
    assert_ne!(here[0], there[0]);
}

#[test]
fn a_polyglot_learns_and_learns_again_to_the_last_bit() {
    let tongues = Tongues::new(3);
    let effort = Effort { updates: 6, rows: 4, rate: 1e-3 };
    let learn = |diet: &Diet| {
        let learned = Polyglot::new(3).unwrap().learn(&tongues, diet, &effort, 3, &mut |_, _| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = learned.model(&tongues, folder.path()).unwrap();
        (model.folder.identity().unwrap().sha256, fact_hits(&model.decoder, &tongues, FIRST).unwrap())
    };
    let pairs = |scrambled| Diet::Pairs { from: vec![1, 2], scrambled };
    let (world, hits) = learn(&Diet::World);
    assert_eq!(hits.len(), Tongues::facts());
    assert_eq!(learn(&Diet::World).0, world);
    let kinds: BTreeSet<String> = [world, learn(&pairs(false)).0, learn(&pairs(true)).0].into_iter().collect();
    assert_eq!(kinds.len(), 3);
}

#[test]
fn the_experiment_reports_every_language_and_its_control() {
    let short = Effort { updates: 4, rows: 4, rate: 1e-3 };
    let scale = Scale { worlds: 1, learning: short, pairs: short, lines: 16, share: 0.05, seed: 1 };
    let found = alignment(&scale, &mut |_, _, _| {}).unwrap();
    let world = &found.worlds[0];
    assert_eq!(world.before.len(), TONGUES);
    assert!(world.comparison.trained == [true, true, true, false, false]);
    let names: Vec<String> = found.figures().into_iter().map(|(name, _)| name).collect();
    for name in
        ["facts.others.after", "facts.others.scrambled", "change.untrained.related", "scrambled.change.specific"]
    {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    assert!(found.blocks().iter().any(|block| matches!(block, Block::Chart(_))));
}
