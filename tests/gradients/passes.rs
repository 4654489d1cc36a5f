//! Gradients through jobs of several passes.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Edit, Pass, Registry, Run, Values};
use optrode::models::{Input, Job, Side, Tokens, gradients, job_gradients};
use serde_json::json;

use crate::common::load;
use crate::common::shared::golden;

const SITE: &str = "blocks.0.mlp.hook_post";
const PATCHED: &str = "blocks.1.hook_resid_pre";

fn metric(logits: &Tensor) -> optrode::Result<Tensor> {
    Ok(logits.sqr()?.mean_all()?)
}

fn largest(x: &Tensor) -> f32 {
    x.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn a_gradient_reaches_an_earlier_pass_unless_the_value_is_detached() {
    for name in ["llama", "gpt2", "gemma2"] {
        let net = load(&golden(name));
        let text = |ids: Vec<u32>| Input::Tokens(Tokens::from_rows(&[ids], Side::Right, 0).unwrap());
        let (clean, other) = (text(vec![5, 9, 2, 7]), text(vec![8, 1, 3, 4]));
        let registry = Registry::elementary();
        let here = Pass { name: "clean".into(), gradients: vec![SITE.parse().unwrap()], ..Pass::default() };
        let alone = gradients(&net, &clean, &here, &registry, Values::default(), metric).unwrap();
        for detach in [false, true] {
            // The whole stream of the clean text put into the other: everything after it is the clean text's.
            let value = json!({"pass": "clean", "site": PATCHED, "detach": detach});
            let edit = Edit::new(PATCHED.parse().unwrap(), "replace").with("value", value);
            let patched = Pass { name: "patched".into(), edits: vec![edit], ..Pass::default() };
            let run = Run { passes: vec![here.clone(), patched] };
            let inputs = [clean.clone(), other.clone()];
            let job = Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
            let through = job_gradients(&net, job, |outputs| metric(&outputs[1])).unwrap();
            let got = &through.passes[0].1[SITE];
            match detach {
                false => {
                    let error = largest(&(got - &alone.sites[SITE]).unwrap());
                    assert!(error <= 1e-5 * largest(&alone.sites[SITE]), "{name}: {error}");
                    assert!(largest(got) > 1e-4, "{name}");
                }
                true => assert_eq!(largest(got), 0.0, "{name}"),
            }
        }
    }
}
