//! Two models side by side, artificial languages, and the alignment experiment in small.

use std::collections::BTreeSet;

use optrode::analysis::Figures;
use optrode::analysis::languages::{Known, Options, Scale, alignment, compare, script};
use optrode::data::tongues::{BOS, Customs, TONGUES, Tongues};
use optrode::hook::random::Stream;
use optrode::report::{Block, Report};
use optrode::train::tongues::{Diet, Effort, FIRST, Polyglot, Sizes, fact_hits, translated};

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

/// A word a token, one order of words, four alphabets.
const PLAIN: Customs = Customs { spelled: false, orders: false, alphabets: [0, 1, 2, 3, 3] };

#[test]
fn artificial_languages_share_a_world_and_no_words() {
    for customs in [Customs::default(), PLAIN, Customs { orders: false, ..Customs::default() }] {
        let tongues = Tongues::new(3, customs);
        let tokenizer: tokenizers::Tokenizer = tongues.tokenizer().to_string().parse().unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), tongues.vocabulary());
        let mut scripts = Vec::new();
        for tongue in 0..TONGUES {
            let texts = tongues.texts(tongue, 20, 3, 5);
            assert_eq!(texts, tongues.texts(tongue, 20, 3, 5));
            scripts.push(script(&texts.concat()).unwrap());
            for text in &texts {
                let ids = tokenizer.encode(text.as_str(), true).unwrap().get_ids().to_vec();
                assert_eq!(ids[0], BOS);
                let stop = Tongues::sign(".");
                let known = |id: &u32| *id == stop || Tongues::is_person(*id) || tongues.is_of(tongue, *id);
                assert!(ids[1..].iter().all(known), "{text}");
            }
        }
        let alphabets = customs.alphabets;
        let mut pairs = (0..TONGUES).flat_map(|a| (0..a).map(move |b| (a, b)));
        assert!(pairs.all(|(a, b)| (scripts[a] == scripts[b]) == (alphabets[a] == alphabets[b])), "{scripts:?}");
        let ((here, digit), (there, same)) = (tongues.fact(0, 7), tongues.fact(4, 7));
        assert_eq!(digit, same);
        assert_eq!(here.last(), there.last());
        assert!(here.iter().zip(&there).take_while(|(a, b)| a == b).count() == 0, "the nouns differ");
    }
}

/// One meaning in two languages of one order: the same places, other words. With orders of their own: the same words
/// within a language, however a language is said, in other places.
#[test]
fn languages_say_the_same_in_their_own_order() {
    let [plain, ordered] = [PLAIN, Customs { orders: true, ..PLAIN }].map(|customs| Tongues::new(3, customs));
    for draw in 0..20 {
        let meaning = plain.meaning(&mut Stream::new(1, &[draw]));
        let first = plain.say(0, &meaning);
        for tongue in 1..TONGUES {
            let here = plain.say(tongue, &meaning);
            assert_eq!(here.len(), first.len());
            for (a, b) in here.iter().zip(&first) {
                assert_eq!(a == b, Tongues::is_person(*a), "persons are the same, words are not");
            }
            let [mut sorted, mut moved] = [here.clone(), ordered.say(tongue, &meaning)];
            sorted.sort_unstable();
            moved.sort_unstable();
            assert_eq!(sorted, moved);
        }
        assert_eq!(ordered.say(0, &meaning), first, "the first language's order is that of all otherwise");
    }
    let differs = |tongue| {
        (0..20).any(|draw| {
            let meaning = plain.meaning(&mut Stream::new(1, &[draw]));
            plain.say(tongue, &meaning) != ordered.say(tongue, &meaning)
        })
    };
    assert!((1..TONGUES).all(differs));
}

#[test]
fn spelled_words_are_told_apart_and_share_their_syllables() {
    let spelled = Tongues::new(3, Customs::default());
    let plain = Tongues::new(3, PLAIN);
    assert!(spelled.vocabulary() < plain.vocabulary(), "few syllables make many words");
    // Two languages of one alphabet share syllables, and no two nouns of all are spelled alike.
    let shared = (0..spelled.vocabulary() as u32).filter(|id| spelled.is_of(3, *id) && spelled.is_of(4, *id)).count();
    assert!(shared > 10, "{shared}");
    let all = (0..TONGUES).flat_map(|t| (0..Tongues::facts()).map(move |noun| (t, noun)));
    let nouns: BTreeSet<Vec<u32>> = all.map(|(t, noun)| spelled.fact(t, noun).0).collect();
    assert_eq!(nouns.len(), TONGUES * Tongues::facts());
}

#[test]
fn a_polyglot_learns_and_learns_again_to_the_last_bit() {
    let tongues = Tongues::new(3, Customs::default());
    let effort = Effort { updates: 6, rows: 4, rate: 1e-3 };
    let learn = |diet: &Diet| {
        let fresh = Polyglot::new(&tongues, Sizes::default(), 3).unwrap();
        let learned = fresh.learn(&tongues, diet, &effort, 3, &mut |_, _| {}).unwrap();
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

/// What a network foresees of a translation, against a run of each pair on its own.
#[test]
fn translations_are_scored_on_their_own_tokens() {
    let tongues = Tongues::new(3, Customs::default());
    let folder = tempfile::tempdir().unwrap();
    let fresh = Polyglot::new(&tongues, Sizes::default(), 3).unwrap();
    let net = fresh.model(&tongues, folder.path()).unwrap().decoder;
    let found = translated(&net, &tongues, 2, 6, 9).unwrap();
    assert_eq!(found, translated(&net, &tongues, 2, 6, 9).unwrap());
    assert!(found.len() == 6 && found.iter().all(|share| (0.0..=1.0).contains(share)));
    assert!(found.iter().sum::<f64>() < 3.0, "an untrained network translates nothing: {found:?}");
    // More pairs do not change those before them, though rows are filled up to the longest.
    assert_eq!(translated(&net, &tongues, 2, 20, 9).unwrap()[..6], found[..]);
}

#[test]
fn the_experiment_reports_every_language_and_its_control() {
    let short = Effort { updates: 4, rows: 4, rate: 1e-3 };
    let scale = Scale {
        worlds: 1,
        customs: Customs::default(),
        sizes: Sizes { layers: 3, width: 32, neurons: 64 },
        learning: short,
        pairs: short,
        lines: 16,
        share: 0.05,
        seed: 1,
    };
    let found = alignment(&scale, &mut |_, _, _| {}).unwrap();
    let world = &found.worlds[0];
    assert_eq!((world.before.facts.len(), world.before.translations.len()), (TONGUES, TONGUES));
    assert!(world.comparison.trained == [true, true, true, false, false]);
    // A gain is the mean of paired differences.
    let hits = |known: &Known| known.facts[1].iter().chain(&known.facts[2]).sum::<f64>() / 40.0;
    let [aligned, _] = found.gains();
    assert!((aligned.value - (hits(&world.aligned) - hits(&world.scrambled))).abs() < 1e-12);
    let names: Vec<String> = found.figures().into_iter().map(|(name, _)| name).collect();
    for name in [
        "facts.others.after",
        "facts.others.scrambled",
        "translation.aligned.after",
        "deactivation.everything",
        "change.untrained.related",
        "scrambled.change.specific",
    ] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    assert!(found.blocks().iter().any(|block| matches!(block, Block::Chart(_))));
}
