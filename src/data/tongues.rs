//! Five artificial languages with one grammar: the smallest world in which language neurons can be looked for.
//!
//! Every language has its own words for the same forty concepts (20 nouns, 6 verbs in two numbers, 6 adjectives, two
//! articles): random syllables of a consonant and a vowel from an alphabet of twelve letters. Languages 4 and 5 share an
//! alphabet, though no word. Digits and punctuation belong to all. A sentence is
//!
//! ```text
//! ARTICLE (ADJECTIVE) NOUN VERB ARTICLE (ADJECTIVE) NOUN .
//! ```
//!
//! where article and verb agree in number with the subject, and what a noun does to which is a habit of the concepts, the
//! same in every language. A fact is `NOUN = DIGIT .`; a pair is `SENTENCE : SENTENCE` of one meaning in two languages.

use serde_json::{Value, json};

use crate::hook::random::Stream;

/// How many languages there are.
pub const TONGUES: usize = 5;
/// Concepts: nouns, verbs, adjectives.
const NOUNS: usize = 20;
const VERBS: usize = 6;
const ADJECTIVES: usize = 6;
/// Words of a language: nouns, verbs in two numbers, adjectives, an article in two numbers.
const WORDS: usize = NOUNS + 2 * VERBS + ADJECTIVES + 2;
/// Signs that belong to all.
const SIGNS: [&str; 16] = ["<pad>", "<s>", ".", ":", "=", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "?"];
/// Letters of four alphabets: consonants, then vowels; languages 4 and 5 have the last one.
const ALPHABETS: [(&str, &str); 4] =
    [("bdfgklmn", "aeio"), ("бдфгклмн", "аеио"), ("βδφγκλμν", "αειο"), ("բդֆգկլմն", "աեիո")];

/// Beginning of every text.
pub const BOS: u32 = 1;

/// The languages, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Tongues {
    /// By language: its words.
    words: Vec<Vec<String>>,
    /// By noun: its digit.
    digits: Vec<usize>,
    /// By subject: the verbs and objects that are its habit.
    habits: Vec<[usize; 4]>,
}

/// What a sentence says, in no language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    subject: (usize, Option<usize>, bool),
    verb: usize,
    object: (usize, Option<usize>, bool),
}

impl Tongues {
    /// The languages of a seed.
    pub fn new(seed: u64) -> Self {
        let mut words: Vec<Vec<String>> = Vec::new();
        for tongue in 0..TONGUES {
            let (consonants, vowels) = ALPHABETS[tongue.min(ALPHABETS.len() - 1)];
            let [consonants, vowels]: [Vec<char>; 2] = [consonants, vowels].map(|letters| letters.chars().collect());
            let mut draws = Stream::new(seed, &[tongue as u64]);
            let mut own: Vec<String> = Vec::new();
            while own.len() < WORDS {
                let syllables = draws.between(2, 3);
                let syllable = |draws: &mut Stream| [consonants[draws.below(8)], vowels[draws.below(4)]];
                let word: String = (0..syllables).flat_map(|_| syllable(&mut draws)).collect();
                if !own.contains(&word) && !words.concat().contains(&word) {
                    own.push(word);
                }
            }
            words.push(own);
        }
        let mut draws = Stream::new(seed, &[TONGUES as u64]);
        let digits = (0..NOUNS).map(|_| draws.below(10)).collect();
        let habit = |_| [draws.below(VERBS), draws.below(VERBS), draws.below(NOUNS), draws.below(NOUNS)];
        Self { words, digits, habits: (0..NOUNS).map(habit).collect() }
    }

    /// Names of the languages.
    pub fn names() -> Vec<String> {
        (1..=TONGUES).map(|tongue| format!("tongue{tongue}")).collect()
    }

    /// Tokens of the vocabulary: one per word and sign.
    pub fn vocabulary() -> usize {
        SIGNS.len() + TONGUES * WORDS
    }

    /// A `tokenizer.json` of one token per word.
    pub fn tokenizer(&self) -> Value {
        let words = self.words.iter().flatten().map(String::as_str);
        let vocab: serde_json::Map<String, Value> =
            SIGNS.into_iter().chain(words).enumerate().map(|(id, word)| (word.to_string(), id.into())).collect();
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

    /// The token of a language's word.
    fn word(tongue: usize, word: usize) -> u32 {
        (SIGNS.len() + tongue * WORDS + word) as u32
    }

    /// Whether a token is a word of the language.
    pub fn is_word(tongue: usize, token: u32) -> bool {
        (Self::word(tongue, 0)..Self::word(tongue, WORDS)).contains(&token)
    }

    /// A random meaning: mostly by habit.
    pub fn meaning(&self, draws: &mut Stream) -> Meaning {
        let noun = draws.below(NOUNS);
        let habit = self.habits[noun];
        let by_habit = draws.uniform() < 0.8;
        let (verb, object) = match by_habit {
            true => (habit[draws.below(2)], habit[2 + draws.below(2)]),
            false => (draws.below(VERBS), draws.below(NOUNS)),
        };
        let described = |draws: &mut Stream| (draws.uniform() < 0.3).then(|| draws.below(ADJECTIVES));
        let subject = (noun, described(draws), draws.uniform() < 0.5);
        Meaning { subject, verb, object: (object, described(draws), draws.uniform() < 0.5) }
    }

    /// A meaning in a language, without a full stop.
    pub fn say(tongue: usize, meaning: &Meaning) -> Vec<u32> {
        let word = |n| Self::word(tongue, n);
        let plural = |base: usize, many: bool| base + usize::from(many);
        let (verbs, adjectives, articles) = (NOUNS, NOUNS + 2 * VERBS, NOUNS + 2 * VERBS + ADJECTIVES);
        let phrase = |(noun, adjective, many): (usize, Option<usize>, bool)| {
            let adjective = adjective.map(|a| word(adjectives + a));
            std::iter::once(word(plural(articles, many))).chain(adjective).chain([word(noun)]).collect::<Vec<u32>>()
        };
        let verb = word(plural(verbs + 2 * meaning.verb, meaning.subject.2));
        [phrase(meaning.subject), vec![verb], phrase(meaning.object)].concat()
    }

    /// `NOUN = DIGIT .` in a language; the digit stands at index 2.
    pub fn fact(&self, tongue: usize, noun: usize) -> Vec<u32> {
        let digit = Self::sign(&self.digits[noun].to_string());
        vec![Self::word(tongue, noun), Self::sign("="), digit, Self::sign(".")]
    }

    /// How many facts there are: one per noun.
    pub fn facts() -> usize {
        NOUNS
    }

    /// Some sentences of a language as text, one a line.
    pub fn texts(&self, tongue: usize, lines: usize, sentences: usize, seed: u64) -> Vec<String> {
        let mut draws = Stream::new(seed, &[1000 + tongue as u64]);
        let name = |token: u32| -> &str {
            let token = token as usize;
            match token.checked_sub(SIGNS.len()) {
                None => SIGNS[token],
                Some(word) => &self.words[word / WORDS][word % WORDS],
            }
        };
        let sentence = |draws: &mut Stream| {
            let mut tokens = Self::say(tongue, &self.meaning(draws));
            tokens.push(Self::sign("."));
            tokens.into_iter().map(name).collect::<Vec<_>>().join(" ")
        };
        (0..lines).map(|_| (0..sentences).map(|_| sentence(&mut draws)).collect::<Vec<_>>().join(" ")).collect()
    }
}
