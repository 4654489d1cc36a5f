use candle_core::Tensor;
use optrode::generate::{Finish, Generator, Options};
use optrode::hook::{EditContext, Event, Pass, Registry, Values};
use optrode::models::{Decoder, Side, Tokens};

use super::{alone, edit, generate, generate_with, pass, prompts, tokens};
use crate::common::load;
use crate::common::shared::golden;

fn llama() -> (Decoder, Tokens) {
    let net = load(&golden("llama"));
    let prompts = prompts(&net, Side::Left);
    (net, prompts)
}

#[test]
fn a_stop_token_ends_its_row_and_no_other() {
    let (net, prompts) = llama();
    let free = generate(&net, &prompts, &Pass::default(), &tokens(10));
    // A token that row 1 makes late and the others make never or later.
    let place = |row: usize, id: u32| free.rows[row].iter().position(|x| *x == id).unwrap_or(10);
    let stop = free.rows[1].iter().copied().find(|id| place(1, *id) > 0 && place(0, *id) > place(1, *id));
    let stop = stop.unwrap();
    for cache in [true, false] {
        let options = Options { stop: vec![stop], cache, ..tokens(10) };
        let made = generate(&net, &prompts, &Pass::default(), &options);
        for row in 0..3 {
            let end = (place(row, stop) + 1).min(10);
            assert_eq!(made.rows[row], free.rows[row][..end], "row {row}");
            let finish = if place(row, stop) < 10 { Finish::Stop } else { Finish::Length };
            assert_eq!(made.finish[row], finish, "row {row}");
        }
        assert_eq!(made.finish[1], Finish::Stop);
    }
}

#[test]
fn the_context_ends_a_row_when_the_network_can_take_no_more() {
    let (net, prompts) = llama();
    let options = |cache| Options { context: Some(9), cache, ..tokens(50) };
    let made = generate(&net, &prompts, &pass(&["logits"], vec![]), &options(true));
    assert_eq!(made.finish, vec![Finish::Context; 3]);
    let lengths: Vec<usize> = (0..3).map(|r| prompts.row(r).len() + made.rows[r].len()).collect();
    assert_eq!(lengths, [10; 3], "nine tokens run, one comes out");
    let whole = generate(&net, &prompts, &pass(&["logits"], vec![]), &options(false));
    assert_eq!(made.rows, whole.rows);
    assert_eq!(made.records.get("logits").unwrap().dims(), whole.records.get("logits").unwrap().dims());
    for row in 0..3 {
        let single = generate(&net, &alone(&prompts, row), &Pass::default(), &options(true));
        assert_eq!(made.rows[row], single.rows[0]);
    }
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_alone_and_in_a_batch() {
    let (net, prompts) = llama();
    let options = Options { context: Some(6), ..tokens(3) };
    for batch in [prompts.clone(), alone(&prompts, 0)] {
        let (plain, registry) = (Pass::default(), Registry::elementary());
        let generator = Generator { net: &net, pass: &plain, registry: &registry, values: Values::default() };
        let error = generator.run(&batch, &options, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("7 tokens") && error.contains("context of 6"), "{error}");
    }
}

#[test]
fn no_new_tokens_are_no_run() {
    let (net, prompts) = llama();
    let made = generate(&net, &prompts, &pass(&["logits"], vec![]), &tokens(0));
    assert!(made.rows.iter().all(Vec::is_empty) && made.records.tensors.is_empty());
    assert_eq!(made.finish, vec![Finish::Length; 3]);
}

/// The elementary operations and `alarm`, which raises `name` on `row` at `position`.
fn alarm(name: &'static str, row: usize, position: u32) -> Registry {
    Registry::elementary().with_fn("alarm", move |x: &Tensor, cx: &mut EditContext| {
        let call = cx.call;
        for column in (row * call.pos..(row + 1) * call.pos).filter(|c| call.real[*c]) {
            if call.position[column] == position {
                cx.events.push(Event { row, position, name: name.to_string() });
            }
        }
        Ok(x.clone())
    })
}

#[test]
fn an_event_ends_its_row_while_the_others_go_on() {
    let (net, prompts) = llama();
    let free = generate(&net, &prompts, &Pass::default(), &tokens(8));
    let alarmed = pass(&["logits"], vec![edit("blocks.1.hook_resid_pre", "alarm")]);
    for cache in [true, false] {
        let options = Options { cache, ..tokens(8) };
        // Row 1 has five tokens, so position 7 is its third new one.
        let made = generate_with(&net, &prompts, &alarmed, &options, &alarm("abstain", 1, 7));
        assert_eq!(made.finish, [Finish::Length, Finish::Event("abstain".into()), Finish::Length]);
        assert_eq!(made.rows[1], free.rows[1][..3], "cache {cache}");
        assert_eq!((&made.rows[0], &made.rows[2]), (&free.rows[0], &free.rows[2]));
        let raised: Vec<(usize, u32)> = made.events.iter().map(|e| (e.row, e.position)).collect();
        assert_eq!(raised, [(1, 7)], "cache {cache}");
        assert_eq!(made.records.get("logits").unwrap().dims()[1], prompts.pos + 7);
    }
}

#[test]
fn an_event_in_the_prompt_ends_the_row_before_its_first_token() {
    let (net, prompts) = llama();
    let alarmed = pass(&[], vec![edit("blocks.0.hook_resid_pre@prompt", "alarm")]);
    let made = generate_with(&net, &prompts, &alarmed, &tokens(4), &alarm("abstain", 2, 0));
    assert!(made.rows[2].is_empty() && made.rows[0].len() == 4);
    assert_eq!(made.finish[2].word(), "abstain");
}

#[test]
fn an_event_that_is_no_reason_to_stop_is_only_noted() {
    let (net, prompts) = llama();
    let alarmed = pass(&[], vec![edit("blocks.0.hook_resid_pre", "alarm")]);
    let made = generate_with(&net, &prompts, &alarmed, &tokens(4), &alarm("noticed", 0, 8));
    assert_eq!(made.finish, vec![Finish::Length; 3]);
    assert_eq!(made.events.len(), 1);
}

#[test]
fn a_closure_takes_no_parameters() {
    let wrong = edit("hook_embed", "alarm").with("loud", true);
    let error = alarm("abstain", 0, 0).build(&wrong).err().unwrap().to_string();
    assert!(error.contains("`alarm`") && error.contains("`loud`"), "{error}");
}

#[test]
fn tokens_are_told_as_they_are_made_row_by_row() {
    let (net, prompts) = llama();
    let (plain, registry) = (Pass::default(), Registry::elementary());
    let generator = Generator { net: &net, pass: &plain, registry: &registry, values: Values::default() };
    let mut heard = Vec::new();
    let made = generator.run(&prompts, &tokens(3), &mut |row, id| heard.push((row, id))).unwrap();
    let expected: Vec<(usize, u32)> = (0..3).flat_map(|s| [0, 1, 2].map(|r| (r, made.rows[r][s]))).collect();
    assert_eq!(heard, expected);
}
