use super::*;
use optrode::nn::{AttentionMask, CausalMask};

fn mask(batch: usize, real: &[u8], key: &[u32], query: &[u32], window: Option<usize>) -> AttentionMask {
    let real: Vec<bool> = real.iter().map(|&r| r != 0).collect();
    let spec = CausalMask { batch, real: &real, key, query, window };
    AttentionMask::causal(&spec, &Device::Cpu).unwrap()
}

fn flags(mask: &AttentionMask) -> Vec<u8> {
    mask.visible().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_plain_batch_shares_one_causal_row() {
    let m = mask(2, &[1; 6], &[0, 1, 2, 0, 1, 2], &[0, 1, 2, 0, 1, 2], None);
    assert_eq!(m.visible().dims(), [1, 1, 3, 3]);
    assert_eq!(flags(&m), [1, 0, 0, 1, 1, 0, 1, 1, 1]);
    assert!(!m.all_visible());
}

#[test]
fn padding_on_either_side_hides_pads_and_keeps_their_rows_finite() {
    let m = mask(2, &[0, 1, 1, 1, 1, 0], &[0, 0, 1, 0, 1, 0], &[0, 0, 1, 0, 1, 0], None);
    assert_eq!(flags(&m), [1, 0, 0, 0, 1, 0, 0, 1, 1, /* right pad */ 1, 0, 0, 1, 1, 0, 0, 0, 1]);
}

#[test]
fn a_window_keeps_exactly_that_many_keys() {
    let pos = [0, 1, 2, 3];
    let m = mask(1, &[1; 4], &pos, &pos, Some(2));
    assert_eq!(flags(&m), [1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1]);
}

#[test]
fn with_a_cache_queries_are_the_last_keys() {
    let m = mask(1, &[1; 4], &[0, 1, 2, 3], &[3], None);
    assert!(m.all_visible());
    assert_eq!(flags(&m), [1; 4]);
    let m = mask(1, &[0, 1, 1, 1], &[0, 0, 1, 2], &[1, 2], Some(2));
    assert_eq!(flags(&m), [0, 1, 1, 0, 0, 0, 1, 1]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let spec = CausalMask { batch: 2, real: &[true; 3], key: &[0; 4], query: &[0; 4], window: None };
    assert!(AttentionMask::causal(&spec, &Device::Cpu).is_err());
    assert!(AttentionMask::from_visible(vec![1; 5], (1, 2, 3), &Device::Cpu).is_err());
}
