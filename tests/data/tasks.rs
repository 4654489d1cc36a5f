//! Tasks as data: keys, templates, choices, worked examples.

use optrode::data::{Doc, Item, Metric, Split, Target, Task, builtin, builtin_names};
use optrode::store::HubOptions;
use serde_json::{Value, json};

use super::{file, message, put};

const SUMS: &str = "name = 'sums'\noutput_type = 'generate_until'\ndoc_to_text = '{{ q }}'\ndoc_to_target = '{{ a }}'";

fn task(extra: &str) -> Task {
    Task::from_toml(&format!("{SUMS}\n{extra}")).unwrap()
}

fn docs(values: &[Value]) -> Vec<Doc> {
    values.iter().map(|v| v.as_object().unwrap().clone()).collect()
}

fn split(values: &[Value]) -> Split {
    Split { group: None, docs: docs(values) }
}

fn numbers(n: usize) -> Split {
    split(&(0..n).map(|i| json!({"q": format!("q{i}"), "a": format!("a{i}")})).collect::<Vec<_>>())
}

fn hub() -> HubOptions {
    HubOptions::from_vars(|_| None)
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_key() {
    let (folder, path) = file("t.toml", format!("{SUMS}\nmax_gen_tok = 3").as_bytes());
    let text = message(Task::open(&path));
    assert!(text.contains("line 5") && text.contains("did you mean `max_gen_toks`?"), "{text}");
    let json = put(folder.path(), "t.json", br#"{"name": "x", "output_type": "generate_untill", "doc_to_target": ""}"#);
    let text = message(Task::open(&json));
    assert!(text.contains("line 1") && text.contains("did you mean `generate_until`?"), "{text}");
    let text = message(Task::open(put(folder.path(), "u.toml", b"name = 'x'\n[data]\ntests = []")));
    assert!(text.contains("line 3") && text.contains("did you mean `test`?"), "{text}");
    assert!(message(Task::open(put(folder.path(), "v.toml", b"name = "))).contains("line 1"));
    assert!(message(Task::open(put(folder.path(), "t.yaml", b""))).contains("neither in .toml nor in .json"));
    assert!(message(Task::open(folder.path().join("none.toml"))).contains("no such file"));
}

#[test]
fn a_task_that_cannot_be_run_is_refused_with_the_reason() {
    let wrong = [
        ("doc_to_choice = ['a', 'b']", "without a multiple choice"),
        ("metric_list = ['acc']", "`acc` does not belong"),
        ("max_gen_toks = 0", "`max_gen_toks` is 0"),
        ("until = ['']", "would end every answer"),
        ("filters = [{ name = 'a', regex = '(' }]", "regular expression `(`"),
        ("filters = [{ name = 'a', regex = 'x' }, { name = 'a', regex = 'y' }]", "two filters are named `a`"),
        ("compare = { target_regex = '(?=x)' }", "without look-around"),
    ];
    for (extra, expected) in wrong {
        let text = message(Task::from_toml(&format!("{SUMS}\n{extra}")));
        assert!(text.contains(expected), "{extra}: {text}");
    }
    assert!(message(Task::from_toml(&SUMS.replace("'sums'", "'no word!'"))).contains("name is no word"));
}

#[test]
fn a_field_that_a_document_lacks_is_named_beside_those_it_has() {
    let one = [split(&[json!({"question": "1", "a": "2"})])];
    let text = message(task("").items(&one, None));
    assert!(text.contains("`doc_to_text` uses `q`") && text.contains("the document has: question, a"), "{text}");
    let loops = task("description = '{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}'");
    assert!(message(loops.items(&[numbers(1)], None)).contains("steps"));
    let broken = Task::from_toml(&format!("{SUMS}\ndescription = '{{% if %}}'")).unwrap();
    assert!(message(broken.items(&[numbers(1)], None)).contains("`description` cannot be read"));
    let part = task("description = '{{ q.part.deep }}'");
    assert!(message(part.items(&[numbers(1)], None)).contains("part of a field that is not there"));
}

#[test]
fn a_choice_is_named_by_its_text_or_its_number() {
    let text = "name = 'c'\noutput_type = 'multiple_choice'\ndoc_to_text = '{{ q }}'\ndoc_to_target = '{{ a }}'";
    let letters = Task::from_toml(&format!("{text}\ndoc_to_choice = ['A', 'B', '{{{{ third }}}}']")).unwrap();
    let doc = |a: Value| [split(&[json!({"q": "?", "a": a, "third": "C!", "list": ["2", "1", "0"]})])];
    let right = |task: &Task, a: Value| match &task.items(&doc(a), None).unwrap()[0].target {
        Target::Choice { choices, right } => (choices[*right].clone(), *right),
        other => panic!("{other:?}"),
    };
    assert_eq!(right(&letters, json!("B")), ("B".to_string(), 1));
    assert_eq!(right(&letters, json!("C!")), ("C!".to_string(), 2));
    assert_eq!(right(&letters, json!(0)), ("A".to_string(), 0));
    let listed = Task::from_toml(&format!("{text}\ndoc_to_choice = 'list'")).unwrap();
    assert_eq!(right(&listed, json!("2")), ("2".to_string(), 0), "the text goes before the number");
    assert!(message(letters.items(&doc(json!("E")), None)).contains("`E` is none of the choices"));
    assert!(message(letters.items(&doc(json!(3)), None)).contains("`3` is none of the choices"));
    let none = Task::from_toml(&format!("{text}\ndoc_to_choice = 'nolist'")).unwrap();
    assert!(message(none.items(&doc(json!(0)), None)).contains("no list in the field `nolist`"));
}

fn shots(items: &[Item]) -> Vec<Vec<String>> {
    let examples = |item: &Item| {
        let parts: Vec<String> = item.prompt.split("\n\n").map(str::to_string).collect();
        parts[..parts.len() - 1].to_vec()
    };
    items.iter().map(examples).collect()
}

#[test]
fn worked_examples_are_a_function_of_the_seed_and_the_item() {
    let drawn = |seed: u64, limit: &str| {
        let task = task(&format!("fewshot = {{ count = 3, seed = {seed} }}\n{limit}"));
        shots(&task.items(&[numbers(12)], Some(&[numbers(40)])).unwrap())
    };
    let first = drawn(1, "");
    assert_eq!(first, drawn(1, ""));
    assert_eq!(first[..2], drawn(1, "limit = 2")[..], "items that are scored change no example");
    assert_ne!(first, drawn(2, ""));
    assert_ne!(first[0], first[1], "each item has its own");
    for (i, examples) in first.iter().enumerate() {
        assert_eq!(examples.len(), 3);
        for (at, example) in examples.iter().enumerate() {
            let (q, a) = example.split_once(' ').unwrap();
            assert_eq!(q[1..], a[1..]);
            assert_ne!(q[1..], i.to_string(), "a copy of the item is in the pool, but never an example");
            assert!(!examples[..at].contains(example));
        }
    }
    let task = task("fewshot = { count = 2, sampler = 'first_n' }");
    let fixed = shots(&task.items(&[numbers(3)], None).unwrap());
    let pair = |a: usize, b: usize| vec![format!("q{a} a{a}"), format!("q{b} a{b}")];
    assert_eq!(fixed, [pair(1, 2), pair(0, 2), pair(0, 1)]);
}

#[test]
fn an_item_is_never_its_own_example_even_as_a_copy() {
    let task = task("fewshot = { count = 3 }");
    let same = split(&[json!({"q": "x", "a": "1"}), json!({"q": "x", "a": "1"}), json!({"q": "y", "a": "2"})]);
    let text = message(task.items(std::slice::from_ref(&same), None));
    assert!(text.contains("wants 3 worked examples") && text.contains("there are 1"), "{text}");
    let all = task.items(&[numbers(4)], None).unwrap();
    for (i, examples) in shots(&all).iter().enumerate() {
        assert!(examples.iter().all(|e| *e != format!("q{i} a{i}")), "{examples:?}");
    }
}

#[test]
fn groups_draw_their_examples_from_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for group in ["de", "en", "xx"] {
        let rows: Vec<String> = (0..5).map(|i| format!("{group}{i}\t{i}")).collect();
        put(folder.path(), &format!("set_{group}.tsv"), rows.join("\n").as_bytes());
    }
    put(folder.path(), "notes.txt", b"no");
    let task = task(
        "limit = 3\nfewshot = { count = 2 }\n[data]\ntest = ['missing.{group}', 'set_{group}.tsv']\n\
         columns = ['q', 'a']\nskip_groups = ['xx']",
    );
    let items = task.load(folder.path().to_str().unwrap(), &hub()).unwrap();
    let names: Vec<(&str, usize)> = items.iter().map(|i| (i.group.as_deref().unwrap(), i.id)).collect();
    assert_eq!(names, [("de", 0), ("de", 1), ("de", 2), ("en", 0), ("en", 1), ("en", 2)]);
    for item in &items {
        let group = item.group.as_deref().unwrap();
        assert!(shots(std::slice::from_ref(item))[0].iter().all(|e| e.starts_with(group)), "{}", item.prompt);
    }
    let later = shots(&items).concat().iter().any(|e| e.contains("3 3") || e.contains("4 4"));
    assert!(later, "documents beyond the limit serve as examples");
    // A file by itself is the documents to score.
    let one = task.load(folder.path().join("set_en.tsv").to_str().unwrap(), &hub()).unwrap();
    assert_eq!(one, items[3..]);
    let text = message(task.load(tempfile::tempdir().unwrap().path().to_str().unwrap(), &hub()));
    assert!(text.contains("has no files"), "{text}");
    let other = tempfile::tempdir().unwrap();
    put(other.path(), "set-de.tsv", b"a\tb");
    let text = message(task.load(other.path().to_str().unwrap(), &hub()));
    assert!(text.contains("finds no file") && text.contains("nearest: set-de.tsv"), "{text}");
    put(other.path(), "set_de.tsv", b"\n");
    assert!(message(task.load(other.path().to_str().unwrap(), &hub())).contains("holds no document"));
}

#[test]
fn line_numbers_become_lines_of_the_file_beside() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "qa.de.jsonl", br#"{"q": "?", "a": "x", "context": 1}"#);
    put(folder.path(), "ctx.de.txt", b"null\neins\n");
    let join = "description = '{{ context }} '\n[data]\ntest = ['qa.{group}.jsonl']\n\
                lines = { field = 'context', file = 'ctx.{group}.txt' }";
    let task = task(join);
    let at = folder.path().to_str().unwrap();
    assert_eq!(task.load(at, &hub()).unwrap()[0].prompt, "eins ?");
    assert_eq!(task.load(&format!("{at}/qa.de.jsonl"), &hub()).unwrap()[0].prompt, "eins ?");
    put(folder.path(), "qa.de.jsonl", br#"{"q": "?", "a": "x", "context": 2}"#);
    assert!(message(task.load(at, &hub())).contains("asks for line 2 (from 0), but there are 2"));
    let mut outside = task.clone();
    outside.data.lines.as_mut().unwrap().file = "../ctx.{group}.txt".to_string();
    put(folder.path(), "in/qa.de.jsonl", br#"{"q": "?", "a": "x", "context": 0}"#);
    let inside = format!("{at}/in");
    assert!(message(outside.load(&inside, &hub())).contains("no file `../ctx.de.txt`"));
}

#[test]
fn the_built_in_tasks_are_whole_and_come_back_from_their_json() {
    assert_eq!(builtin_names().count(), 7);
    for name in builtin_names() {
        let task = builtin(name).unwrap();
        assert_eq!(task.name, name);
        assert!(!task.about.is_empty() && !task.data.test.is_empty());
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
    }
    for name in ["mbpp", "humaneval"] {
        assert!(builtin(name).unwrap().metrics().contains(&Metric::BitsPerByte), "code is measured, never run");
    }
    let text = message(builtin("gsm8"));
    assert!(text.contains("did you mean `gsm8k`?") && text.contains("mmlu"), "{text}");
}
