//! Units whose labels are known.

use candle_core::DType;
use optrode::analysis::label::text::{
    Columns, Field, Judge, Options, RULES, Rule, Search, Sign, Split, Trace, UnitId, Watch, study, tokens_rule,
};
use optrode::analysis::label::{Matching, auroc, ranking};
use optrode::analysis::scan::Kind;
use optrode::hook::{Pass, Registry, random};
use optrode::models::{Input, Network, Side, Tokens, execute::observe};

use super::{organism, reading, tokenizer};

/// How often each token counts.
fn frequencies() -> Vec<u64> {
    let reading = reading();
    let mut counts = vec![0; 512];
    reading.counted.iter().for_each(|p| counts[reading.tokens[p] as usize] += 1);
    counts
}

/// Sets of one to four tokens that are together at 0.2 to 0.9 % of the places, and none too rare to be found.
fn sets(n: usize, seed: u64) -> Vec<Vec<u32>> {
    let (counts, all) = (frequencies(), reading().count());
    let mut stream = random::Stream::new(seed, &[]);
    let mut sets = Vec::new();
    while sets.len() < n {
        let size = stream.between(1, 4);
        let mut set: Vec<u32> = (0..size).map(|_| stream.below(512) as u32).collect();
        set.sort_unstable();
        set.dedup();
        let of = |id: &u32| counts[*id as usize];
        let share = set.iter().map(of).sum::<u64>() as f64 / all as f64;
        if set.iter().all(|id| of(id) >= 20) && (0.002..0.009).contains(&share) {
            sets.push(set);
        }
    }
    sets
}

/// 1 + 0.1 noise where `holds`, else 0.
fn trace(seed: u64, holds: impl Fn(usize) -> bool) -> Trace {
    let value =
        |p: usize| if holds(p) { 1.0 + 0.1 * random::normal(random::key(seed, &[p as u64])) as f32 } else { 0.0 };
    Trace::of(reading().counted.iter().map(|p| (p as u32, value(p))), reading().count())
}

/// Whether a rule is the list of these tokens.
fn is_list(rule: &Rule, set: &[u32]) -> bool {
    let Rule::Lexical { field: Field::Token, tokens, .. } = rule else { return false };
    let mut tokens = tokens.clone();
    tokens.sort_unstable();
    tokens == set
}

#[test]
fn planted_token_sets_are_found_and_hold_out() {
    let columns = Columns::of(reading());
    let (search, judge) = (Search::new(&columns, tokenizer()), Judge::new(reading(), 200, 0));
    let sets = sets(40, 1);
    let mut found = 0;
    for (i, set) in sets.iter().enumerate() {
        let trace = trace(i as u64, |p| set.contains(&reading().tokens[p]));
        let best = search.best(&trace).unwrap();
        let held = judge.held(&best.rule.holds(&columns).unwrap(), &trace).unwrap();
        found += usize::from(is_list(&best.rule, set) && held.auroc > 0.99);
        assert!(held.interval.0 <= held.auroc && held.auroc <= held.interval.1);
        assert!(held.deciles.iter().all(|d| d.is_nan() || *d >= 0.0));
    }
    assert!(found as f64 > 0.95 * 40.0, "{found} of 40");
}

#[test]
fn planted_classes_neighbours_and_compositions_are_found() {
    let columns = Columns::of(reading());
    let (search, judge) = (Search::new(&columns, tokenizer()), Judge::new(reading(), 200, 0));
    let most = reading().count() / 100;
    let mut rules: Vec<Rule> = Vec::new();
    for (name, bits) in columns.classes().filter(|(_, b)| (60..most).contains(&b.count())).step_by(5).take(12) {
        assert!(bits.count() > 0);
        rules.push(Rule::Class { name: name.to_string() });
    }
    for (i, field) in [Field::After, Field::Before, Field::Token].into_iter().cycle().take(9).enumerate() {
        rules.push(tokens_rule(field, &sets(9, 7)[i], tokenizer()));
    }
    // The common letter e, but only in the first half of a name or of capitals.
    let common = (0..512u32).max_by_key(|id| frequencies()[*id as usize]).unwrap();
    let capital = Rule::Class { name: "a capitalised word".to_string() };
    let token = tokens_rule(Field::Token, &[common], tokenizer());
    rules.push(Rule::And(Box::new(token.clone()), Box::new(Rule::Class { name: "in German text".to_string() })));
    rules.push(Rule::And(Box::new(capital), Box::new(Rule::Class { name: "inside quotation marks".to_string() })));
    let (mut tried, mut found) = (0, 0);
    for (i, rule) in rules.iter().enumerate() {
        let holds = rule.holds(&columns).unwrap();
        let trace = trace(100 + i as u64, |p| holds.contains(p));
        let Some(best) = search.best(&trace) else { continue };
        // A set that is more than a hundredth of the places is active in a part of them alone.
        if holds.count() >= most {
            continue;
        }
        tried += 1;
        let held = judge.held(&best.rule.holds(&columns).unwrap(), &trace);
        found += usize::from(held.is_none_or(|h| h.auroc > 0.99));
    }
    assert!(tried >= 15 && found as f64 > 0.95 * f64::from(tried), "{found} of {tried}");
}

#[test]
fn planted_directions_of_the_embedding_are_found() {
    let model = organism();
    let embedding = model.decoder.parameters().iter().find(|(name, _)| name.contains("embed_tokens")).unwrap();
    let rows = embedding.1.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    let mean = |ids: &[usize]| -> Vec<f32> {
        let sum = |k: usize| ids.iter().map(|i| rows[*i][k]).sum::<f32>() / ids.len() as f32;
        (0..rows[0].len()).map(sum).collect()
    };
    let all = mean(&(0..rows.len()).collect::<Vec<_>>());
    let columns = Columns::of(reading());
    let (search, judge) = (Search::new(&columns, tokenizer()), Judge::new(reading(), 200, 0));
    let (mut separate, mut found) = (0, 0);
    for set in sets(40, 2) {
        let own = mean(&set.iter().map(|id| *id as usize).collect::<Vec<_>>());
        let w_in: Vec<f32> = own.iter().zip(&all).map(|(a, b)| a - b).collect();
        let pre: Vec<f32> = rows.iter().map(|row| row.iter().zip(&w_in).map(|(a, b)| a * b).sum()).collect();
        let least = set.iter().map(|id| pre[*id as usize]).fold(f32::INFINITY, f32::min);
        let others = (0..512u32).filter(|id| !set.contains(id)).map(|id| pre[id as usize]).fold(f32::MIN, f32::max);
        // A bias between the set and all others, as training would have put it.
        if least <= others {
            continue;
        }
        separate += 1;
        let bias = (least + others) / 2.0;
        let value = |p: usize| (pre[reading().tokens[p] as usize] - bias).max(0.0);
        let trace = Trace::of(reading().counted.iter().map(|p| (p as u32, value(p))), reading().count());
        let best = search.best(&trace).unwrap();
        let held = judge.held(&best.rule.holds(&columns).unwrap(), &trace).unwrap();
        found += usize::from(is_list(&best.rule, &set) && held.auroc > 0.99);
    }
    assert!(separate >= 20 && found as f64 > 0.95 * f64::from(separate), "{found} of {separate}");
}

#[test]
fn labels_of_other_units_are_at_one_half_and_noise_has_none() {
    let watch = |site: &str, numbers: usize| Watch {
        site: site.to_string(),
        layer: None,
        kind: Kind::Neuron,
        numbers: (0..numbers).collect(),
        signs: vec![Sign::Plus],
    };
    let sets = sets(24, 3);
    let mut traces: Vec<(UnitId, Trace)> = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let id = UnitId { watch: 0, number, sign: Sign::Plus };
        traces.push((id, trace(number as u64, |p| set.contains(&reading().tokens[p]))));
    }
    for number in 0..24 {
        let id = UnitId { watch: 1, number, sign: Sign::Plus };
        let value = |p: usize| random::uniform(random::key(900 + number as u64, &[p as u64])) as f32;
        traces.push((id, Trace::of(reading().counted.iter().map(|p| (p as u32, value(p))), reading().count())));
    }
    let options = Options { least: 10, draws: 200, ..Options::default() };
    let watches = [watch("planted", 24), watch("noise", 24)];
    let (units, layers) = study(reading(), tokenizer(), &watches, &traces, &|_| None, &options).unwrap();
    let [planted, noise] = layers.as_slice() else { panic!("{layers:?}") };
    assert_eq!((planted.site.as_str(), planted.units, noise.units), ("planted", 24, 24));
    assert!(planted.share > 0.95 && planted.auroc > 0.99, "{planted:?}");
    assert!(planted.permuted_share == 0.0 && (planted.permuted_auroc - 0.5).abs() < 0.02, "{planted:?}");
    assert!(noise.share == 0.0 && (noise.auroc - 0.5).abs() < 0.03, "{noise:?}");
    let label = units[0].by(RULES).unwrap();
    assert!(label.holds && label.p < 1e-6 && label.held.window_auroc > 0.99);
    assert!(units[0].exemplars.iter().all(|e| reading().document(e.peak).unwrap().split == Split::Test));
    let (again, _) = study(reading(), tokenizer(), &watches, &traces, &|_| None, &options).unwrap();
    assert_eq!(again, units, "the same seed gives the same labels");
    // Too few active windows: no label, and it is said.
    let rare = Options { least: 100_000, ..options };
    let (units, layers) = study(reading(), tokenizer(), &watches, &traces, &|_| None, &rare).unwrap();
    assert!(units.iter().all(|u| u.too_rare && u.labels.is_empty()) && layers.is_empty());
}

#[test]
fn logits_as_units_are_matched_to_their_tokens() {
    let model = organism();
    let reading = reading();
    let counts = frequencies();
    let mut tokens: Vec<usize> = (0..512).collect();
    tokens.sort_by_key(|id| std::cmp::Reverse(counts[*id]));
    tokens.truncate(100);
    let mut logits: Vec<(usize, Vec<f32>)> = Vec::new();
    let pieces: Vec<_> = reading.pieces.iter().step_by(5).collect();
    for pieces in pieces.chunks(8) {
        let rows: Vec<Vec<u32>> = pieces.iter().map(|p| reading.tokens[p.places.clone()].to_vec()).collect();
        let input = Input::Tokens(Tokens::from_rows(&rows, Side::Right, 0).unwrap());
        let seen = observe(&model.decoder, &input, &Pass::default(), &Registry::elementary()).unwrap();
        let values = seen.output.to_dtype(DType::F32).unwrap().to_vec3::<f32>().unwrap();
        for (piece, rows) in pieces.iter().zip(values) {
            let counted = piece.places.clone().zip(rows).filter(|(p, _)| reading.counted.contains(*p));
            logits.extend(counted.map(|(p, row)| (p, tokens.iter().map(|id| row[*id]).collect())));
        }
    }
    let n = tokens.len();
    // Concepts: the log-probabilities among these tokens; units: the logits.
    let log_p: Vec<f64> = logits
        .iter()
        .flat_map(|(_, row)| {
            let most = row.iter().copied().fold(f32::MIN, f32::max);
            let total: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
            row.iter().map(move |x| f64::from(x - most) - total.ln()).collect::<Vec<_>>()
        })
        .collect();
    let unit = |u: usize| logits.iter().map(|(_, row)| f64::from(row[u])).collect::<Vec<f64>>();
    let half = logits.len() / 2;
    let top: Vec<Vec<usize>> = (0..n).map(|u| ranking(&unit(u)[..half])).collect();
    let scores = Matching::SOFT.scores(&log_p[..half * n], n, &top).unwrap();
    let (mut found, mut held, mut others) = (0, Vec::new(), Vec::new());
    for (u, scores) in scores.iter().enumerate() {
        let matched = ranking(scores)[0];
        found += usize::from(matched == u);
        // On the other half: where the logit is among the largest hundredth.
        let values = &unit(u)[half..];
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let level = sorted[(0.99 * values.len() as f64).ceil() as usize - 1];
        let active: Vec<bool> = values.iter().map(|x| *x > level).collect();
        let area = |token: usize| {
            let simulated: Vec<f64> = (half..logits.len()).map(|i| log_p[i * n + token]).collect();
            auroc(&simulated, &active).unwrap()
        };
        held.push(area(matched));
        others.push(area((matched + 37) % n));
    }
    assert!(found as f64 > 0.95 * n as f64, "{found} of {n} are matched");
    let middle = |mut x: Vec<f64>| {
        x.sort_by(f64::total_cmp);
        x[n / 2]
    };
    // A logit is not the log-probability: what all logits have in common moves one alone.
    let (held, others) = (middle(held), middle(others));
    assert!(held > 0.98 && others < 0.75, "median {held}, with another's label {others}");
}
