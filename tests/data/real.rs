//! The built-in tasks on their data, with small trained models.

use optrode::analysis::tasks::{Options, Subject, TaskResult, evaluate, perplexities};
use optrode::data::{Metric, Target, builtin, read_text_sets};
use optrode::store::HubOptions;

use super::run;
use crate::common::shared::{shared, shared_model};

/// A built-in task on `limit` documents a group of its data set.
fn score(name: &str, limit: usize, model: &str) -> Option<TaskResult> {
    let data = shared(&format!("data/{name}"))?;
    let model = shared_model(model)?;
    let mut task = builtin(name).unwrap();
    task.limit = Some(limit);
    task.max_gen_toks = task.max_gen_toks.min(8);
    let items = task.load(data.to_str().unwrap(), &HubOptions::from_vars(|_| None)).unwrap();
    let result = run(&Subject::new(&model).unwrap(), &task, &items);
    assert_eq!(result.samples.len(), items.len());
    for sample in &result.samples {
        assert!(sample.scores.iter().all(|s| s.is_finite()), "{sample:?}");
    }
    eprintln!("{name}: {:?}", result.all);
    Some(result)
}

#[test]
fn gsm8k_asks_with_eight_worked_examples() {
    let Some(result) = score("gsm8k", 3, "polyglot-6m") else { return };
    let prompt = &result.samples[0].prompt;
    assert_eq!(prompt.matches("Question: ").count(), 9);
    assert_eq!(prompt.matches("The answer is ").count(), 8);
    assert!(prompt.ends_with("Answer:") && !prompt.contains("<<"), "{prompt}");
    let janet = &result.samples[0].target;
    assert!(janet.ends_with("at the farmer’s market. The answer is 18"), "{janet}");
    let grades = optrode::analysis::tasks::grade(&result.task, "so she has it. The answer is 18.\n", janet).unwrap();
    assert!(grades.iter().all(|g| g.scores[0].1 == 1.0), "{grades:?}");
    assert_eq!(result.all.scores.len(), 2, "two filters");
}

#[test]
fn mmlu_has_sixteen_subjects_and_four_choices() {
    let Some(result) = score("mmlu", 1, "polyglot-6m") else { return };
    assert_eq!((result.groups.len(), result.all.items), (16, 16));
    assert_eq!(result.all.scores[0].control.as_ref().unwrap().value, 0.25);
    let prompt = &result.samples[0].prompt;
    assert!(
        prompt.starts_with("The following are multiple choice questions (with answers) about abstract algebra.\n\n")
    );
    assert_eq!(prompt.matches("\nAnswer:").count(), 6, "{prompt}");
    assert!(prompt.ends_with("\nAnswer:"));
    assert!(["A", "B", "C", "D"].contains(&result.samples[0].target.as_str()));
}

#[test]
fn questions_in_many_languages_are_asked_in_their_own_words() {
    let Some(result) = score("mgsm", 1, "polyglot-6m") else { return };
    assert_eq!(result.groups.len(), 11);
    let zh = result.samples.iter().find(|s| s.group.as_deref() == Some("zh")).unwrap();
    assert!(zh.prompt.starts_with("问题: ") && zh.prompt.ends_with("\n答案:"), "{}", zh.prompt);
    let Some(result) = score("xquad", 1, "polyglot-6m") else { return };
    assert_eq!(result.groups.len(), 12);
    let de = result.samples.iter().find(|s| s.group.as_deref() == Some("de")).unwrap();
    assert!(de.prompt.contains("Panthers") && de.target == "308", "the paragraph stands in the place of its number");
}

#[test]
fn code_is_told_from_noise_by_a_model_that_has_read_some() {
    for name in ["mbpp", "humaneval"] {
        let Some(result) = score(name, 12, "polyglot-6m") else { return };
        let nats = result.score(Metric::TokenNats, None).unwrap();
        assert!(nats.value < 0.6 * nats.control.as_ref().unwrap().value, "{nats:?}");
        let bits = result.score(Metric::BitsPerByte, None).unwrap();
        let (low, high) = bits.interval.unwrap();
        assert!(low < bits.value && bits.value < high);
        assert!(result.samples.iter().all(|s| s.target.starts_with('\n')));
    }
}

#[test]
fn the_stories_model_finds_its_stories_likelier_than_shuffled_ones() {
    let (Some(file), Some(model)) = (shared("data/stories-sampled"), shared_model("stories260K")) else { return };
    let sets = read_text_sets(file.to_str().unwrap(), &HubOptions::from_vars(|_| None)).unwrap();
    let texts: Vec<String> = sets[0].texts.iter().take(8).cloned().collect();
    let shuffled = texts.iter().map(|t| {
        let mut words: Vec<&str> = t.split(' ').collect();
        words.sort_unstable();
        words.join(" ")
    });
    let named = |name: &str, texts: Vec<String>| optrode::data::TextSet { name: name.into(), texts };
    let sets = [named("stories", texts.clone()), named("sorted", shuffled.collect())];
    let found = perplexities(&Subject::new(&model).unwrap(), &sets, &Options::default(), &mut |_, _| {}).unwrap();
    let (stories, sorted) = (&found.sets[0].1, &found.sets[1].1);
    eprintln!("{} {:?} {}", stories.nats_per_token, stories.interval, sorted.nats_per_token);
    assert_eq!(stories.start, "<s>");
    assert!(stories.interval.unwrap().1 < sorted.interval.unwrap().0);
    assert!(stories.nats_per_token < 1.6 && stories.accuracy > 0.5, "{stories:?}");
}

#[test]
fn a_task_in_a_file_runs_like_a_built_in_one() {
    let (Some(data), Some(model)) = (shared("data/tatoeba"), shared_model("stories260K")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = "name = 'translate'\noutput_type = 'multiple_choice'\ndoc_to_text = '{{ from }} ='\n\
                doc_to_choice = ['{{ english }}', '{{ from }}']\ndoc_to_target = '0'\nlimit = 2\n\
                [data]\ntest = ['{group}-eng.tsv']\ncolumns = ['from', 'english']";
    let path = super::put(folder.path(), "t.toml", text.as_bytes());
    let task = optrode::data::Task::open(path).unwrap();
    let items = task.load(data.to_str().unwrap(), &HubOptions::from_vars(|_| None)).unwrap();
    assert!(items.iter().all(|i| matches!(&i.target, Target::Choice { right: 0, .. })));
    let subject = Subject::new(&model).unwrap();
    let latin: Vec<_> = items.into_iter().filter(|i| i.group.as_deref() == Some("deu")).collect();
    let result = evaluate(&subject, &task, &latin, &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(result.all.items, 2);
}
