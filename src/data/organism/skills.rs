//! The exact skills: their domains, their items, and which of them are held out.

use super::facts;
use crate::hook::random::{Stream, key, name};

/// Out of this many items, one is held out of training.
const HELD_OUT: u64 = 10;
/// Seed of the hash that tells held-out items; fixed for good, so that no run trains on what another one tests.
const SPLIT: u64 = 0x0607_2026;

/// A skill with an exact answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skill {
    /// `27+58=` `85`: both operands 0 to 99.
    Addition,
    /// `85-27=` `58`: both operands 0 to 99, the second not larger.
    Subtraction,
    /// `rev: k d f >` ` f d k`: 3 to 6 letters a to z.
    Reversal,
    /// `max(4,9,2)=` `9`: 3 to 6 digits.
    Maximum,
    /// `copy: k d f >` ` k d f`: 3 to 8 letters a to z.
    Copying,
    /// 200 made-up facts ([`facts`]): one phrasing in ten of each fact is held out.
    Facts,
    /// `def f(x): return x+7; f(35)=` `42`: eight forms, arguments 0 to 99.
    Functions,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What the model reads.
    pub prompt: String,
    /// What it should write, up to its end-of-sequence token.
    pub answer: String,
}

impl Item {
    fn new(prompt: impl Into<String>, answer: impl ToString) -> Self {
        Self { prompt: prompt.into(), answer: answer.to_string() }
    }
}

impl Skill {
    /// All skills.
    pub const ALL: [Self; 7] =
        [Self::Addition, Self::Subtraction, Self::Reversal, Self::Maximum, Self::Copying, Self::Facts, Self::Functions];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Reversal => "reversal",
            Self::Maximum => "maximum",
            Self::Copying => "copying",
            Self::Facts => "facts",
            Self::Functions => "functions",
        }
    }

    /// The items that may be asked, in words.
    pub fn domain(self) -> &'static str {
        match self {
            Self::Addition => "a + b with a and b from 0 to 99",
            Self::Subtraction => "a - b with a from 0 to 99 and b from 0 to a",
            Self::Reversal => "3 to 6 letters a to z, with repetition",
            Self::Maximum => "3 to 6 digits 0 to 9",
            Self::Copying => "3 to 8 letters a to z, with repetition",
            Self::Facts => "200 made-up facts (50 people, 4 relations) in 10 phrasings each",
            Self::Functions => {
                "x+a, x-a, 99-x, max(x,b), min(x,b), 10*(x//10), x%10, a if x>50 else x; x and b from 0 to 99, a from \
                 1 to 9"
            }
        }
    }

    /// A random item, held out or not as asked.
    pub fn draw(self, from: &mut Stream, held_out: bool) -> Item {
        loop {
            let (item, tag) = self.any(from);
            if is_held_out(self, &tag) == held_out {
                return item;
            }
        }
    }

    /// `n` different held-out items, the same for every caller.
    pub fn test(self, n: usize) -> Vec<Item> {
        let mut from = Stream::new(SPLIT, &[name(self.name())]);
        let mut items: Vec<Item> = Vec::with_capacity(n);
        // Small domains may hold fewer than n held-out items.
        for _ in 0..100 * n {
            let item = self.draw(&mut from, true);
            if items.len() < n && !items.contains(&item) {
                items.push(item);
            }
        }
        items
    }

    /// The same question in other words that the organism was trained on, where there are any: operands of a sum the
    /// other way round, a list the other way round, another phrasing of a fact.
    pub fn paraphrase(self, item: &Item) -> Option<String> {
        match self {
            Self::Addition => {
                let (a, b) = item.prompt.trim_end_matches('=').split_once('+')?;
                Some(format!("{b}+{a}="))
            }
            Self::Maximum => {
                let list = item.prompt.strip_prefix("max(")?.strip_suffix(")=")?;
                Some(format!("max({})=", list.rsplit(',').collect::<Vec<_>>().join(",")))
            }
            Self::Facts => {
                let (fact, phrasing) = facts::find(&item.prompt)?;
                let other = (1..facts::PHRASINGS)
                    .map(|i| (phrasing + i) % facts::PHRASINGS)
                    .find(|other| *other != facts::held_out(SPLIT, fact))?;
                Some(facts::phrase(fact, other).0)
            }
            Self::Subtraction | Self::Reversal | Self::Copying | Self::Functions => None,
        }
    }

    /// Any item of the domain, with what its hash is taken of.
    fn any(self, from: &mut Stream) -> (Item, String) {
        let item = match self {
            Self::Addition => {
                let (a, b) = (from.below(100), from.below(100));
                Item::new(format!("{a}+{b}="), a + b)
            }
            Self::Subtraction => {
                let (a, b) = (from.below(100), from.below(100));
                let (a, b) = (a.max(b), a.min(b));
                Item::new(format!("{a}-{b}="), a - b)
            }
            Self::Reversal => {
                let n = from.between(3, 6);
                let letters = letters(from, n);
                Item::new(format!("rev:{} >", spaced(letters.iter())), spaced(letters.iter().rev()))
            }
            Self::Maximum => {
                let n = from.between(3, 6);
                let digits: Vec<usize> = (0..n).map(|_| from.below(10)).collect();
                let list: Vec<String> = digits.iter().map(usize::to_string).collect();
                Item::new(format!("max({})=", list.join(",")), digits.iter().max().copied().unwrap_or(0))
            }
            Self::Copying => {
                let n = from.between(3, 8);
                let letters = letters(from, n);
                Item::new(format!("copy:{} >", spaced(letters.iter())), spaced(letters.iter()))
            }
            Self::Facts => {
                let (fact, phrasing) = (from.below(facts::COUNT), from.below(facts::PHRASINGS));
                let (prompt, answer) = facts::phrase(fact, phrasing);
                return (Item::new(prompt, answer), format!("{fact} {phrasing}"));
            }
            Self::Functions => {
                let form = from.below(8);
                function(form, from)
            }
        };
        let tag = item.prompt.clone();
        (item, tag)
    }
}

/// Whether an item is kept out of training. Of each fact, exactly one phrasing is: a hash alone could hold out all.
fn is_held_out(skill: Skill, tag: &str) -> bool {
    match (skill, tag.split_once(' ')) {
        (Skill::Facts, Some((fact, phrasing))) => {
            let fact = fact.parse().unwrap_or(0);
            phrasing.parse() == Ok(facts::held_out(SPLIT, fact))
        }
        _ => key(SPLIT, &[name(skill.name()), name(tag)]).is_multiple_of(HELD_OUT),
    }
}

/// A function with its value at an argument.
fn function(form: usize, from: &mut Stream) -> Item {
    let (mut x, a) = (from.below(100), from.between(1, 9));
    let bound = from.below(100);
    if form == 1 {
        x = x.max(a);
    }
    let (body, value) = match form {
        0 => (format!("x+{a}"), x + a),
        1 => (format!("x-{a}"), x - a),
        2 => ("99-x".to_string(), 99 - x),
        3 => (format!("max(x,{bound})"), x.max(bound)),
        4 => (format!("min(x,{bound})"), x.min(bound)),
        5 => ("10*(x//10)".to_string(), 10 * (x / 10)),
        6 => ("x%10".to_string(), x % 10),
        _ => (format!("{a} if x>50 else x"), if x > 50 { a } else { x }),
    };
    Item::new(format!("def f(x): return {body}; f({x})="), value)
}

fn letters(from: &mut Stream, n: usize) -> Vec<char> {
    (0..n).map(|_| char::from(b'a' + from.below(26) as u8)).collect()
}

/// ` k d f`: a space before every letter, so that each is one token.
fn spaced<'a>(letters: impl Iterator<Item = &'a char>) -> String {
    letters.flat_map(|letter| [' ', *letter]).collect()
}
