//! The sheet of facts against the weights themselves.

use optrode::analysis::{Figures, facts::facts};
use optrode::models::Network;
use optrode::report::{Report, terminal};

use super::{goldens, name};
use crate::common::shared::{open, shared_model};

#[test]
fn parts_add_up_and_what_is_left_are_norms() {
    for folder in goldens() {
        let model = open(&folder);
        let found = facts(&model).unwrap();
        let count = |keep: &dyn Fn(&str) -> bool| -> u64 {
            let parameters = model.decoder.parameters().iter();
            parameters.filter(|(n, _)| keep(n)).map(|(_, p)| p.elem_count() as u64).sum()
        };
        let name = name(&folder);
        assert_eq!(found.parameters(), count(&|_| true), "{name}");
        let norms = ["norm", "ln_", "project_in", "project_out"];
        let rest = found.parts.iter().find(|p| p.name == "norms and the rest").map_or(0, |p| p.parameters);
        assert_eq!(rest, count(&|n| norms.iter().any(|part| n.contains(part))), "{name}");
        let mlp = found.parts.iter().find(|p| p.name == "MLP").unwrap().parameters;
        let matrices = [".mlp.", ".fc1.", ".fc2."];
        assert_eq!(mlp, count(&|n| matrices.iter().any(|part| n.contains(part))), "{name}");
    }
}

#[test]
fn known_facts_of_stories260k() {
    let Some(model) = shared_model("stories260K") else { return };
    let found = facts(&model).unwrap();
    assert_eq!((found.family.as_str(), found.parameters(), found.tied), ("llama", 260_032, true));
    assert_eq!((found.context, found.dtype.as_str()), (Some(512), "f32"));
    assert_eq!(found.identity, model.folder.identity().unwrap());
    assert!(found.identity.files.iter().any(|f| f.name == "tokenizer.json"));
    let text = terminal::render(&found.blocks(), &terminal::Style::plain(140));
    assert!(text.contains("rotary in 5 of 5 layers, over 8 of 8 coordinates"), "{text}");
    let figures = found.figures();
    assert_eq!(figures[0], ("parameters".to_string(), 260_032.0));
}
