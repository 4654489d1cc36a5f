//! The whole experiment on the embedded organism.

use optrode::analysis::unlearn::{Attack, Group, Method, Options, Sizes, Unlearning, unlearn};
use optrode::data::organism::{Skill, embedded};
use optrode::models::{Model, OpenOptions};

fn organism() -> Model {
    Model::open(embedded::folder().unwrap().to_str().unwrap(), &OpenOptions::default()).unwrap()
}

fn skills(names: &[Skill]) -> Vec<Group> {
    let sizes = Sizes { fit: 100, validation: 8, test: 12 };
    names.iter().map(|s| Group::skill(*s, sizes, 1).unwrap()).collect()
}

fn run(groups: &[Group], options: &Options) -> Unlearning {
    unlearn(&organism(), groups, &[0], options, &mut |_, _| {}).unwrap().result
}

#[test]
fn key_space_detection_forgets_a_skill_and_keeps_the_others() {
    let groups = skills(&[Skill::Reversal, Skill::Maximum, Skill::Functions]);
    let options = Options { methods: vec![Method::Ksd], ..Options::default() };
    let result = run(&groups, &options);
    let chosen = &result.forgotten[0].chosen[0];
    assert_eq!((chosen.setting.method, chosen.setting.layer.is_some()), (Method::Ksd, true));
    assert!(chosen.harmless && chosen.kept[0].value <= 0.2, "{chosen:?}");
    assert!(chosen.worst(0) <= 0.1, "{chosen:?}");
    // At the end of the prompt, before anything was written.
    assert!(chosen.abstained[0].0 >= 0.8, "{chosen:?}");
    assert!(chosen.kept.iter().all(|k| k.interval.is_some()));
    let attacks = &result.forgotten[0].attacks;
    assert!(attacks.len() == 3 && attacks.iter().all(|a| a.after.len() == 1 && a.before.interval.is_some()));
    // An abstention answers nothing.
    assert!(attacks.iter().all(|a| a.after[0].value <= a.before.value), "{attacks:?}");
    // As text: a number that there is not is no number's equal.
    assert_eq!(format!("{:?}", run(&groups, &options)), format!("{result:?}"));
}

#[test]
fn adjusting_and_pruning_come_with_their_controls() {
    let groups = skills(&[Skill::Reversal, Skill::Maximum]);
    let options = Options { methods: vec![Method::Na, Method::Sp], percents: vec![3.0], runs: 2, ..Options::default() };
    let result = run(&groups, &options);
    let forgotten = &result.forgotten[0];
    let methods: Vec<Method> = forgotten.chosen.iter().map(|c| c.setting.method).collect();
    assert_eq!(methods, [Method::Na, Method::Sp, Method::NaRandom, Method::SpRandom]);
    let by = |method| forgotten.chosen.iter().find(|c| c.setting.method == method).unwrap();
    assert_eq!(by(Method::Na).neurons, by(Method::NaRandom).neurons);
    assert_eq!((by(Method::Na).runs.len(), by(Method::Sp).runs.len()), (2, 1));
    let drop = |method| 1.0 - by(method).kept[0].value;
    assert!(drop(Method::Sp) > drop(Method::SpRandom), "{forgotten:?}");
}

#[test]
fn what_is_measured_only_is_not_fitted_to() {
    let mut groups = skills(&[Skill::Reversal, Skill::Maximum, Skill::Copying]);
    let general = groups.pop().unwrap().general();
    groups.push(general);
    let options = Options { methods: vec![Method::Sp], percents: vec![1.0], ..Options::default() };
    let result = unlearn(&organism(), &groups, &[0], &options, &mut |_, _| {}).unwrap().result;
    assert_eq!(result.before.len(), 3);
    let refused = unlearn(&organism(), &groups, &[2], &options, &mut |_, _| {}).unwrap_err().to_string();
    assert!(refused.contains("something to forget and something else to keep"), "{refused}");
    let alone = unlearn(&organism(), &groups[..1], &[0], &options, &mut |_, _| {}).unwrap_err().to_string();
    assert!(alone.contains("1 group(s)"), "{alone}");
}

#[test]
fn an_alpha_that_abstains_on_everything_is_said() {
    let groups = skills(&[Skill::Reversal, Skill::Maximum]);
    let options = Options { methods: vec![Method::Ksd], alphas: vec![1e6], ..Options::default() };
    let result = run(&groups, &options);
    assert!(result.warnings.iter().any(|w| w.contains("leaves nothing of any group")), "{:?}", result.warnings);
    assert!(!result.forgotten[0].chosen[0].harmless);
}

#[test]
fn an_abstention_hides_what_a_probe_still_reads_and_the_layer_is_chosen() {
    let groups = skills(&[Skill::Addition, Skill::Subtraction, Skill::Functions]);
    let options = Options {
        methods: vec![Method::Ksd, Method::KsdLast, Method::Zero],
        percents: vec![10.0],
        ..Options::default()
    };
    let forgotten = run(&groups, &options).forgotten.remove(0);
    let by = |method| forgotten.chosen.iter().position(|c| c.setting.method == method).unwrap();
    let (ksd, last) = (&forgotten.chosen[by(Method::Ksd)], &forgotten.chosen[by(Method::KsdLast)]);
    assert_eq!(last.setting.layer, Some(5));
    assert!(ksd.harmless && ksd.kept[0].value <= 0.2 && ksd.kept[0].value <= last.kept[0].value, "{ksd:?} {last:?}");
    let probe = forgotten.probe.as_ref().unwrap();
    // The first digit of a sum is there before it is said, far above chance, and abstaining changes no stream.
    assert!(probe.before.right.value > probe.chance.value + 0.2, "{probe:?}");
    assert_eq!(probe.after[by(Method::Ksd)], probe.before);
    let words = forgotten.attacks.iter().map(|a| a.attack).collect::<Vec<_>>();
    assert_eq!(words, [Attack::Prefix, Attack::FewShot, Attack::Paraphrase, Attack::Sampling]);
    assert!(forgotten.attacks[2].before.value > 0.8, "{:?}", forgotten.attacks);
    assert!(forgotten.relearning.is_none());
}

#[test]
fn training_brings_back_what_pruning_took() {
    let groups = skills(&[Skill::Maximum, Skill::Reversal]);
    let options = Options { methods: vec![Method::Sp], percents: vec![10.0], relearn: 16, ..Options::default() };
    let relearned = run(&groups, &options).forgotten.remove(0).relearning.unwrap();
    assert_eq!(relearned.updates, [1, 4, 16]);
    assert!(relearned.untouched.iter().all(|e| e.value > 0.9), "{relearned:?}");
    let pruned: Vec<f64> = relearned.after[0].iter().map(|e| e.value).collect();
    assert!(pruned[0] < 0.9 && pruned[2] > pruned[0], "{relearned:?}");
}
