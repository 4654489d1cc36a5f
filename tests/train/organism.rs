//! The organism's skills, rows, baseline and recipe.

use std::collections::BTreeSet;

use optrode::data::ngram::Ngram;
use optrode::data::organism::Skill;
use optrode::hook::random::Stream;
use optrode::train::organism::Recipe;

#[test]
fn held_out_items_are_never_drawn_for_training() {
    for skill in Skill::ALL {
        let test: BTreeSet<_> = skill.test(300).into_iter().collect();
        assert!(test.len() >= 150, "{} has {} held-out items", skill.name(), test.len());
        let mut from = Stream::new(5, &[]);
        let seen: BTreeSet<_> = (0..3000).map(|_| skill.draw(&mut from, false)).collect();
        assert!(seen.len() > 500, "{}", skill.name());
        assert!(test.is_disjoint(&seen), "{}", skill.name());
    }
}

/// Evaluates a prompt by its words, without the code that made it.
fn solve(skill: Skill, prompt: &str) -> Option<String> {
    let number = |text: &str| text.parse::<i64>().ok();
    let letters = |text: &str| -> Vec<char> { text.chars().filter(|c| *c != ' ').collect() };
    let spaced = |letters: Vec<char>| letters.iter().map(|c| format!(" {c}")).collect::<String>();
    Some(match skill {
        Skill::Addition => {
            let (a, b) = prompt.strip_suffix('=')?.split_once('+')?;
            (number(a)? + number(b)?).to_string()
        }
        Skill::Subtraction => {
            let (a, b) = prompt.strip_suffix('=')?.split_once('-')?;
            (number(a)? - number(b)?).to_string()
        }
        Skill::Reversal => {
            let mut all = letters(prompt.strip_prefix("rev:")?.strip_suffix(" >")?);
            all.reverse();
            spaced(all)
        }
        Skill::Copying => spaced(letters(prompt.strip_prefix("copy:")?.strip_suffix(" >")?)),
        Skill::Maximum => {
            let list = prompt.strip_prefix("max(")?.strip_suffix(")=")?;
            list.split(',').filter_map(number).max()?.to_string()
        }
        Skill::Functions => {
            let (body, call) = prompt.strip_prefix("def f(x): return ")?.split_once("; f(")?;
            let x = number(call.strip_suffix(")=")?)?;
            let pair = |text: &str| -> Option<i64> { number(text.strip_suffix(')')?.strip_prefix("x,")?) };
            let value = match body {
                "99-x" => 99 - x,
                "10*(x//10)" => x - x % 10,
                "x%10" => x % 10,
                _ if body.starts_with("max(") => x.max(pair(&body[4..])?),
                _ if body.starts_with("min(") => x.min(pair(&body[4..])?),
                _ if body.starts_with("x+") => x + number(&body[2..])?,
                _ if body.starts_with("x-") => x - number(&body[2..])?,
                _ => {
                    let a = number(body.strip_suffix(" if x>50 else x")?)?;
                    if x > 50 { a } else { x }
                }
            };
            assert!(value >= 0, "{prompt}");
            value.to_string()
        }
        Skill::Facts => return None,
    })
}

#[test]
fn every_answer_is_right() {
    for skill in Skill::ALL.into_iter().filter(|skill| *skill != Skill::Facts) {
        let mut from = Stream::new(9, &[]);
        for held_out in [false, true] {
            for _ in 0..300 {
                let item = skill.draw(&mut from, held_out);
                assert_eq!(Some(&item.answer), solve(skill, &item.prompt).as_ref(), "{}", item.prompt);
            }
        }
    }
}

#[test]
fn a_fact_has_one_object_whatever_the_phrasing_and_one_phrasing_is_held_out() {
    use optrode::data::organism::facts::{COUNT, PHRASINGS, phrase};
    assert_eq!(COUNT, 200);
    for fact in 0..COUNT {
        let phrased: Vec<_> = (0..PHRASINGS).map(|p| phrase(fact, p)).collect();
        assert!(phrased.iter().all(|(_, object)| *object == phrased[0].1));
        let prompts: BTreeSet<_> = phrased.iter().map(|(prompt, _)| prompt).collect();
        assert_eq!(prompts.len(), PHRASINGS);
    }
    let prompts: BTreeSet<_> = (0..COUNT).flat_map(|f| (0..PHRASINGS).map(move |p| phrase(f, p).0)).collect();
    assert_eq!(prompts.len(), COUNT * PHRASINGS, "no prompt asks for two facts");
    assert_eq!(Skill::Facts.test(1000).len(), COUNT, "one held-out phrasing each");
}

/// Witten-Bell by hand: "a b a b a c" over 3 tokens.
#[test]
fn interpolated_ngrams_have_their_closed_form() {
    let stream = vec![0u32, 1, 0, 1, 0, 2];
    let ngram = Ngram::count(std::slice::from_ref(&stream), 3, 2).unwrap();
    // Order 1: counts 3, 2, 1 of 6, three kinds: (c + 3 / 3) / 9.
    let one = [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0];
    // After 0: 1 twice, 2 once, two kinds: (c + 2 one) / 5.
    let two = [2.0 * one[0] / 5.0, (2.0 + 2.0 * one[1]) / 5.0, (1.0 + 2.0 * one[2]) / 5.0];
    let close = |got: Vec<f64>, expected: [f64; 3]| {
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-12), "{got:?} instead of {expected:?}");
    };
    close(ngram.next(&[]), one);
    close(ngram.next(&[1, 0]), two);
    close(ngram.next(&[2]), one);
    // Without the last token of all, "a b a b a": orders 1 and 2 have lost "c" and its pair.
    let one = [3.0, 2.0, 0.0].map(|count: f64| (count + 2.0 / 3.0) / 7.0);
    let two = [one[0] / 3.0, (2.0 + one[1]) / 3.0, one[2] / 3.0];
    close(ngram.next_elsewhere(&[1, 0], 2), two);
    for order in 1..=4 {
        let ngram = Ngram::count(std::slice::from_ref(&stream), 3, order).unwrap();
        let total: f64 = ngram.next(&stream[..5]).iter().sum();
        assert!((total - 1.0).abs() < 1e-12, "order {order}: {total}");
    }
    assert!(Ngram::count(&[vec![3]], 3, 2).is_err() && Ngram::count(&[], 3, 5).is_err());
}

#[test]
fn the_programs_own_recipe_is_whole() {
    let recipe = Recipe::own().unwrap();
    assert_eq!(recipe.phase(0).name, recipe.phases[0].name);
    assert_eq!(recipe.phase(recipe.updates()).name, recipe.phases.last().unwrap().name);
    assert_eq!(recipe.phase(recipe.phases[0].updates).name, recipe.phases[1].name);
}

#[test]
fn a_recipe_with_an_unknown_key_or_an_empty_phase_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = include_str!("../../src/train/organism/recipe.toml");
    let refused = |text: String, word: &str| {
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        let error = Recipe::open(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(own.replace("vocabulary =", "vocabulry ="), "vocabulry");
    refused(own.replacen("width = 128", "width = 3", 1), "16 tokens");
    refused(own.replacen("lessons = 2", "lessons = 0", 1), "lessons");
}
