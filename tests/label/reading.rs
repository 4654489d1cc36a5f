//! Texts, splits, columns, active places and exemplars.

use std::collections::BTreeSet;

use optrode::analysis::label::Bits;
use optrode::analysis::label::text::sample;
use optrode::analysis::label::text::{
    Columns, Field, PEAK, Reading, Rule, Sign, Split, Text, Trace, WINDOW, Watch, active_windows, exemplars, is_active,
    traces,
};
use optrode::analysis::scan::Kind;
use optrode::data::{DocumentOptions, Documents};
use optrode::hook::{Pass, Record, Registry, random};
use optrode::models::{Input, Side, Tokens, execute::observe};
use optrode::store::HubOptions;

use super::{organism, reading, texts, tokenizer};

const SPLITS: [Split; 4] = [Split::Selection, Split::Calibration, Split::Validation, Split::Test];

#[test]
fn splits_share_no_document_and_no_text() {
    let reading = reading();
    let mut seen = BTreeSet::new();
    let mut end = 0;
    for split in SPLITS {
        let range = reading.range(split);
        assert_eq!(range.start, usize::next_multiple_of(end, 64), "splits begin at whole words of bits");
        end = range.end;
        for document in reading.of_split(split) {
            assert!(seen.insert(document.number));
            assert!(range.start <= document.places.start && document.places.end <= range.end);
        }
    }
    let counts = SPLITS.map(|s| reading.of_split(s).count());
    assert!(counts[0] > 3 * counts[1] && counts[3] > counts[1] && counts[1].abs_diff(counts[2]) <= 1, "{counts:?}");
    // Every group is in every split.
    for split in SPLITS {
        let groups: BTreeSet<usize> = reading.of_split(split).map(|d| d.group).collect();
        assert_eq!(groups.len(), 6, "{split:?}");
    }
}

#[test]
fn a_text_that_occurs_twice_is_read_once() {
    let text = |number: u64| Text { number, group: 0, text: format!("The same text {}.", number % 9) };
    let all: Vec<Text> = (0..27).map(text).collect();
    let reading = Reading::of(tokenizer(), &all, &["a".to_string()], 64, 0).unwrap();
    assert_eq!(reading.documents.len(), 9);
    let few: Vec<Text> = (0..7).map(text).collect();
    let refused = Reading::of(tokenizer(), &few, &["a".to_string()], 64, 0).unwrap_err().to_string();
    assert!(refused.contains("at least 8 different documents"), "{refused}");
}

#[test]
fn special_tokens_and_first_tokens_do_not_count() {
    let reading = reading();
    for piece in &reading.pieces {
        assert!(!reading.counted.contains(piece.places.start));
        let counted = piece.places.clone().filter(|p| reading.counted.contains(*p));
        assert!(counted.into_iter().all(|p| !tokenizer().special_ids().contains(&reading.tokens[p])));
    }
}

#[test]
fn letters_spell_the_documents() {
    let (texts, _) = texts();
    let reading = reading();
    for (document, letters) in reading.documents.iter().zip(&reading.spelling.letters) {
        let own = &texts[document.number as usize].text;
        assert_eq!(letters.text().trim(), own.trim());
        // Every character is a part of some token, in order.
        let mut last = 0;
        for span in letters.spans.iter().filter(|s| !s.is_empty()) {
            assert!(span.start <= last && span.end >= last, "{span:?} after {last}");
            last = span.end;
        }
        assert_eq!(last, letters.glyphs.len());
    }
}

#[test]
fn words_are_runs_of_letters_and_the_word_before_is_known() {
    let line = "Don't say (maybe) 12 words, 爱你 Émile!";
    let all: Vec<Text> = (0..8).map(|n| Text { number: n, group: 0, text: format!("{line} {n}") }).collect();
    let reading = Reading::of(tokenizer(), &all, &["a".to_string()], 256, 0).unwrap();
    let words: Vec<&str> = reading.spelling.words.iter().map(String::as_str).collect();
    assert_eq!(&words[..9], ["don't", "say", "maybe", "12", "words", "爱", "你", "émile", words[8]]);
    let columns = Columns::of(&reading);
    let after = columns.lexical(Field::AfterWord, &[], &["say".to_string()]);
    let document = &reading.documents[0];
    for place in document.places.clone().filter(|p| after.contains(*p)) {
        let word = reading.spelling.word[place];
        // In the word after it, or between the two.
        assert!(word == u32::MAX || words[word as usize] == "maybe");
    }
    assert!(after.count() > 0);
    let brackets = columns.class("inside brackets").unwrap();
    let inside: Vec<u32> =
        document.places.clone().filter(|p| brackets.contains(*p)).map(|p| reading.tokens[p]).collect();
    assert!(tokenizer().decode(&inside, true).unwrap().trim_end_matches(')') == "maybe", "{inside:?}");
}

#[test]
fn columns_are_what_rules_say() {
    let reading = reading();
    let columns = Columns::of(reading);
    let digits = columns.class("digits").unwrap();
    let comma = columns.class("a comma").unwrap();
    for place in reading.counted.iter() {
        let text = tokenizer().token_text(reading.tokens[place]);
        if text.trim().chars().all(|c| c.is_ascii_digit()) && !text.trim().is_empty() {
            assert!(digits.contains(place), "{text:?}");
        }
        assert_eq!(comma.contains(place), comma.contains(place) && reading.counted.contains(place));
    }
    let id = reading.tokens[reading.documents[0].places.start + 3];
    let list = |field| Rule::Lexical { field, tokens: vec![id], words: vec![tokenizer().token_text(id)] };
    let at = |field: Field| list(field).holds(&columns).unwrap();
    for piece in &reading.pieces {
        for place in piece.places.clone().filter(|p| reading.counted.contains(*p)) {
            let neighbour = |at: usize| piece.places.contains(&at) && reading.tokens[at] == id;
            assert_eq!(at_contains(&at(Field::Token), place), reading.tokens[place] == id);
            if place % 97 == 0 {
                assert_eq!(at(Field::After).contains(place), neighbour(place - 1));
                assert_eq!(at(Field::Before).contains(place), neighbour(place + 1));
            }
        }
        if piece.places.start > 3000 {
            break;
        }
    }
    let and = Rule::And(Box::new(list(Field::Token)), Box::new(Rule::Class { name: "digits".to_string() }));
    assert_eq!(and.holds(&columns).unwrap(), at(Field::Token).and(digits));
    let unknown = Rule::Class { name: "in Klingon text".to_string() };
    assert!(unknown.holds(&columns).unwrap_err().to_string().contains("Klingon"));
    let round: Rule = serde_json::from_value(serde_json::to_value(&and).unwrap()).unwrap();
    assert_eq!(round, and);
}

fn at_contains(bits: &Bits, place: usize) -> bool {
    bits.contains(place)
}

#[test]
fn a_hundredth_of_the_places_exceeds_the_level() {
    for (n, seed) in [(1000u64, 1), (12_345, 2), (99, 3)] {
        let values: Vec<f32> = (0..n).map(|i| random::normal(random::key(seed, &[i])) as f32 + 3.0).collect();
        // In any order.
        let mut order: Vec<usize> = (0..n as usize).collect();
        random::Stream::new(seed, &[]).shuffle(&mut order);
        let trace = Trace::of(order.iter().map(|i| (*i as u32, values[*i])), n);
        let above = n as usize - (0.99 * n as f64).ceil() as usize;
        assert_eq!(trace.active.len(), above);
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(trace.level, sorted[n as usize - above - 1], "the value of rank ceil(0.99 n)");
        let expected: Vec<(u32, f32)> =
            (0..n as u32).map(|i| (i, values[i as usize])).filter(|(_, v)| *v > trace.level).collect();
        assert_eq!(trace.active, expected);
    }
}

#[test]
fn silent_units_tied_values_and_infinities() {
    let values = |f: fn(u32) -> f32| (0..10_000u32).map(move |i| (i, f(i)));
    // Never positive: never active.
    assert_eq!(Trace::of(values(|_| -1.0), 10_000).active, []);
    assert_eq!(Trace::of(values(|_| 0.0), 10_000).active, []);
    // Active at fewer places than a hundredth: at all of those.
    let rare = Trace::of(values(|i| if i % 1000 == 0 { 2.0 } else { 0.0 }), 10_000);
    assert_eq!((rare.level, rare.active.len()), (0.0, 10));
    // Ties at the level do not exceed it.
    let tied = Trace::of(values(|i| if i % 10 == 0 { 1.0 } else { 0.0 }), 10_000);
    assert_eq!((tied.level, tied.active.len()), (1.0, 0));
    let infinite = Trace::of(values(|i| if i == 5 { f32::INFINITY } else { f32::NAN }), 10_000);
    assert_eq!(infinite.active, []);
}

#[test]
fn exemplars_have_their_peak_at_24_and_documents_once() {
    let reading = reading();
    let value = |p: usize| random::uniform(random::key(5, &[p as u64])) as f32;
    let trace = Trace::of(reading.counted.iter().map(|p| (p as u32, value(p))), reading.count());
    let best = exemplars::strongest(reading, &trace, Split::Test, 20);
    assert_eq!(best.len(), 20);
    let documents: BTreeSet<u64> = best.iter().map(|e| e.document).collect();
    assert_eq!(documents.len(), 20);
    assert!(best.windows(2).all(|pair| pair[0].value >= pair[1].value));
    for e in &best {
        let document = reading.document(e.peak).unwrap();
        assert!(document.split == Split::Test && document.number == e.document);
        assert!(document.places.start <= e.places.start && e.places.end <= document.places.end);
        assert!(e.places.len() == WINDOW.min(document.places.len()) && e.places.contains(&e.peak));
        if document.places.len() > 2 * WINDOW
            && e.peak >= document.places.start + PEAK
            && e.peak + WINDOW - PEAK <= document.places.end
        {
            assert_eq!(e.peak - e.places.start, PEAK);
        }
        // The full sort says the same.
        let own = document.places.clone().filter(|p| reading.counted.contains(*p));
        assert_eq!(own.map(value).fold(0.0, f32::max), e.value);
    }
    let silent = exemplars::silent(reading, &trace, Split::Test, 30, 0);
    assert!(silent.len() == 30 && silent.iter().all(|e| !is_active(&trace, &e.places) && e.value == 0.0));
    let strata = exemplars::strata(reading, &trace, Split::Test, 2, 0);
    assert_eq!(strata.len(), 20);
    let means: Vec<f32> = strata.chunks(2).map(|pair| pair[0].value + pair[1].value).collect();
    assert!(means.windows(2).all(|pair| pair[0] <= pair[1]), "weakest stratum first: {means:?}");
    let values = exemplars::values(&trace, &best[0].places);
    assert_eq!(values[best[0].peak - best[0].places.start], best[0].value);
}

#[test]
fn active_windows_are_those_of_the_layout() {
    let reading = reading();
    let value = |p: usize| random::uniform(random::key(6, &[p as u64])) as f32;
    let trace = Trace::of(reading.counted.iter().map(|p| (p as u32, value(p))), reading.count());
    let naive = reading.documents.iter().flat_map(|d| reading.tiles(d)).filter(|t| is_active(&trace, t)).count();
    assert_eq!(active_windows(reading, &trace), naive as u64);
}

#[test]
fn the_pass_sees_what_single_pieces_give() {
    let model = organism();
    let (texts, groups) = texts();
    let few: Vec<Text> = texts.into_iter().step_by(12).collect();
    let reading = Reading::of(tokenizer(), &few, &groups, 64, 0).unwrap();
    let site = "blocks.2.mlp.hook_post";
    let numbers = vec![0, 3, 200, 511];
    let watch = Watch::of(&model, site, Some(2), Kind::Neuron, numbers.clone());
    assert_eq!(watch.signs, [Sign::Plus, Sign::Minus], "a gated MLP has two sides");
    let found = traces(&model, &reading, &[watch], 300, |_| {}).unwrap();
    assert_eq!(found.len(), 8);
    let mut values = vec![Vec::new(); numbers.len()];
    let pass = Pass { records: vec![Record::whole(site.parse().unwrap())], ..Pass::default() };
    for piece in &reading.pieces {
        let row = vec![reading.tokens[piece.places.clone()].to_vec()];
        let input = Input::Tokens(Tokens::from_rows(&row, Side::Right, 0).unwrap());
        let seen = observe(&model.decoder, &input, &pass, &Registry::elementary()).unwrap();
        let rows = seen.records.get(site).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        for (place, row) in piece.places.clone().zip(rows).filter(|(p, _)| reading.counted.contains(*p)) {
            values.iter_mut().zip(&numbers).for_each(|(v, n)| v.push((place as u32, row[*n])));
        }
    }
    for (id, trace) in &found {
        let own = values[numbers.iter().position(|n| *n == id.number).unwrap()].iter();
        let expected = Trace::of(own.map(|(p, v)| (*p, id.sign.of(*v))), reading.count());
        assert!((trace.level - expected.level).abs() < 1e-5);
        assert_eq!(trace.active.len(), expected.active.len());
        for ((p, a), (q, b)) in trace.active.iter().zip(&expected.active) {
            assert!(p == q && (a - b).abs() < 1e-5, "{p} {a} {q} {b}");
        }
    }
}

#[test]
fn a_sample_of_texts_is_bounded_and_knows_no_chunks() {
    let desk = crate::scan::desk("llama");
    let root = crate::scan::corpus(&desk);
    let sample = |chunk: u64, bytes: u64| {
        let read = DocumentOptions { chunk, ..DocumentOptions::default() };
        let documents = Documents::open(root.to_str().unwrap(), read, &HubOptions::from_env()).unwrap();
        sample(&documents, bytes, 60, 3).unwrap()
    };
    let some = sample(4, 600);
    assert_eq!(some, sample(256, 600));
    let held: usize = some.iter().map(|t| t.text.len()).sum();
    assert!((600..660).contains(&held) && some.iter().all(|t| t.text.len() <= 60), "{held}");
    // More is more of the same, and everything is every document.
    let more = sample(4, 1200);
    assert!(some.iter().all(|t| more.contains(t)) && more.len() > some.len());
    assert_eq!(sample(4, 1 << 20).len(), 44);
}
