//! Networks that were trained: known texts, exact tasks, and heads whose loss shows.

use candle_core::{D, Device, IndexOp, Tensor};
use optrode::hook::{Edit, Pass, Plan, Registry, Tap, Values, random};
use optrode::models::{Decoder, Input, Model, Network, Side, State, Tokens};
use optrode::store::Bundle;

use super::{generate, tokens};
use crate::common::shared::{shared, shared_model};

#[test]
fn greedy_ids_of_stories260k_are_the_reference_ids() {
    let Some(model) = shared_model("stories260K") else {
        return;
    };
    let file = std::fs::read(model.folder.path().join("reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let ids = |key: &str| -> Vec<u32> { serde_json::from_value(reference[key].clone()).unwrap() };
    for (prompt, whole) in
        [(ids("token_ids"), ids("greedy_60_token_ids")), (vec![1], ids("greedy_from_bos_200_token_ids"))]
    {
        let start = Tokens::from_rows(std::slice::from_ref(&prompt), Side::Left, 0).unwrap();
        let made = generate(&model.decoder, &start, &Pass::default(), &tokens(whole.len() - prompt.len()));
        assert_eq!(made.rows[0], whole[prompt.len()..]);
    }
}

#[test]
fn mingpt_sorts_every_input() {
    let Some(model) = shared_model("mingpt-sort-nano") else {
        return;
    };
    let inputs: Vec<Vec<u32>> = (0..729u32).map(|i| (0..6).map(|d| i / 3u32.pow(d) % 3).collect()).collect();
    let batch = Tokens::from_rows(&inputs, Side::Left, 0).unwrap();
    let mut options = tokens(6);
    options.context = model.decoder.facts().context;
    let made = generate(&model.decoder, &batch, &Pass::default(), &options);
    for (input, output) in inputs.iter().zip(&made.rows) {
        let mut sorted = input.clone();
        sorted.sort_unstable();
        assert_eq!(*output, sorted, "{input:?}");
    }
}

/// Stories as token rows, cut to `width`.
fn stories(model: &Model, count: usize, width: usize) -> Option<Tokens> {
    let text = std::fs::read_to_string(shared("data/stories-sampled/stories.jsonl")?).unwrap();
    let rows: Vec<Vec<u32>> = text
        .lines()
        .take(count)
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut ids = model.encode(line["text"].as_str().unwrap()).unwrap();
            ids.truncate(width);
            ids
        })
        .collect();
    Some(Tokens::from_rows(&rows, Side::Right, 0).unwrap())
}

/// Mean loss of the next token, in nats.
fn loss(net: &Decoder, texts: &Tokens, edits: &[Edit]) -> f64 {
    let pass = Pass { edits: edits.to_vec(), ..Pass::default() };
    let mut plan = Plan::compile(net.sites(), &pass, &Registry::elementary(), Values::default(), &[]).unwrap();
    let input = Input::Tokens(texts.clone());
    let logits = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan)).unwrap();
    let logs = candle_nn::ops::log_softmax(&logits, D::Minus1).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for row in 0..texts.rows {
        let ids = texts.row(row);
        let next = Tensor::from_vec(ids[1..].to_vec(), (ids.len() - 1, 1), &Device::Cpu).unwrap();
        let logs = logs.i((row, ..ids.len() - 1)).unwrap().contiguous().unwrap();
        let picked = logs.gather(&next, 1).unwrap().sum_all().unwrap();
        sum -= f64::from(picked.to_scalar::<f32>().unwrap());
        count += ids.len() - 1;
    }
    sum / count as f64
}

fn zero(heads: &[(usize, usize)]) -> Vec<Edit> {
    let edit =
        |(l, h): &(usize, usize)| Edit::new(format!("blocks.{l}.attn.hook_z[head={h}]").parse().unwrap(), "zero");
    heads.iter().map(edit).collect()
}

/// How many heads of layers 1, 2 and 3 the edit zeroes.
const COUNTS: [(usize, usize); 3] = [(1, 5), (2, 3), (3, 3)];

/// As many heads of the same layers, drawn from all eight of each.
fn drawn(draw: u64) -> Vec<(usize, usize)> {
    let mut heads = Vec::new();
    for (layer, count) in COUNTS {
        let mut order: Vec<usize> = (0..8).collect();
        order.sort_by_key(|h| random::key(draw, &[layer as u64, *h as u64]));
        heads.extend(order[..count].iter().map(|h| (layer, *h)));
    }
    heads
}

#[test]
fn without_its_previous_token_heads_the_story_suffers_more_than_without_others() {
    let Some(model) = shared_model("stories260K") else {
        return;
    };
    let Some(texts) = stories(&model, 24, 160) else { return };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/edits/stories260K-previous-token-heads.json");
    let edits = Bundle::open(file, &Device::Cpu).unwrap().file.edits;

    let net = &model.decoder;
    let plain = loss(net, &texts, &[]);
    let without = loss(net, &texts, &edits);
    let mut controls: Vec<f64> = (0..20).map(|draw| loss(net, &texts, &zero(&drawn(draw)))).collect();
    controls.sort_by(f64::total_cmp);
    let mean = controls.iter().sum::<f64>() / 20.0;
    println!("loss {plain:.3}; without the eleven heads {without:.3}");
    println!("without eleven drawn heads of the same layers: mean {mean:.3}, all {controls:.3?}");
    assert!((0.8..1.1).contains(&plain), "{plain}");
    assert!(without - plain > 0.5, "{without}");
    assert!(controls.iter().all(|c| without > *c), "{without} against {controls:?}");

    // The two strongest alone are made up for by the others.
    let pair = loss(net, &texts, &zero(&[(3, 6), (1, 3)])) - plain;
    println!("rise without the two strongest {pair:.3}");
    assert!(pair < 0.05 && pair > 0.0, "{pair}");

    let prompt = model.encode("Once upon a time, there was a little girl named Lily.").unwrap();
    let start = Tokens::from_rows(&[prompt], Side::Left, 0).unwrap();
    let text = |edits: Vec<Edit>| {
        let pass = Pass { edits, ..Pass::default() };
        let made = generate(net, &start, &pass, &tokens(100));
        model.tokenizer().unwrap().decode(&made.rows[0], true).unwrap()
    };
    let (whole, broken) = (text(vec![]), text(edits));
    println!("whole:   {whole:?}\nbroken:  {broken:?}");
    assert_ne!(whole, broken);
}
