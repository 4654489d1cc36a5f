//! Requests that a sweep cannot carry out are refused, with what to do instead.

use optrode::analysis::sweep::Sweep;
use optrode::hook::Selector;

use crate::common::{goldens, text};

#[track_caller]
fn refuses(base: &[Vec<u32>], source: &[Vec<u32>], patch: &str, words: &[&str]) {
    let (_, net) = goldens().find(|(name, _)| name == "llama").unwrap();
    let patches: [Selector; 1] = [patch.parse().unwrap()];
    let error = Sweep::new(&net, base, source, &patches).map(|_| ()).unwrap_err().to_string();
    assert!(words.iter().all(|w| error.contains(w)), "{patch}: {error}");
}

#[test]
fn prompts_that_do_not_pair_up() {
    let (five, six) = (vec![text(1, 5)], vec![text(2, 6)]);
    refuses(&five, &six, "blocks.0.hook_resid_pre@0", &["pair 0", "5 tokens", "of 6", "equal length"]);
    refuses(&five, &[text(1, 5), text(2, 5)], "blocks.0.hook_resid_pre@0", &["1 base", "2 source"]);
    refuses(&[], &[], "blocks.0.hook_resid_pre@0", &["no text"]);
    refuses(&[vec![999_999]], &[vec![3]], "blocks.0.hook_resid_pre@0", &["999999", "vocabulary"]);
}

#[test]
fn patches_that_make_no_sense() {
    let (base, source) = (vec![text(1, 5)], vec![text(2, 5)]);
    let refused = |patch: &str, words: &[&str]| refuses(&base, &source, patch, words);
    refused("blocks.0.hook_resid_pre@5", &["blocks.0.hook_resid_pre@5", "acts nowhere", "prompt 0", "5 tokens"]);
    refused("blocks.0.attn.hook_pattern", &["hook_pattern", "job of passes"]);
    refused("hook_embed@1", &["hook_embed", "no block", "blocks.0.hook_resid_pre"]);
    refused("logits", &["logits", "no block"]);
    refused("blocks.0.attn.hook_z[d_head=1]@1", &["inner axis", "heads or neurons"]);
    refused("blocks.0.hook_resid_pre@raw", &["@raw"]);
    refused("blocks.0.hook_resid_pre@generated", &["phase"]);
    refused("blocks.0.attn.hook_k[head=0]@1", &["kv_head"]);
    refused("blocks.0.attn.hook_z[head=99]@1", &["99"]);
    refused("blocks.99.hook_resid_pre@1", &["blocks.99.hook_resid_pre"]);
}
