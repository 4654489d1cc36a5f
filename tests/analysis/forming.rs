//! The few-shot task, what each condition clamps, and the toy model of three factors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use optrode::analysis::forming::{
    Clamped, Condition, Curve, Options, Task, TokenCourse, accuracy_by_head, evaluate, form, side_by_side, strengths,
    tokens, toy,
};
use optrode::data::Omniglot;
use optrode::data::fewshot::{Draw, FewShot, FewShotConfig, repeated_rows};
use optrode::models::{AttentionOnly, AttentionOnlyConfig};

use crate::common::shared::shared;

fn small(seed: u64) -> FewShotConfig {
    FewShotConfig { classes: 8, held_out: 4, labels: 5, per_class: 3, width: 32, seed }
}

fn options(updates: u64) -> Options {
    Options { rate: 1e-3, updates, stop: None, batch: 16, window: 10, look: 2, seed: 1 }
}

#[test]
fn sequences_hold_their_answer_and_held_out_things_stay_out() {
    let task = FewShot::new(small(3)).unwrap();
    let labels = task.config().labels as u32;
    let pairs: BTreeSet<[u32; 2]> = task.train_pairs().iter().copied().collect();
    assert_eq!(pairs.len(), 8);
    assert!((0..labels).all(|l| pairs.iter().any(|p| p.contains(&l))), "training has every label");
    for draw in [Draw::Train, Draw::Relabel, Draw::Exemplars, Draw::Classes] {
        let batch = task.batch(draw, 7, 200);
        assert_eq!(batch, task.batch(draw, 7, 200));
        assert_ne!(batch, task.batch(draw, 8, 200));
        let mut positions = BTreeSet::new();
        for e in &batch {
            let [x1, l1, x2, l2, xq] = e.ids;
            assert_eq!(e.ids[e.position], e.answer);
            assert_eq!(e.ids[e.position - 1], xq);
            assert!(l1 != l2 && l1 < labels && l2 < labels && x1 != x2);
            let pair = [l1.min(l2), l1.max(l2)];
            assert_eq!(pairs.contains(&pair), draw != Draw::Relabel);
            let class = (xq - labels) / 3;
            assert_eq!(class >= 8, draw == Draw::Classes);
            assert_eq!(!(xq - labels).is_multiple_of(3), draw == Draw::Exemplars);
            positions.insert(e.position);
        }
        assert_eq!(positions.len(), 2, "either order occurs");
    }
    assert!(FewShot::new(FewShotConfig { classes: 1, ..small(0) }).is_err());
    assert!(FewShot::new(FewShotConfig { labels: 2, ..small(0) }).is_err());
}

#[test]
fn repeated_rows_repeat_and_vary_in_length() {
    let lengths: BTreeSet<usize> =
        (0..30).map(|i| repeated_rows(40, (4, 9), 0, i, 3).unwrap()).map(|rows| rows[0].len()).collect();
    assert!(lengths.len() > 3 && lengths.iter().all(|l| (9..=19).contains(l)));
    for row in repeated_rows(40, (6, 6), 1, 0, 5).unwrap() {
        assert_eq!((row[0], row.len()), (0, 13));
        assert_eq!(row[1..7], row[7..]);
        assert_eq!(row[1..7].iter().collect::<BTreeSet<_>>().len(), 6);
    }
    assert!(repeated_rows(5, (2, 9), 0, 0, 1).is_err());
}

#[test]
fn every_condition_trains_and_clamps_what_it_says() {
    let data = small(0);
    let all = [Condition::Free, Condition::Step1All].into_iter().chain(Condition::CLAMPS);
    let tasks: Vec<(Task, Options)> =
        all.map(|condition| (Task { data, pictures: false, condition, live: 2 }, options(20))).collect();
    let formed = side_by_side(&tasks, &|task| FewShot::new(task.data), &|_| {}).unwrap();
    for (formed, (task, options)) in formed.iter().zip(&tasks) {
        assert_eq!(formed.task, *task);
        assert_eq!(formed.curve.points.len(), 2);
        assert_eq!(
            formed.curve,
            form(task, FewShot::new(task.data).unwrap(), options).unwrap().curve,
            "{:?} repeats",
            task.condition
        );
        assert!(formed.curve.last().is_finite());
    }
    let loss = |condition: Condition| {
        let at = tasks.iter().position(|(t, _)| t.condition == condition).unwrap();
        formed[at].curve.points[0].1
    };
    // Where the copier is given, only the two labels in context are in question from the start.
    for condition in [Condition::Copy, Condition::Layer1Copy] {
        assert!(loss(condition) < 1.2, "{condition:?}: {}", loss(condition));
    }
    assert!(loss(Condition::None) > 1.2);
    let net = formed[0].network().unwrap();
    let episodes = formed[0].data.batch(Draw::Train, 0, 64);
    let (strength, previous) = strengths(&net, &episodes).unwrap();
    assert_eq!((strength.len(), previous.len()), (8, 8));
    assert!(strength.iter().all(|s| (-1.0..=1.0).contains(s)) && previous.iter().all(|p| (0.0..=1.0).contains(p)));
    assert_eq!(formed[0].moments.len(), 1);
    let (one, added) = accuracy_by_head(&net, &episodes).unwrap();
    assert_eq!((one.len(), added.len()), (8, 8));
    let whole = evaluate(&net, &Condition::Free.run(8, 0).unwrap(), &episodes).unwrap();
    assert!((added[7] - whole.loss).abs() < 1e-6, "all heads are the network");
}

#[test]
fn training_ends_where_the_loss_is_low_enough_and_nowhere_before() {
    let task = Task { data: small(0), pictures: false, condition: Condition::Match, live: 0 };
    let curve = |options| form(&task, FewShot::new(task.data).unwrap(), &options).unwrap().curve;
    let whole = curve(options(40));
    let stop = whole.points[1].1;
    let early = curve(Options { stop: Some(stop), ..options(40) });
    assert!(early.points.len() < 4 && early.last() <= stop, "{early:?}");
    assert_eq!(early.points, whole.points[..early.points.len()], "the way there is the same");
    assert_eq!(curve(Options { stop: Some(-1.0), ..options(40) }), whole);
}

#[test]
fn a_plateau_is_told_by_speed_whatever_the_way_past_ln_2() {
    let curve = |loss: &dyn Fn(f64) -> f64| Curve {
        points: (1..=400).map(|i| (f64::from(i), loss(f64::from(i) / 400.0))).collect(),
    };
    let late = |loss: &dyn Fn(f64) -> f64| curve(loss).late_speed(0.25).unwrap();
    let straight = late(&|t| 1.6 - 1.4 * t);
    assert!((straight - 1.0).abs() < 0.1, "{straight}");
    let slowing = late(&|t| 1.6 * (-2.5 * t).exp());
    assert!(slowing < 0.7, "{slowing}");
    // Down to ln 2 at once, a wait, and the drop.
    let waiting = late(&|t| 0.69 + 0.9 * (-20.0 * t).exp() - 0.6 / (1.0 + (-25.0 * (t - 0.8)).exp()));
    assert!(waiting > 3.0, "{waiting}");
    let half = curve(&|t| 1.6 - 1.4 * t).on_the_way(0.5, 0.25).unwrap();
    assert!((half - 0.925).abs() < 0.01, "{half}");
    assert_eq!(curve(&|_| 1.0).late_speed(0.25), None, "never learnt");
}

/// A set of `characters` by three drawers: character c has ink in its first c + 1 bytes, drawer d a dot elsewhere.
fn drawn(folder: &Path, name: &str, alphabet: &str, characters: usize) -> (PathBuf, PathBuf) {
    let (mut bits, mut lines) = (Vec::new(), vec!["index,alphabet,character,drawer,file".to_string()]);
    for c in 0..characters {
        for d in 0..3 {
            let mut image = vec![0u8; 1379];
            image[..=c].fill(0xff);
            image[1000 + d] = 1;
            bits.extend(image);
            lines.push(format!("{},{alphabet},character{c:02},{},f", 3 * c + d, d + 1));
        }
    }
    let paths = (folder.join(format!("{name}.bits")), folder.join(format!("{name}.csv")));
    std::fs::write(&paths.0, bits).unwrap();
    std::fs::write(&paths.1, lines.join("\n")).unwrap();
    paths
}

#[test]
fn characters_become_classes_and_files_that_do_not_fit_are_refused() {
    let here = tempfile::tempdir().unwrap();
    let (one, two) = (drawn(here.path(), "one", "Greek", 6), drawn(here.path(), "two", "Greek", 8));
    let read = |sets: &[&(PathBuf, PathBuf)]| {
        Omniglot::read(&sets.iter().map(|(bits, csv)| (bits.as_path(), csv.as_path())).collect::<Vec<_>>())
    };
    let both = read(&[&one, &two]).unwrap();
    assert_eq!(both.characters(), 8, "what two sets share counts once");
    let sizes = both.sizes(5, 2, 5, 3);
    assert_eq!((sizes.per_class, sizes.width), (3, 441));
    let task = both.few_shot(sizes).unwrap();
    assert_eq!(task.exemplars().dims(), [21, 441]);
    let rows: Vec<Vec<f32>> = task.exemplars().to_vec2().unwrap();
    let apart = |a: usize, b: usize| rows[a].iter().zip(&rows[b]).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
    assert!(apart(0, 1) > 0.0 && apart(0, 3) > apart(0, 1), "drawings of one character are more alike");
    assert!(both.few_shot(both.sizes(8, 2, 5, 0)).unwrap_err().to_string().contains("10 characters"));
    let refused = |pair: &(PathBuf, PathBuf), words: &[&str]| {
        let error = read(&[pair]).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&(one.0.clone(), two.1.clone()), &["two.csv", "24 lines", "18 images"]);
    std::fs::write(&one.0, vec![0u8; 1380]).unwrap();
    refused(&one, &["one.bits", "1380 bytes", "cut off"]);
    std::fs::write(&two.1, "index,letter\n").unwrap();
    refused(&two, &["two.csv", "`alphabet`"]);
    refused(&(here.path().join("none.bits"), two.1.clone()), &["none.bits"]);
}

#[test]
fn the_shared_characters_are_292_of_which_50_occur_twice() {
    let Some(folder) = shared("data/omniglot") else { return };
    let path = |name: &str| folder.join(name);
    let names =
        ["background_small1", "background_small2"].map(|n| [path(&format!("{n}.bits")), path(&format!("{n}.csv"))]);
    let sets: Vec<(&Path, &Path)> = names.iter().map(|[bits, csv]| (bits.as_path(), csv.as_path())).collect();
    let characters = Omniglot::read(&sets).unwrap();
    assert_eq!(characters.characters(), 136 + 156 - 50, "Greek and Latin are in both");
    assert_eq!(characters.sizes(50, 50, 5, 0).per_class, 20);
    let task = characters.few_shot(characters.sizes(50, 50, 5, 0)).unwrap();
    let x = task.exemplars();
    let mean_square: f32 = x.sqr().unwrap().mean_all().unwrap().to_scalar().unwrap();
    assert!((mean_square - 1.0).abs() < 0.1, "{mean_square}");
}

#[test]
fn without_clamps_and_knowledge_the_loss_is_that_of_guessing() {
    // An unembedding of zeros says nothing: uniform over labels, ln L.
    let config = AttentionOnlyConfig::paper(5);
    let data = FewShot::new(small(1)).unwrap();
    let variables = AttentionOnly::variables(&config, Some(32), 4).unwrap();
    let weights = variables.iter().map(|(name, v)| {
        let tensor = v.as_tensor();
        (name.clone(), if name.starts_with("unembed") { tensor.zeros_like().unwrap() } else { tensor.clone() })
    });
    let net = AttentionOnly::new(
        config,
        Some(data.exemplars().clone()),
        &weights.collect::<std::collections::BTreeMap<_, _>>(),
    )
    .unwrap();
    let episodes = data.batch(Draw::Train, 0, 32);
    let found = evaluate(&net, &Condition::Free.run(8, 0).unwrap(), &episodes).unwrap();
    assert!((found.loss - 5f64.ln()).abs() < 1e-5, "{}", found.loss);
}

#[test]
fn the_toy_model_shrinks_as_its_closed_form_says_and_else_waits_before_it_drops() {
    let both = toy(Clamped::BAndC, 20, 1.0, 0.1, 200, 0);
    for pair in both.distance.windows(2) {
        assert!((pair[1] / pair[0] - both.shrinks).abs() < 1e-9);
    }
    for pair in both.loss.windows(2).take(50) {
        assert!((pair[1] / pair[0] - both.shrinks.powi(2)).abs() < 1e-6);
    }
    let half = |clamped: Clamped| {
        let run = toy(clamped, 20, 1.0, 0.1, 4000, 0);
        let at = run.loss.iter().position(|l| *l < 0.5 * run.loss[0]).unwrap_or(run.loss.len());
        let tenth = run.loss.iter().position(|l| *l < 0.05 * run.loss[0]).unwrap_or(run.loss.len());
        (at, tenth)
    };
    let [none, c, both] = [Clamped::None, Clamped::C, Clamped::BAndC].map(half);
    assert!(both.0 < c.0 && c.0 < none.0, "{both:?} {c:?} {none:?}");
    assert!(none.1 - none.0 < none.0, "the drop is shorter than the wait before it: {none:?}");
}

#[test]
fn the_token_form_trains() {
    let course = TokenCourse { vocab: 24, half: (4, 8), batch: 8, seed: 0 };
    let (curve, score, loss) = tokens(&course, 10, &Options { look: 0, ..options(30) }).unwrap();
    assert_eq!(curve.points.len(), 3);
    assert!(curve.last() < curve.points[0].1, "{curve:?}");
    assert!((0.0..=1.0).contains(&score) && loss.is_finite());
}
