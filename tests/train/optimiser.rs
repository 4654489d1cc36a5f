//! AdamW and descent with momentum against PyTorch's, and the schedules.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use optrode::train::{AdamW, AdamWOptions, Group, Schedule, Sgd, SgdOptions};

use crate::common::floats;

/// PyTorch 2: `AdamW([{w, weight_decay 0.1}, {b, weight_decay 0}], lr=0.01, betas=(0.9, 0.98), eps=1e-8)`, five steps.
#[test]
fn adamw_is_pytorchs() {
    let var = |values: &[f32], shape: &[usize]| {
        Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
    };
    let parameters = BTreeMap::from([
        ("b".to_string(), var(&[0.1, -0.2], &[2])),
        ("w".to_string(), var(&[0.5, -1.0, 2.0, 0.25], &[2, 2])),
    ]);
    let options = AdamWOptions { beta2: 0.98, ..AdamWOptions::default() };
    let mut adamw = AdamW::new(&parameters, &Group::usual(&parameters, 0.1), options).unwrap();
    for t in 0..5 {
        let t = t as f32;
        let gradients = BTreeMap::from([
            ("b".to_string(), Tensor::new(&[1.0, -0.5 * t], &Device::Cpu).unwrap()),
            ("w".to_string(), Tensor::new(&[[0.1 * (t + 1.0), -0.2], [0.3, 0.05 * t]], &Device::Cpu).unwrap()),
        ]);
        adamw.update(&gradients, 0.01, 1.0).unwrap();
    }
    let close = |name: &str, expected: &[f32]| {
        for (got, expected) in floats(parameters[name].as_tensor()).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{name}: {got} instead of {expected}");
        }
    };
    close("w", &[0.449_349_73, -0.945_110, 1.940_120_1, 0.215_642_97]);
    close("b", &[0.05, -0.166_843_19]);
}

#[test]
fn a_group_that_names_no_parameter_or_one_twice_is_refused() {
    let parameters = BTreeMap::from([("w".to_string(), Var::from_slice(&[1f32], 1, &Device::Cpu).unwrap())]);
    let group = |members: &[&str]| Group {
        members: members.iter().map(|m| (*m).to_string()).collect(),
        weight_decay: 0.0,
        rate: 1.0,
    };
    let refusal = |groups: &[Group]| AdamW::new(&parameters, groups, AdamWOptions::default()).unwrap_err().to_string();
    assert!(refusal(&[group(&["v"])]).contains("`v`"));
    assert!(refusal(&[group(&["w"]), group(&["w"])]).contains("two groups"));
}

#[test]
fn schedules_rise_and_fall_as_they_say() {
    let constant = Schedule::Constant { rate: 2.0, warm_up: 4 };
    let rates: Vec<f64> = (0..6).map(|step| constant.rate(step)).collect();
    assert_eq!(rates, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
    let cosine = Schedule::Cosine { rate: 1.0, warm_up: 10, updates: 110, floor: 0.2 };
    assert_eq!(cosine.rate(10), 1.0);
    assert!((cosine.rate(60) - 0.6).abs() < 1e-12, "half way between the rate and its floor");
    assert!((cosine.rate(110) - 0.2).abs() < 1e-12);
    assert_eq!(cosine.rate(110), cosine.rate(1000));
    assert!((10..110).all(|step| cosine.rate(step + 1) < cosine.rate(step)));
    let again = Schedule::Restart { first: Box::new(constant.clone()), at: 30, then: Box::new(cosine.clone()) };
    assert!((0..30).all(|step| again.rate(step) == constant.rate(step)));
    assert!(
        (0..200).all(|step| again.rate(30 + step) == cosine.rate(step)),
        "the second one counts from its beginning"
    );
}

/// The algorithm that PyTorch documents for `SGD([w], lr=0.1, momentum=0.9)`, dampening 0, worked in f64: four steps with
/// gradients that are halved as clipping would.
#[test]
fn descent_with_momentum_is_pytorchs() {
    for (nesterov, expected) in
        [(false, [0.407_205, -0.909_51, 1.983_14]), (true, [0.366_484_5, -0.878_559, 1.999_826])]
    {
        let w = Var::from_slice(&[0.5f32, -1.0, 2.0], 3, &Device::Cpu).unwrap();
        let parameters = BTreeMap::from([("w".to_string(), w.clone())]);
        let mut sgd = Sgd::new(&parameters, SgdOptions { momentum: 0.9, nesterov }).unwrap();
        let step = |sgd: &mut Sgd, t: f32| {
            let gradient = Tensor::new(&[0.1 * (t + 1.0), -0.2, 0.3 - 0.25 * t], &Device::Cpu).unwrap();
            sgd.update(&BTreeMap::from([("w".to_string(), gradient)]), 0.1, 0.5).unwrap();
        };
        step(&mut sgd, 0.0);
        step(&mut sgd, 1.0);
        // From what it remembers another one goes on.
        let moments: BTreeMap<String, Tensor> = sgd.moments().unwrap().into_iter().collect();
        let mut other = Sgd::new(&parameters, SgdOptions { momentum: 0.9, nesterov }).unwrap();
        other.restore(sgd.updates(), |name, _| Ok(moments[name].clone())).unwrap();
        step(&mut other, 2.0);
        step(&mut other, 3.0);
        assert_eq!(other.updates(), 4);
        for (got, expected) in floats(w.as_tensor()).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{nesterov}: {got} instead of {expected}");
        }
    }
}
