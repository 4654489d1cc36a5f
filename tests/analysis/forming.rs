//! The few-shot task, what each condition clamps, and the toy model of three factors.

use std::collections::BTreeSet;

use optrode::analysis::forming::{
    Clamped, Condition, Options, Task, TokenCourse, accuracy_by_head, evaluate, form, side_by_side, strengths, tokens,
    toy,
};
use optrode::data::fewshot::{Draw, FewShot, FewShotConfig, repeated_rows};
use optrode::models::{AttentionOnly, AttentionOnlyConfig};

fn small(seed: u64) -> FewShotConfig {
    FewShotConfig { classes: 8, held_out: 4, labels: 5, per_class: 3, width: 32, seed }
}

fn options(updates: u64) -> Options {
    Options { rate: 1e-3, updates, batch: 16, window: 10, look: 2, seed: 1 }
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
    let tasks: Vec<(Task, Options)> = all.map(|condition| (Task { data, condition, live: 2 }, options(20))).collect();
    let formed = side_by_side(&tasks, &|_| {}).unwrap();
    for (formed, (task, options)) in formed.iter().zip(&tasks) {
        assert_eq!(formed.task, *task);
        assert_eq!(formed.curve.points.len(), 2);
        assert_eq!(formed.curve, form(task, options).unwrap().curve, "{:?} repeats", task.condition);
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
