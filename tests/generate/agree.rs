use candle_core::Tensor;
use optrode::generate::{Generated, Options};
use optrode::models::{Side, Tokens};

use super::{alone, edit, generate, pass, prompts, tokens};
use crate::common::{folders, load};

/// Two ways to the same value agree to this part of the tensor's largest magnitude.
const AGREE: f32 = 1e-5;

const NEW: usize = 6;

/// `[rows, columns]`: the columns that a generation of [`NEW`] tokens ran on real tokens.
fn real(prompts: &Tokens) -> Vec<bool> {
    let row = |r: usize| {
        let given = prompts.real[r * prompts.pos..(r + 1) * prompts.pos].iter().copied();
        given.chain(std::iter::repeat_n(true, NEW - 1)).collect::<Vec<_>>()
    };
    (0..prompts.rows).flat_map(row).collect()
}

/// The values at the real columns of each row, in order.
fn real_values(x: &Tensor, axis: usize, prompts: &Tokens) -> Vec<Vec<f32>> {
    let mask = real(prompts);
    let columns = prompts.pos + NEW - 1;
    assert_eq!(x.dims()[axis], columns);
    let rows = 0..prompts.rows;
    rows.map(|row| {
        let keep: Vec<u32> = (0..columns as u32).filter(|c| mask[row * columns + *c as usize]).collect();
        let count = keep.len();
        let keep = Tensor::from_vec(keep, count, x.device()).unwrap();
        let part = x.narrow(0, row, 1).unwrap().contiguous().unwrap();
        part.index_select(&keep, axis).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    })
    .collect()
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let (a, b) = (a.iter().flatten(), b.iter().flatten());
    let scale = a.clone().fold(0f32, |m, x| if x.is_finite() { m.max(x.abs()) } else { m });
    let worst = a.zip(b).fold(0f32, |m, (x, y)| if x == y { m } else { m.max((x - y).abs()) });
    worst / scale.max(f32::MIN_POSITIVE)
}

fn uncached() -> Options {
    Options { cache: false, ..tokens(NEW) }
}

const RECORDED: [&str; 3] = ["blocks.*.hook_resid_post", "blocks.*.attn.hook_attn_scores", "logits"];

fn assert_same_records(name: &str, a: &Generated, b: &Generated, prompts: &Tokens) -> f32 {
    assert_eq!(a.records.tensors.len(), b.records.tensors.len());
    let mut worst = 0f32;
    for (site, x) in &a.records.tensors {
        let y = b.records.get(site).unwrap();
        assert_eq!(x.tensor.dims(), y.dims(), "{name} {site}");
        let axis = if site.ends_with("scores") { 2 } else { 1 };
        let (x, y) = (real_values(&x.tensor, axis, prompts), real_values(y, axis, prompts));
        let error = largest_difference(&x, &y);
        assert!(error <= AGREE, "{name} {site}: {error:e}");
        worst = worst.max(error);
    }
    worst
}

#[test]
fn a_text_is_the_same_in_a_batch_alone_and_on_either_side_of_padding() {
    for folder in folders() {
        let net = load(&folder);
        let plain = pass(&["blocks.*.hook_resid_post"], vec![]);
        let left = prompts(&net, Side::Left);
        let batch = generate(&net, &left, &plain, &tokens(NEW));
        let right = prompts(&net, Side::Right);
        let other = generate(&net, &right, &plain, &tokens(NEW));
        assert_eq!(batch.rows, other.rows, "{}", folder.display());
        for row in 0..3 {
            let prompt = alone(&left, row);
            let single = generate(&net, &prompt, &plain, &tokens(NEW));
            assert_eq!(batch.rows[row], single.rows[0], "{} row {row}", folder.display());
            for (site, x) in &single.records.tensors {
                let x = real_values(&x.tensor, 1, &prompt);
                for (batch, prompts) in [(&batch, &left), (&other, &right)] {
                    let y = real_values(batch.records.get(site).unwrap(), 1, prompts);
                    let error = largest_difference(&x, &y[row..=row]);
                    assert!(error <= AGREE, "{} row {row} {site}: {error:e}", folder.display());
                }
            }
        }
    }
}

#[test]
fn cached_equals_uncached_in_every_family() {
    let mut worst = 0f32;
    let mut count = 0;
    for folder in folders() {
        let net = load(&folder);
        // There a longer text turns its earlier tokens otherwise, so that a cache holds what was, not what is.
        if net.facts().ropes.iter().any(|rope| rope.scaling.depends_on_length()) {
            continue;
        }
        count += 1;
        let recorded = pass(&RECORDED, vec![]);
        for side in [Side::Left, Side::Right] {
            let prompts = prompts(&net, side);
            let cached = generate(&net, &prompts, &recorded, &tokens(NEW));
            let whole = generate(&net, &prompts, &recorded, &uncached());
            let name = format!("{} {side:?}", folder.display());
            assert_eq!(cached.rows, whole.rows, "{name}");
            worst = worst.max(assert_same_records(&name, &cached, &whole, &prompts));
        }
    }
    assert!(count >= 30, "{count}");
    println!("cached against uncached, {count} networks: largest relative difference {worst:.1e}");
}

#[test]
fn cached_equals_uncached_under_edits_of_every_scope() {
    let scopes = ["", "@last", "@prompt", "@generated", "@1..3", "@-1", "@4..", "@8,9", "@last@prompt", "@rows=1"];
    for name in ["llama", "gpt2", "gemma2", "falcon-alibi"] {
        let net = load(&crate::common::shared::golden(name));
        let prompts = prompts(&net, Side::Left);
        let plain = generate(&net, &prompts, &pass(&["logits"], vec![]), &tokens(NEW));
        for scope in scopes {
            let edits = vec![
                edit(&format!("blocks.0.hook_resid_pre{scope}"), "noise").with("std", 0.5),
                edit(&format!("blocks.1.attn.hook_z[head=0]{scope}"), "scale").with("factor", -2.0),
                edit(&format!("blocks.0.attn.hook_v{scope}"), "scale").with("factor", 1.5),
            ];
            let edited = pass(&RECORDED, edits);
            let cached = generate(&net, &prompts, &edited, &tokens(NEW));
            let whole = generate(&net, &prompts, &edited, &uncached());
            assert_eq!(cached.rows, whole.rows, "{name} {scope}");
            assert_same_records(&format!("{name} {scope}"), &cached, &whole, &prompts);
            let logits = |g: &Generated| real_values(g.records.get("logits").unwrap(), 1, &prompts);
            let (before, after) = (logits(&plain), logits(&cached));
            assert!(largest_difference(&before, &after) > 1e-3, "{name} {scope} changed nothing");
        }
    }
}

#[test]
fn an_edit_of_the_generated_tokens_leaves_the_prompt_as_it_was() {
    let net = load(&crate::common::shared::golden("llama"));
    let prompts = prompts(&net, Side::Left);
    let site = "blocks.1.hook_resid_post";
    let plain = generate(&net, &prompts, &pass(&[site], vec![]), &tokens(NEW));
    let edits = vec![edit("hook_embed@generated", "zero")];
    let edited = generate(&net, &prompts, &pass(&[site, "hook_embed"], edits), &tokens(NEW));
    let of_prompt = |g: &Generated| g.records.get(site).unwrap().narrow(1, 0, prompts.pos).unwrap();
    let values = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(of_prompt(&plain)), values(of_prompt(&edited)));
    let embed = edited.records.get("hook_embed").unwrap();
    let generated = values(embed.narrow(1, prompts.pos, NEW - 1).unwrap());
    assert!(generated.iter().all(|x| *x == 0.0));
    assert!(values(embed.narrow(1, 0, prompts.pos).unwrap()).iter().any(|x| *x != 0.0));
}

#[test]
fn records_join_the_prompt_and_the_generated_tokens() {
    let net = load(&crate::common::shared::golden("llama"));
    let prompts = prompts(&net, Side::Left);
    let made = generate(&net, &prompts, &pass(&["logits", "blocks.0.attn.hook_pattern"], vec![]), &tokens(NEW));
    let columns = prompts.pos + NEW - 1;
    let logits = made.records.get("logits").unwrap();
    assert_eq!(logits.dims(), [3, columns, net.facts().vocab]);
    assert_eq!(made.records.get("blocks.0.attn.hook_pattern").unwrap().dims()[2..], [columns, columns]);
    for (row, new) in made.rows.iter().enumerate() {
        for (step, id) in new.iter().enumerate() {
            let at = logits.get(row).unwrap().get(prompts.pos - 1 + step).unwrap();
            assert_eq!(at.argmax(0).unwrap().to_scalar::<u32>().unwrap(), *id, "row {row}, step {step}");
        }
    }
}
