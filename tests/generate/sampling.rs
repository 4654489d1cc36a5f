use candle_core::D;
use optrode::generate::{Generated, Options, Sampler};
use optrode::hook::Pass;
use optrode::models::{Decoder, Input, Network, Side, State, Tokens};

use super::{alone, generate, prompts, tokens};
use crate::common::load;
use crate::common::shared::golden;

fn random(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampler {
    Sampler::Random { temperature, top_k, top_p }
}

fn draw(net: &Decoder, prompts: &Tokens, sampler: Sampler, seed: u64) -> Generated {
    let options = Options { sampler, seed, ..tokens(12) };
    generate(net, prompts, &Pass::default(), &options)
}

#[test]
fn a_seed_gives_its_text_again_and_another_seed_another() {
    let net = load(&golden("llama"));
    let prompts = prompts(&net, Side::Left);
    let texts: Vec<_> = [7, 7, 8].map(|s| draw(&net, &prompts, random(1.0, None, None), s).rows).into();
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[test]
fn what_leaves_one_token_is_greedy() {
    let net = load(&golden("gpt2"));
    let prompts = prompts(&net, Side::Left);
    let greedy = draw(&net, &prompts, Sampler::Greedy, 0).rows;
    for sampler in [
        random(1e-6, None, None),
        random(f64::MIN_POSITIVE, None, None),
        random(1.0, Some(1), None),
        random(1.0, None, Some(1e-9)),
        random(5.0, Some(1), Some(1.0)),
    ] {
        assert_eq!(draw(&net, &prompts, sampler.clone(), 1).rows, greedy, "{sampler:?}");
    }
    assert_ne!(draw(&net, &prompts, random(5.0, None, None), 1).rows, greedy);
}

#[test]
fn a_row_draws_alike_whoever_its_neighbours_are() {
    let net = load(&golden("llama"));
    let prompts = prompts(&net, Side::Left);
    let sampler = random(1.0, Some(40), Some(0.95));
    let batch = draw(&net, &prompts, sampler.clone(), 4);
    for row in 0..3 {
        assert_eq!(draw(&net, &alone(&prompts, row), sampler.clone(), 4).rows[0], batch.rows[row]);
    }
}

/// How often each token follows one prompt in `n` documents, and its probability.
fn census(sampler: &Sampler, n: usize) -> (Vec<f64>, Vec<f64>) {
    let net = load(&golden("llama"));
    let many = Tokens::from_rows(&vec![vec![5, 9, 2]; n], Side::Left, 0).unwrap();
    let options = Options { sampler: sampler.clone(), seed: 11, ..tokens(1) };
    let made = generate(&net, &many, &Pass::default(), &options);
    let mut counts = vec![0.0; net.facts().vocab];
    made.rows.iter().for_each(|row| counts[row[0] as usize] += 1.0);
    let Sampler::Random { temperature, .. } = *sampler else { panic!("greedy") };
    let one = Input::Tokens(Tokens::from_rows(&[vec![5, 9, 2]], Side::Left, 0).unwrap());
    let logits = net.forward(&one, &mut State::none(), &mut optrode::hook::Tap::off()).unwrap();
    let logits = logits.get(0).unwrap().get(2).unwrap().affine(1.0 / temperature, 0.0).unwrap();
    let shares = candle_nn::ops::softmax(&logits, D::Minus1).unwrap().to_vec1::<f32>().unwrap();
    (counts, shares.into_iter().map(f64::from).collect())
}

/// Pearson's statistic over the tokens that are expected five times, the others as one, and its degrees of freedom.
fn chi_square(counts: &[f64], shares: &[f64]) -> (f64, f64) {
    let n: f64 = counts.iter().sum();
    let (mut rest, mut cells) = ((0.0, 0.0), Vec::new());
    for (count, share) in counts.iter().zip(shares) {
        if share * n >= 5.0 {
            cells.push((*count, share * n));
        } else {
            rest = (rest.0 + count, rest.1 + share * n);
        }
    }
    if rest.1 > 0.0 {
        cells.push(rest);
    }
    let statistic = cells.iter().map(|(got, want)| (got - want).powi(2) / want).sum();
    (statistic, cells.len() as f64 - 1.0)
}

#[test]
fn draws_follow_the_softmax() {
    for temperature in [2.0, 6.0] {
        let (counts, shares) = census(&random(temperature, None, None), 4000);
        let (statistic, freedom) = chi_square(&counts, &shares);
        println!("temperature {temperature}: chi-square {statistic:.1} at {freedom} degrees of freedom");
        assert!(freedom >= 10.0);
        // Four standard deviations: one chance in ten thousand, once and for all with this seed.
        assert!(statistic < freedom + 4.0 * (2.0 * freedom).sqrt());
        // The same counts do not follow another temperature.
        let (_, other) = census(&random(temperature * 1.5, None, None), 1);
        let (statistic, freedom) = chi_square(&counts, &other);
        assert!(statistic > freedom + 4.0 * (2.0 * freedom).sqrt(), "the test cannot fail");
    }
}

#[test]
fn cuts_keep_the_likeliest_and_their_shares() {
    let (all, shares) = census(&random(3.0, None, None), 1);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    let within = |kept: &[usize]| {
        let total: f64 = kept.iter().map(|i| shares[*i]).sum();
        let mut cut = vec![0.0; shares.len()];
        kept.iter().for_each(|i| cut[*i] = shares[*i] / total);
        (cut, total)
    };
    let holding = |among: &[usize], share: f64| {
        let (cut, _) = within(among);
        let mut sum = 0.0;
        let reached = among.iter().position(|i| {
            sum += cut[*i];
            sum >= share
        });
        among[..=reached.unwrap()].to_vec()
    };
    for (top_k, top_p, kept) in [
        (Some(8), None, order[..8].to_vec()),
        (None, Some(0.6), holding(&order, 0.6)),
        (Some(12), Some(0.5), holding(&order[..12], 0.5)),
    ] {
        let (counts, _) = census(&random(3.0, top_k, top_p), 3000);
        let (cut, _) = within(&kept);
        assert!(kept.len() > 2 && kept.len() < 30, "{}", kept.len());
        assert!(counts.iter().zip(&cut).all(|(n, p)| *p > 0.0 || *n == 0.0), "{top_k:?} {top_p:?}");
        let (statistic, freedom) = chi_square(&counts, &cut);
        assert!(statistic < freedom + 4.0 * (2.0 * freedom).sqrt(), "{top_k:?} {top_p:?}: {statistic}");
    }
}
