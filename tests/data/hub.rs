//! Data sets on the Hub, against a stub on this machine.

use std::path::Path;

use optrode::data::{Task, read_text_sets, read_texts_from};
use optrode::store::{DataSet, HubOptions};

use super::message;
use crate::store::hub_stub::{COMMIT, Stub};

fn options(stub: &Stub, cache: &Path) -> HubOptions {
    let mut options = HubOptions::from_vars(|_| None);
    options.endpoint = stub.endpoint.clone();
    options.cache = cache.to_path_buf();
    (options.progress, options.retries, options.chunk) = (false, 0, 8);
    options
}

fn stub() -> Stub {
    let stub = Stub::start();
    let line = |n: u8| format!("{{\"q\": \"{n} + 1 =\", \"a\": \"{}\"}}\n", n + 1).into_bytes();
    let (test, train) = ([line(1), line(2)].concat(), [line(5), line(6), line(7)].concat());
    stub.add(
        "datasets/org/sums",
        &[("en/test-0.jsonl", &test[..]), ("en/train-0.jsonl", &train), ("README.md", b"# no"), ("top.txt", b"a\nb")],
    );
    stub
}

#[test]
fn a_data_set_is_listed_and_its_files_fetched_once() {
    let (stub, cache) = (stub(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    let set = DataSet::open("hub:org/sums", &options).unwrap();
    assert_eq!(set.files(), ["README.md", "en/test-0.jsonl", "en/train-0.jsonl", "top.txt"]);
    let path = set.file("en/test-0.jsonl").unwrap();
    let root = cache.path().join("datasets--org--sums");
    assert_eq!(path, root.join("snapshots").join(COMMIT).join("en/test-0.jsonl"));
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\"q\": \"1 + 1 =\""));
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert!(std::fs::read_link(&path).unwrap().starts_with("../../../blobs"), "{:?}", std::fs::read_link(&path));
    stub.take_log();
    set.file("en/test-0.jsonl").unwrap();
    assert_eq!(stub.take_log(), [""; 0]);
    let text = message(set.file("en/tset-0.jsonl"));
    assert!(text.contains("no file `en/tset-0.jsonl`") && text.contains("en/test-0.jsonl"), "{text}");
}

#[test]
fn texts_and_tasks_come_from_the_hub_and_then_from_the_cache() {
    let (stub, cache) = (stub(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    let texts = read_texts_from("hub:org/sums/en/train-0.jsonl:q", &options).unwrap();
    assert_eq!(texts, ["5 + 1 =", "6 + 1 =", "7 + 1 ="]);
    let fixed = format!("hub:org/sums@{COMMIT}/top.txt");
    assert_eq!(read_texts_from(&fixed, &options).unwrap(), ["a\nb"]);
    let task = "name = 'sums'\noutput_type = 'generate_until'\ndoc_to_text = '{{ q }}'\ndoc_to_target = '{{ a }}'\n\
                fewshot = { count = 2 }\n[data]\ntest = ['{group}/test-*.jsonl']\nfewshot = ['{group}/train-*.jsonl']";
    let task = Task::from_toml(task).unwrap();
    let items = task.load("hub:org/sums", &options).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].group.as_deref(), Some("en"));
    assert!(items[1].prompt.ends_with("\n\n2 + 1 ="), "{}", items[1].prompt);

    let offline = HubOptions { offline: Some("HF_HUB_OFFLINE is set".to_string()), ..options.clone() };
    stub.take_log();
    assert_eq!(task.load("hub:org/sums", &offline).unwrap(), items);
    assert_eq!(stub.take_log(), [""; 0]);
    assert!(message(task.load("hub:org/other", &offline)).contains("is not in the cache"));
}

#[test]
fn what_the_hub_lacks_is_said() {
    let (stub, cache) = (stub(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    assert!(message(DataSet::open("hub:org/none", &options)).contains("does not exist"));
    assert!(message(DataSet::open("hub:org/sums/nothing.txt", &options)).contains("no file `nothing.txt`"));
    assert!(message(DataSet::open("hub:../sums", &options)).contains("neither an existing folder nor a Hub name"));
    assert!(message(read_texts_from("hub:org/sums", &options)).contains("expected one file of texts"));
    let sets = read_text_sets("hub:org/sums/top.txt", &options).unwrap();
    assert_eq!(sets[0].texts, ["a", "b"]);
}
