//! The shared lens prompts: every file of its kind is read whole.

use optrode::data::{LensPrompts, ReadAt, read_questions};

use crate::common::shared::shared;

#[test]
fn every_evaluation_is_read() {
    let Some(folder) = shared("data/lens-prompts/evaluations") else { return };
    let counts = [
        ("association", 102),
        ("multihop", 93),
        ("multilingual", 107),
        ("order-ops", 55),
        ("poetry", 98),
        ("typo", 96),
    ];
    for (name, count) in counts {
        let prompts = LensPrompts::read(&folder.join(format!("lens-eval-{name}.json"))).unwrap();
        assert_eq!((prompts.items.len(), prompts.name.as_str()), (count, format!("lens-eval-{name}").as_str()));
        assert_eq!(prompts.at == ReadAt::LineBreak, name == "poetry");
        assert!(prompts.at == ReadAt::End || prompts.items.iter().all(|i| i.prompt.contains('\n')));
    }
}

#[test]
fn questions_have_an_answer_for_every_argument() {
    let Some(file) = shared("data/lens-prompts/experiments/flexible-generalization.json") else { return };
    let questions = read_questions(&file).unwrap();
    assert_eq!(questions.len(), 16);
    let capital = questions.iter().find(|q| q.name == "countries/capital").unwrap();
    assert_eq!(capital.prompt("France"), "The capital of France is the city of");
    assert_eq!(capital.answers["Egypt"], "Cairo");
}
