//! Convolutional networks against their references, and through the taps.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use optrode::data::{ImageSet, scenes::Scenes};
use optrode::hook::{Axis, Pass, Plan, Record, Registry, Tap, Values};
use optrode::models::{Convolutional, ConvolutionalConfig, Images, Input, Network, State, execute::observe, gradients};
use optrode::nn::{Conv2d, Form};
use optrode::store::ModelFolder;
use serde_json::{Value, json};

use crate::common::shared::shared;
use crate::common::{bits, floats};

fn open(name: &str) -> Option<(Convolutional, Value)> {
    let folder = shared(&format!("models/{name}"))?;
    let reference = serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap();
    Some((Convolutional::open(&ModelFolder::open(&folder).unwrap()).unwrap(), reference))
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "value {i}: {a}, expected {b}");
    }
}

fn pass(value: Value) -> Pass {
    serde_json::from_value(value).unwrap()
}

/// A small network with its weights drawn, and a few scenes.
fn small() -> (Convolutional, Input) {
    let config = ConvolutionalConfig::plain([3, 32, 32], &[4, 6, 8], Scenes::classes());
    let variables = Convolutional::variables(&config, 3).unwrap();
    let weights: BTreeMap<String, Tensor> =
        variables.into_iter().map(|(name, var)| (name, var.as_tensor().detach())).collect();
    let net = Convolutional::new(config, &weights).unwrap();
    let scenes = Scenes::draw(5, 1);
    (net, Input::Images(scenes.images.batch(&[0, 1, 2, 3, 4]).unwrap()))
}

#[test]
fn residual_networks_give_the_logits_and_means_of_their_origin() {
    for name in ["resnet20-cifar10", "resnet56-cifar10"] {
        let Some((net, reference)) = open(name) else { return };
        let value = |y: usize, x: usize, c: usize| ((7 * y + 5 * x + 31 * c + 4 * ((y * x) % 17)) % 256) as f32;
        let pixels: Vec<f32> = (0..3 * 1024).map(|at| value(at / 32 % 32, at % 32, at / 1024)).collect();
        let pixels = Tensor::from_vec(pixels, (1, 3, 32, 32), &Device::Cpu).unwrap();
        let stages = (net.config().layers.len() - 1) / 3;
        let sites: Vec<(String, String)> = std::iter::once(("conv.0.hook_post".to_string(), "stem".to_string()))
            .chain((1..=3).map(|s| (format!("conv.{}.hook_post", s * stages), format!("layer{s}"))))
            .collect();
        let records: Vec<Value> = sites.iter().map(|(site, _)| json!({ "site": site })).collect();
        let input = Input::Images(Images { pixels, documents: vec![0] });
        let done = observe(&net, &input, &pass(json!({ "name": "run", "records": records })), &Registry::elementary());
        let done = done.unwrap();
        close(&floats(&done.output), &numbers(&reference["logits"]), 1e-5 * 13.1);
        for (site, stage) in &sites {
            let map = done.records.get(site).unwrap();
            let means = floats(&map.mean((2, 3)).unwrap());
            close(&means, &numbers(&reference[format!("{stage}_mean_per_channel")]), 1e-5);
        }
    }
}

#[test]
fn the_digit_network_gives_its_logits_and_its_accuracy() {
    let Some((net, reference)) = open("mnist-cnn") else { return };
    let Some(file) = shared("data/mnist/t10k-images-idx3-ubyte") else { return };
    let set = ImageSet::read(&file, [1, 28, 28], 2000).unwrap();
    let all: Vec<usize> = (0..set.len()).collect();
    let run = |at: &[usize]| {
        let input = Input::Images(set.batch(at).unwrap());
        net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap()
    };
    for (image, logits) in reference["logits"].as_array().unwrap().iter().enumerate() {
        close(&floats(&run(&[image])), &numbers(logits), 1e-5 * 8063.0);
    }
    let right: usize = all
        .chunks(250)
        .map(|at| {
            let best: Vec<u32> = run(at).argmax(1).unwrap().to_vec1().unwrap();
            at.iter().zip(best).filter(|(i, best)| set.labels[**i] == *best).count()
        })
        .sum();
    // 98.91 % of all ten thousand; the first two thousand are the harder ones.
    assert!(right as f64 >= 0.975 * set.len() as f64, "{right} of {}", set.len());
}

#[test]
fn a_convolution_and_its_gradients_equal_candles_own() {
    for (kernel, stride, padding, side) in [(3, 1, 1, 9), (3, 2, 1, 8), (5, 1, 2, 7), (1, 1, 0, 4), (3, 2, 0, 7)] {
        let x = Var::randn(0f32, 1.0, (2, 3, side, side), &Device::Cpu).unwrap();
        let weight = Var::randn(0f32, 1.0, (4, 3, kernel, kernel), &Device::Cpu).unwrap();
        let conv = Conv2d { weight: weight.as_tensor().clone(), bias: None, stride, padding };
        let ours = conv.forward(&x, Form::Differentiable).unwrap();
        let theirs = x.conv2d(&weight, padding, stride, 1, 1).unwrap();
        close(&floats(&ours), &floats(&theirs), 1e-4);
        assert_eq!(bits(&ours), bits(&conv.forward(&x, Form::Inference).unwrap()));
        let weigh = theirs.randn_like(0.0, 1.0).unwrap();
        let loss = |y: &Tensor| (y * &weigh).unwrap().sum_all().unwrap().backward().unwrap();
        let (a, b) = (loss(&ours), loss(&theirs));
        for var in [&x, &weight] {
            close(&floats(a.get(var).unwrap()), &floats(b.get(var).unwrap()), 1e-4);
        }
    }
}

#[test]
fn images_of_another_size_are_refused() {
    let (net, _) = small();
    let pixels = Tensor::zeros((1, 3, 16, 16), candle_core::DType::F32, &Device::Cpu).unwrap();
    let input = Input::Images(Images { pixels, documents: vec![0] });
    let error = net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap_err().to_string();
    assert!(error.contains("[3, 16, 16]") && error.contains("[3, 32, 32]"), "{error}");
}

#[test]
fn the_table_has_the_maps_as_they_are() {
    let (net, input) = small();
    let records: Vec<Value> = net.sites().iter().map(|(_, site)| json!({ "site": site.name })).collect();
    let done = observe(&net, &input, &pass(json!({ "name": "run", "records": records })), &Registry::elementary());
    let records = done.unwrap().records;
    for (_, site) in net.sites().iter() {
        let tensor = records.get(&site.name).unwrap();
        let sizes: Vec<Option<usize>> =
            std::iter::once(None).chain(tensor.dims()[1..].iter().copied().map(Some)).collect();
        assert_eq!(site.sizes, sizes, "{}", site.name);
        assert_eq!(site.axes[0], Axis::Batch);
    }
}

#[test]
fn a_map_clamped_to_its_own_record_changes_no_bit_and_a_batch_equals_its_images() {
    let (net, input) = small();
    let plain = net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap();
    let clamp = json!({ "passes": [
        { "name": "first", "records": [{ "site": "conv.1.hook_post" }] },
        { "name": "second", "edits": [
            { "site": "conv.1.hook_post", "op": "set", "value": { "pass": "first", "site": "conv.1.hook_post" } }] }
    ]});
    let run = serde_json::from_value(clamp).unwrap();
    let inputs = [input.clone()];
    let registry = Registry::elementary();
    let job = optrode::models::Job { run: &run, inputs: &inputs, stored: Default::default(), registry: &registry };
    let done = optrode::models::execute(&net, job).unwrap();
    assert_eq!(bits(&done.passes[0].output), bits(&plain));
    assert_eq!(bits(&done.passes[1].output), bits(&plain));
    let scenes = Scenes::draw(5, 1);
    for i in 0..5 {
        let one = Input::Images(scenes.images.batch(&[i]).unwrap());
        let one = net.forward(&one, &mut State::none(), &mut Tap::off()).unwrap();
        close(&floats(&one), &floats(&plain.narrow(0, i, 1).unwrap()), 1e-5);
    }
}

#[test]
fn a_channel_zeroed_for_one_image_leaves_the_others_as_they_are() {
    let (net, input) = small();
    let plain = net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap();
    let map = |done: &optrode::models::PassOutcome| done.records.get("conv.1.hook_post").unwrap().clone();
    let recorded = json!({ "name": "run", "records": [{ "site": "conv.1.hook_post" }] });
    let before = map(&observe(&net, &input, &pass(recorded), &Registry::elementary()).unwrap());
    // A drawn network has channels that are never active; the others matter.
    let sums = floats(&before.sum((0, 2, 3)).unwrap());
    let busy = (0..6).max_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap();
    let edit = |site: &str| {
        let edits = json!([{ "site": site, "op": "zero" }]);
        let records = json!([{ "site": "conv.1.hook_post" }]);
        let pass = pass(json!({ "name": "run", "edits": edits, "records": records }));
        observe(&net, &input, &pass, &Registry::elementary()).unwrap()
    };
    let all = edit(&format!("conv.1.hook_post[channel={busy}]"));
    assert!(floats(&map(&all).narrow(1, busy, 1).unwrap()).iter().all(|x| *x == 0.0));
    assert_ne!(bits(&all.output), bits(&plain));
    let one = edit(&format!("conv.1.hook_post[channel={busy}]@rows=3"));
    for row in 0..5 {
        let of = |x: &Tensor| bits(&x.narrow(0, row, 1).unwrap());
        assert_eq!(of(&one.output), if row == 3 { of(&all.output) } else { of(&plain) }, "row {row}");
    }
}

#[test]
fn gradients_at_a_map_are_the_slope_of_the_metric() {
    let (net, input) = small();
    let pass = pass(json!({ "name": "run", "gradients": ["conv.2.hook_post"] }));
    let registry = Registry::elementary();
    let metric = |y: &Tensor| Ok(y.narrow(1, 0, 1)?.sum_all()?);
    let found = gradients(&net, &input, &pass, &registry, Values::default(), metric).unwrap();
    let slope = &found.sites["conv.2.hook_post"];
    // The head reads the maximum of each channel, so the sum over a channel is its weight, once per image.
    let head = net.parameters().iter().find(|(name, _)| name == "head.weight").unwrap().1.get(0).unwrap();
    let expected = floats(&head);
    for image in 0..5 {
        let sums = floats(&slope.get(image).unwrap().flatten_from(1).unwrap().sum(1).unwrap());
        close(&sums, &expected, 1e-5);
    }
}

#[test]
fn reading_a_site_is_free_of_consequences() {
    let (net, input) = small();
    let record: Record = serde_json::from_value(json!({ "site": "conv.*.hook_p*" })).unwrap();
    let pass = Pass { records: vec![record], ..pass(json!({ "name": "run" })) };
    let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[]).unwrap();
    let watched = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan)).unwrap();
    let plain = net.forward(&input, &mut State::none(), &mut Tap::off()).unwrap();
    assert_eq!(bits(&watched), bits(&plain));
}
