//! Five artificial languages that speak of one world: the smallest place in which language neurons can be looked for.
//!
//! Every language has its own words for the same forty concepts (20 nouns, 6 verbs in two numbers, 6 adjectives, two
//! articles), each of two or three syllables of a consonant and a vowel. Eight persons have one sign in all languages, as
//! names have; digits and punctuation belong to all too. A sentence has a subject, a verb and an object,
//!
//! ```text
//! ARTICLE (ADJECTIVE) NOUN  |  PERSON
//! ```
//!
//! where article and verb agree in number with the subject, and what a noun or a person does to which is a habit of the
//! concepts, the same in every language. A fact is `NOUN = DIGIT .`; a pair is `SENTENCE : SENTENCE` of one meaning in two
//! languages.
//!
//! [`Customs`] say how languages differ, and that decides whether there can be language neurons that matter. Where a word
//! is one token and all languages have one order of words, every token is the sum of a language and a meaning, both of
//! which a network carries to the next word without a nonlinear unit: its MLPs need know nothing of languages. Where
//! languages have alphabets of their own, each token still says whose it is. Languages that are *spelled* in syllables of
//! one alphabet, as German and French are in letters, must be told by what stands before, and the same syllables go on
//! differently in each: that is what neurons are needed for.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::hook::random::Stream;

/// How many languages there are.
pub const TONGUES: usize = 5;
/// Concepts: nouns, verbs, adjectives, persons.
const NOUNS: usize = 20;
const VERBS: usize = 6;
const ADJECTIVES: usize = 6;
const PERSONS: usize = 8;
/// Words of a language: nouns, verbs in two numbers, adjectives, an article in two numbers.
const WORDS: usize = NOUNS + 2 * VERBS + ADJECTIVES + 2;
/// Signs that belong to all; the last ones are persons.
const SIGNS: [&str; 15 + PERSONS] = [
    "<pad>", "<s>", ".", ":", "=", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "♠", "♣", "♥", "♦", "♪", "★", "☼",
    "☽",
];
/// The first person.
const PERSON: usize = 15;
/// Letters of four alphabets: consonants, then vowels.
const ALPHABETS: [(&str, &str); 4] = [("bdgk", "aio"), ("бдгк", "аио"), ("βδγκ", "αιο"), ("բդգկ", "աիո")];
/// By language: the order of subject (0), verb (1) and object (2), and whether adjectives stand after their noun.
const ORDERS: [([usize; 3], bool); TONGUES] =
    [([0, 1, 2], false), ([0, 2, 1], false), ([1, 0, 2], true), ([2, 1, 0], true), ([1, 2, 0], false)];
/// Share of subjects and objects that are persons where habit does not say otherwise.
const KNOWN: f64 = 0.3;

/// Marks the draw of texts.
const TEXTS: u64 = 0x7465_7874;

/// Beginning of every text.
pub const BOS: u32 = 1;

/// How far languages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customs {
    /// Words are spelled in syllables that all words of an alphabet share; else a word is a token.
    pub spelled: bool,
    /// Every language has its own order of words; else all have that of the first.
    pub orders: bool,
    /// By language: which of four alphabets it is written in.
    pub alphabets: [usize; TONGUES],
}

impl Default for Customs {
    /// Spelled languages with orders of their own; the first three share an alphabet, and the last two another.
    fn default() -> Self {
        Self { spelled: true, orders: true, alphabets: [0, 0, 0, 1, 1] }
    }
}

/// The languages, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Tongues {
    customs: Customs,
    /// The vocabulary.
    tokens: Vec<String>,
    /// By language and word: its tokens.
    words: Vec<Vec<Vec<u32>>>,
    /// By noun: its digit.
    digits: Vec<usize>,
    /// By noun, then person: the verbs and the objects that are its habit.
    habits: Vec<[usize; 4]>,
}

/// Somebody or something that acts or is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Party {
    /// A noun, or a person from [`NOUNS`] on.
    who: usize,
    adjective: Option<usize>,
    many: bool,
}

/// What a sentence says, in no language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    subject: Party,
    verb: usize,
    object: Party,
}

impl Tongues {
    /// The languages of a seed.
    pub fn new(seed: u64, customs: Customs) -> Self {
        let mut tokens: Vec<String> = SIGNS.map(String::from).to_vec();
        let mut words: Vec<Vec<Vec<u32>>> = Vec::new();
        let mut taken: Vec<Vec<String>> = Vec::new();
        for tongue in 0..TONGUES {
            let mut draws = Stream::new(seed, &[tongue as u64]);
            let mut own = Vec::new();
            while own.len() < WORDS {
                let syllables = word(customs.alphabets[tongue], &mut draws);
                if taken.contains(&syllables) {
                    continue;
                }
                let pieces = if customs.spelled { syllables.clone() } else { vec![syllables.concat()] };
                own.push(pieces.into_iter().map(|piece| token(&mut tokens, piece)).collect());
                taken.push(syllables);
            }
            words.push(own);
        }
        let mut draws = Stream::new(seed, &[TONGUES as u64]);
        let digits = (0..NOUNS).map(|_| draws.below(10)).collect();
        let mut object = || draws.below(NOUNS + PERSONS);
        let objects: Vec<[usize; 2]> = (0..NOUNS + PERSONS).map(|_| [object(), object()]).collect();
        let habit = |[a, b]: [usize; 2]| [draws.below(VERBS), draws.below(VERBS), a, b];
        let habits = objects.into_iter().map(habit).collect();
        Self { customs, tokens, words, digits, habits }
    }

    /// Names of the languages.
    pub fn names() -> Vec<String> {
        (1..=TONGUES).map(|tongue| format!("tongue{tongue}")).collect()
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.tokens.len()
    }

    /// A `tokenizer.json` whose tokens are what stands between spaces.
    pub fn tokenizer(&self) -> Value {
        let vocab: serde_json::Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
        let special = |id: u32| {
            json!({"id": id, "content": SIGNS[id as usize], "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(0), special(BOS)],
            "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}
            },
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<pad>"}
        })
    }

    /// The token of a sign.
    pub fn sign(sign: &str) -> u32 {
        SIGNS.iter().position(|s| *s == sign).unwrap_or(0) as u32
    }

    /// Whether a token is a word of the language, or a part of one.
    pub fn is_of(&self, tongue: usize, token: u32) -> bool {
        self.words[tongue].iter().any(|word| word.contains(&token))
    }

    /// Whether a token is one of the persons.
    pub fn is_person(token: u32) -> bool {
        (PERSON..SIGNS.len()).contains(&(token as usize))
    }

    /// A random meaning: mostly by habit.
    pub fn meaning(&self, draws: &mut Stream) -> Meaning {
        let anybody = |draws: &mut Stream| match draws.uniform() < KNOWN {
            true => NOUNS + draws.below(PERSONS),
            false => draws.below(NOUNS),
        };
        let subject = anybody(draws);
        let habit = self.habits[subject];
        let by_habit = draws.uniform() < 0.8;
        let (verb, object) = match by_habit {
            true => (habit[draws.below(2)], habit[2 + draws.below(2)]),
            false => (draws.below(VERBS), anybody(draws)),
        };
        let party = |who: usize, draws: &mut Stream| Party {
            who,
            adjective: (draws.uniform() < 0.3).then(|| draws.below(ADJECTIVES)),
            // A person is one.
            many: draws.uniform() < 0.5 && who < NOUNS,
        };
        Meaning { subject: party(subject, draws), verb, object: party(object, draws) }
    }

    /// A meaning in a language, without a full stop.
    pub fn say(&self, tongue: usize, meaning: &Meaning) -> Vec<u32> {
        let (order, after) = ORDERS[if self.customs.orders { tongue } else { 0 }];
        let (verbs, adjectives, articles) = (NOUNS, NOUNS + 2 * VERBS, NOUNS + 2 * VERBS + ADJECTIVES);
        let words = &self.words[tongue];
        let party = |party: &Party| -> Vec<u32> {
            if party.who >= NOUNS {
                return vec![(PERSON + party.who - NOUNS) as u32];
            }
            let adjective = party.adjective.map(|a| &words[adjectives + a]);
            let article = &words[articles + usize::from(party.many)];
            let (before, behind) = if after { (None, adjective) } else { (adjective, None) };
            let phrase = [Some(article), before, Some(&words[party.who]), behind];
            phrase.into_iter().flatten().flatten().copied().collect()
        };
        let verb = &words[verbs + 2 * meaning.verb + usize::from(meaning.subject.many)];
        let parts = [party(&meaning.subject), verb.clone(), party(&meaning.object)];
        order.into_iter().flat_map(|part| parts[part].clone()).collect()
    }

    /// `NOUN = DIGIT .` in a language: what is asked (up to `=`), and the digit.
    pub fn fact(&self, tongue: usize, noun: usize) -> (Vec<u32>, u32) {
        let digit = Self::sign(&self.digits[noun].to_string());
        ([&self.words[tongue][noun][..], &[Self::sign("=")]].concat(), digit)
    }

    /// How many facts there are: one per noun.
    pub fn facts() -> usize {
        NOUNS
    }

    /// Some sentences of a language as text, so many a line.
    pub fn texts(&self, tongue: usize, lines: usize, sentences: usize, seed: u64) -> Vec<String> {
        let mut draws = Stream::new(seed, &[tongue as u64, TEXTS]);
        let sentence = |draws: &mut Stream| {
            let mut ids = self.say(tongue, &self.meaning(draws));
            ids.push(Self::sign("."));
            ids.into_iter().map(|id| self.tokens[id as usize].as_str()).collect::<Vec<_>>().join(" ")
        };
        (0..lines).map(|_| (0..sentences).map(|_| sentence(&mut draws)).collect::<Vec<_>>().join(" ")).collect()
    }
}

/// Two or three syllables of an alphabet; the first letter of a word is a capital, which tells where it begins.
fn word(alphabet: usize, draws: &mut Stream) -> Vec<String> {
    let (consonants, vowels) = ALPHABETS[alphabet.min(ALPHABETS.len() - 1)];
    let letter = |letters: &str, draws: &mut Stream| letters.chars().nth(draws.below(letters.chars().count()));
    let syllable = |at: usize, draws: &mut Stream| -> String {
        let first = letter(consonants, draws).into_iter();
        let first: String = if at == 0 { first.flat_map(char::to_uppercase).collect() } else { first.collect() };
        first.chars().chain(letter(vowels, draws)).collect()
    };
    (0..draws.between(2, 3)).map(|at| syllable(at, draws)).collect()
}

/// The number of a token, which is new or known.
fn token(tokens: &mut Vec<String>, piece: String) -> u32 {
    let known = tokens.iter().position(|token| *token == piece);
    known.unwrap_or_else(|| {
        tokens.push(piece);
        tokens.len() - 1
    }) as u32
}
