//! Reference sets and stored records: padding never counts, columns become positions, whole tensors are narrowed.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use optrode::hook::{Edit, Pass, Record, Registry, Run};
use optrode::models::{Decoder, Input, Job, Side, Tokens, execute};
use serde_json::json;

use crate::common::load;
use crate::common::shared::golden;

const SITE: &str = "blocks.1.hook_resid_pre";

fn padded(rows: &[Vec<u32>], side: Side, more: usize) -> Input {
    let mut longer = rows.to_vec();
    longer.push(vec![3; rows.iter().map(Vec::len).max().unwrap() + more]);
    let mut tokens = Tokens::from_rows(&longer, side, 0).unwrap();
    tokens.rows -= 1;
    tokens.documents.pop();
    tokens.ids.truncate(tokens.rows * tokens.pos);
    tokens.real.truncate(tokens.rows * tokens.pos);
    Input::Tokens(tokens)
}

/// The site's value when every token takes the mean of the pass `reference`.
fn mean_of(net: &Decoder, reference: Input, per: &str, selector: &str) -> Tensor {
    let edit = Edit::new(selector.parse().unwrap(), "mean")
        .with("reference", json!({"pass": "reference", "site": SITE}))
        .with("per", per);
    let run = Run {
        passes: vec![
            Pass { name: "reference".into(), ..Pass::default() },
            Pass {
                name: "ablated".into(),
                edits: vec![edit],
                records: vec![Record::whole(SITE.parse().unwrap())],
                ..Pass::default()
            },
        ],
    };
    let text = Input::Tokens(Tokens::from_rows(&[vec![5, 6, 7]], Side::Right, 0).unwrap());
    let registry = Registry::elementary();
    let job = Job { run: &run, inputs: &[reference, text], stored: BTreeMap::new(), registry: &registry };
    execute(net, job).unwrap().pass("ablated").unwrap().records.get(SITE).unwrap().clone()
}

fn largest(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn a_mean_of_a_reference_pass_does_not_see_its_padding() {
    let net = load(&golden("llama"));
    let rows = [vec![1, 9, 4, 22, 8], vec![1, 30, 2]];
    for per in ["pooled", "position"] {
        let plain = mean_of(&net, padded(&rows, Side::Right, 0), per, SITE);
        for side in [Side::Left, Side::Right] {
            let more = mean_of(&net, padded(&rows, side, 4), per, SITE);
            assert!(largest(&plain, &more) < 1e-5, "{per} {side:?}: {}", largest(&plain, &more));
        }
        assert!(plain.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_mean_of_a_reference_pass_goes_by_the_bracket() {
    let net = load(&golden("llama"));
    let rows = [vec![1, 9, 4, 22, 8], vec![1, 30, 2]];
    let whole = mean_of(&net, padded(&rows, Side::Left, 2), "pooled", SITE);
    let one = mean_of(&net, padded(&rows, Side::Left, 2), "pooled", &format!("{SITE}[d_model=2,7]"));
    let at = |x: &Tensor, d: usize| x.narrow(2, d, 1).unwrap();
    assert!(largest(&at(&whole, 2), &at(&one, 2)) < 1e-6 && largest(&at(&whole, 7), &at(&one, 7)) < 1e-6);
    assert!(largest(&at(&whole, 3), &at(&one, 3)) > 1e-3);
}

#[test]
fn a_whole_stored_tensor_serves_a_part_of_its_site() {
    let net = load(&golden("llama"));
    let site = "blocks.0.attn.hook_z";
    let text = Input::Tokens(Tokens::from_rows(&[vec![5, 6, 7, 8]], Side::Right, 0).unwrap());
    let record = |edits: Vec<Edit>, stored: BTreeMap<String, Tensor>| {
        let records = vec![Record::whole(site.parse().unwrap())];
        let run = Run { passes: vec![Pass { edits, records, ..Pass::default() }] };
        let registry = Registry::elementary();
        let inputs = [text.clone()];
        let job = Job { run: &run, inputs: &inputs, stored, registry: &registry };
        execute(&net, job).unwrap().passes.remove(0).records.get(site).unwrap().clone()
    };
    let z = record(vec![], BTreeMap::new());
    let double = (&z * 2.0).unwrap();
    let edit = Edit::new(format!("{site}[head=1]").parse().unwrap(), "replace").with("value", json!({"tensor": "z"}));
    let edited = record(vec![edit], BTreeMap::from([("z".to_string(), double.clone())]));
    let head = |x: &Tensor, h: usize| x.narrow(2, h, 1).unwrap();
    assert_eq!(largest(&head(&edited, 1), &head(&double, 1)), 0.0);
    assert_eq!(largest(&head(&edited, 0), &head(&z, 0)), 0.0);
    assert_eq!(edited.device().is_cpu(), Device::Cpu.is_cpu());
}

#[test]
fn scopes_that_mean_nothing_at_a_site_are_refused() {
    let net = load(&golden("llama"));
    let text = Input::Tokens(Tokens::from_rows(&[vec![5, 6]], Side::Right, 0).unwrap());
    let registry = Registry::elementary();
    let refused =
        |pass: Pass| optrode::models::execute::observe(&net, &text, &pass, &registry).unwrap_err().to_string();
    let edit = |selector: &str| Pass { edits: vec![Edit::new(selector.parse().unwrap(), "zero")], ..Pass::default() };
    assert!(refused(edit(&format!("{SITE}@raw"))).contains("@raw"));
    assert!(refused(edit(&format!("{SITE}@t=0..5"))).contains("time"));
    let gradient = Pass { gradients: vec![SITE.parse().unwrap()], ..Pass::default() };
    assert!(refused(gradient).contains("metric"));
    let open = Pass { edits: vec![Edit::new(SITE.parse().unwrap(), "clamp")], ..Pass::default() };
    assert!(refused(open).contains("neither"));
}
