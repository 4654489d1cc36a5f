//! From texts to edits: counts of selected neurons, streaming statistics, the choice of a setting.

use optrode::analysis::unlearn::{
    Fit, Group, Keys, Method, Setting, Sizes, Split, Statistics, Text, Tried, Variant, choose, top_percent,
};
use optrode::models::{Decoder, Side};

use crate::common::shared::golden;
use crate::common::{batch, floats, load, pass, see, text};

fn llama() -> Decoder {
    load(&golden("llama"))
}

fn texts(seed: u64, n: usize) -> Vec<Text> {
    (0..n).map(|i| Text { ids: text(seed + i as u64, 4 + i % 5), query: 2 + i % 3 }).collect()
}

#[test]
fn a_percentage_selects_the_papers_number_of_neurons() {
    for (n, percent, count) in
        [(458_752usize, 3.0, 13_763), (458_752, 0.5, 2_294), (10, 30.0, 3), (10, 1e-9, 1), (10, 100.0, 10)]
    {
        // Different numbers in an order that is none.
        let scores: Vec<f64> = (0..n as u64).map(|i| (i * 7_919 % n as u64) as f64 - 5.0).collect();
        let chosen = top_percent(&scores, percent).unwrap();
        assert_eq!(chosen.len(), count, "{percent} % of {n}");
        let least = chosen.iter().map(|i| scores[*i]).fold(f64::INFINITY, f64::min);
        let above = scores.iter().filter(|s| **s > least).count();
        assert_eq!(above + 1, count);
    }
    for percent in [0.0, -1.0, 100.5, f64::NAN] {
        assert!(top_percent(&[1.0, 2.0], percent).is_err(), "{percent}");
    }
    assert!(top_percent(&[1.0, f64::NAN], 50.0).is_err());
}

#[test]
fn one_pass_gives_what_whole_records_give() {
    let net = llama();
    let texts = texts(1, 7);
    let special = [texts[0].ids[0]];
    let layers = net.facts().layers.len();
    let statistics = Statistics::of(&net, &texts, &special).unwrap();
    let rows: Vec<Vec<u32>> = texts.iter().map(|t| t.ids.clone()).collect();
    for layer in 0..layers {
        let names = [format!("blocks.{layer}.mlp.hook_pre"), format!("blocks.{layer}.mlp.hook_post")];
        let (mut pre, mut size) = (Vec::new(), Vec::new());
        for row in &rows {
            let seen = see(&net, &batch(std::slice::from_ref(row), Side::Right), &pass(&[&names[0], &names[1]], &[]));
            let width = net.facts().d_mlp;
            for (at, id) in row.iter().enumerate().filter(|(_, id)| !special.contains(id)) {
                let _ = id;
                pre.push(f64::from(floats(seen.at(&names[0]))[at * width + 1]));
                size.push(f64::from(floats(seen.at(&names[1]))[at * width + 1].abs()));
            }
        }
        let n = pre.len() as f64;
        let mean = pre.iter().sum::<f64>() / n;
        let std = (pre.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (got_mean, got_std) = statistics.pre(layer, 1).unwrap();
        // Padding changes the last digits of f32 activations.
        assert!((got_mean - mean).abs() < 1e-5 * std && (got_std - std).abs() < 1e-5 * std, "layer {layer}");
        let size = size.iter().sum::<f64>() / n;
        assert!((statistics.magnitude(layer, 1) - size).abs() < 1e-5 * size);
    }
    assert_eq!(statistics.texts, 7);
}

#[test]
fn parts_merge_to_the_whole_and_all_keys_hold_the_last_ones() {
    let net = llama();
    let texts = texts(3, 12);
    let whole = Statistics::of(&net, &texts, &[]).unwrap();
    let mut parts = Statistics::of(&net, &texts[..5], &[]).unwrap();
    parts.merge(&Statistics::of(&net, &texts[5..], &[]).unwrap()).unwrap();
    for neuron in 0..net.facts().d_mlp {
        let (a, b) = (whole.pre(1, neuron).unwrap(), parts.pre(1, neuron).unwrap());
        assert!((a.0 - b.0).abs() < 1e-5 * a.1 && (a.1 - b.1).abs() < 1e-5 * a.1);
    }
    for layer in 0..net.facts().layers.len() {
        let (last, all) = (whole.cube(layer, Keys::Last).unwrap(), whole.cube(layer, Keys::All).unwrap());
        assert_eq!((last.keys, all.keys), (12, whole.tokens));
        let merged = parts.cube(layer, Keys::Last).unwrap();
        assert!((last.kappa - merged.kappa).abs() < 1e-5 * last.kappa);
    }
    assert_ne!(whole.cube(0, Keys::Last).unwrap(), whole.cube(1, Keys::Last).unwrap());
    assert!(whole.cube(99, Keys::Last).unwrap_err().to_string().contains("no layer 99"));
    let empty = [Text { ids: vec![5], query: 0 }];
    assert!(Statistics::of(&net, &empty, &[]).is_err());
}

#[test]
fn controls_match_their_method_by_layer_and_count_and_share_no_neuron() {
    let net = llama();
    let (forget, retain) = (texts(1, 8), texts(50, 8));
    let forget = Statistics::of(&net, &forget, &[]).unwrap();
    let retain = Statistics::of(&net, &retain, &[]).unwrap();
    let fit = |variant| Fit { forget: &forget, retain: &retain, variant, keys: Keys::Last, seed: 3 };
    let (layers, width) = forget.size();
    for (method, control) in [(Method::Na, Method::NaRandom), (Method::Sp, Method::SpRandom)] {
        let own = fit(Variant::Paper).edits(Setting::new(method, 20.0)).unwrap().neurons;
        let random = fit(Variant::Paper).edits(Setting::new(control, 20.0)).unwrap().neurons;
        assert_eq!(own.len(), layers * width - (layers * width * 4) / 5);
        for layer in 0..layers {
            let of = |list: &[(usize, usize)]| list.iter().filter(|n| n.0 == layer).copied().collect::<Vec<_>>();
            assert_eq!(of(&own).len(), of(&random).len());
            assert!(of(&own).iter().all(|n| !of(&random).contains(n)) || of(&own).len() * 2 > width);
        }
    }
    // The released code's sigma is the forgotten mean.
    let released = fit(Variant::Released).edits(Setting::new(Method::Na, 20.0)).unwrap();
    for (name, tensor) in released.tensors.iter().filter(|(name, _)| name.ends_with("forget_std")) {
        let mean = &released.tensors[&name.replace("forget_std", "forget_mean")];
        assert_eq!(floats(tensor), floats(mean));
    }
}

#[test]
fn a_direction_that_is_none_and_a_knob_out_of_range_are_refused() {
    let net = llama();
    let statistics = Statistics::of(&net, &texts(1, 4), &[]).unwrap();
    let fit = Fit { forget: &statistics, retain: &statistics, variant: Variant::Paper, keys: Keys::All, seed: 0 };
    let words = |method, knob| fit.edits(Setting::new(method, knob)).unwrap_err().to_string();
    assert!(words(Method::Directional, 1.0).contains("same mean stream"));
    assert!(words(Method::Directional, 99.0).contains("no layer 99"));
    assert!(words(Method::Na, 0.0).contains("0 % of the neurons"));
}

fn tried(knob: f64, kept: [f64; 3]) -> Tried {
    Tried { setting: Setting::new(Method::Ksd, knob), kept: kept.to_vec() }
}

fn tried_in(layer: usize, knob: f64, kept: [f64; 3]) -> Tried {
    Tried { setting: Setting { layer: Some(layer), ..Setting::new(Method::Ksd, knob) }, kept: kept.to_vec() }
}

#[test]
fn the_choice_is_the_harmless_setting_that_forgets_most() {
    let list = [tried(1.0, [0.5, 1.0, 1.0]), tried(2.0, [0.1, 0.95, 1.0]), tried(3.0, [0.0, 0.5, 1.0])];
    assert_eq!(choose(&list, 0, 0.1).unwrap().setting.knob, 2.0);
    assert_eq!(choose(&list, 0, 0.01).unwrap().setting.knob, 1.0);
    // None is harmless: the largest difference between both drops.
    assert_eq!(choose(&list[1..], 0, 0.0).unwrap().setting.knob, 2.0);
    let equal: Vec<Tried> = (0..5).map(|i| tried(f64::from(i), [0.0, 1.0, 1.0])).collect();
    assert_eq!(choose(&equal, 0, 0.1).unwrap().setting.knob, 2.0);
    assert!(choose(&[], 0, 0.1).is_none());
    // A group that the model cannot do takes no part.
    assert_eq!(choose(&[tried(1.0, [0.0, f64::NAN, 1.0])], 0, 0.1).unwrap().worst(0), 0.0);
}

#[test]
fn of_layers_that_do_as_well_the_one_with_most_room_is_chosen() {
    let mut list: Vec<Tried> = (8..12).map(|i| tried_in(1, f64::from(i), [0.0, 1.0, 1.0])).collect();
    list.extend((1..4).map(|i| tried_in(2, f64::from(i), [0.0, 1.0, 1.0])));
    list.extend((1..9).map(|i| tried_in(5, f64::from(i), [0.1, 1.0, 1.0])));
    let chosen = choose(&list, 0, 0.1).unwrap().setting;
    assert_eq!((chosen.layer, chosen.knob), (Some(2), 2.0));
}

#[test]
fn the_parts_of_a_group_share_no_text() {
    let lines: Vec<String> = (0..40).map(|i| format!("text {i}")).collect();
    let sizes = Sizes { fit: 100, validation: 100, test: 100 };
    let group = Group::texts("g", [lines.clone(), lines.clone()].concat(), sizes, 1).unwrap();
    assert_eq!((group.len(Split::Validation), group.len(Split::Test)), (10, 10));
    let other = Group::texts("h", lines[..20].to_vec(), sizes, 1).unwrap();
    assert!(!group.overlap(&other).is_empty());
    let words = Group::texts("g", vec!["one".into(), "one".into()], sizes, 1).unwrap_err().to_string();
    assert!(words.contains("`g` has 1 different items"), "{words}");
}
