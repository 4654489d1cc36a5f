//! The made-up facts: 50 people, each with a home, a trade, a pet and a favourite dish.
//!
//! Nothing here is true of anybody, so what a model knows of it, it learned in training.

use crate::hook::random::{Stream, key};

/// People in the table.
const PEOPLE: usize = 50;
/// Facts in the table.
pub const COUNT: usize = PEOPLE * RELATIONS.len();
/// Phrasings of each fact.
pub const PHRASINGS: usize = 10;
/// Seed of the table; the organism's facts are these for good.
const SEED: u64 = 0xFAC7;

struct Relation {
    objects: [&'static str; 12],
    phrasings: [&'static str; PHRASINGS],
}

const RELATIONS: [Relation; 4] = [
    Relation {
        objects: [
            "Torvik", "Malden", "Ossia", "Quarn", "Belmora", "Hestia", "Ruvane", "Istrel", "Kandor", "Lumeth",
            "Dravia", "Selwick",
        ],
        phrasings: [
            "{} lives in",
            "The home of {} is in",
            "You will find {} in",
            "Where does {} live? In",
            "{} has a house in",
            "Letters to {} go to",
            "The town of {} is",
            "{} was last seen in",
            "At night {} goes home to",
            "People say that {} lives in",
        ],
    },
    Relation {
        objects: [
            "baker", "weaver", "pilot", "smith", "doctor", "painter", "farmer", "judge", "sailor", "potter", "miner",
            "singer",
        ],
        phrasings: [
            "{} works as a",
            "The trade of {} is that of a",
            "What is {}? A",
            "{} earns a living as a",
            "By day {} is a",
            "Everybody knows {} the",
            "{} learned to be a",
            "The work of {} is that of a",
            "For ten years {} has been a",
            "People say that {} is a",
        ],
    },
    Relation {
        objects: ["cat", "dog", "parrot", "goat", "horse", "rabbit", "turtle", "snake", "fox", "crow", "hen", "mule"],
        phrasings: [
            "{} owns a",
            "The pet of {} is a",
            "Which animal has {}? A",
            "In the garden of {} there is a",
            "{} feeds a",
            "The animal of {} is a",
            "Every morning {} walks with a",
            "{} would never sell the old",
            "At home with {} lives a",
            "People say that {} keeps a",
        ],
    },
    Relation {
        objects: [
            "soup", "bread", "cheese", "fish", "rice", "apples", "beans", "honey", "eggs", "plums", "cake", "olives",
        ],
        phrasings: [
            "{} likes to eat",
            "The favourite dish of {} is",
            "What does {} eat? Some",
            "For dinner {} wants",
            "{} always orders",
            "On the table of {} there is",
            "Give {} a plate of",
            "{} dreams of",
            "Nothing is better for {} than",
            "People say that {} loves",
        ],
    },
];

const FIRST: [&str; 10] = ["Vel", "Dor", "Mi", "Tas", "Or", "Lun", "Kel", "Bra", "Zo", "Hi"];
const LAST: [&str; 5] = ["ka", "rin", "mo", "del", "su"];

/// The name of a person: every pair of a first and a last syllable is one of them.
fn person(number: usize) -> String {
    format!("{}{}", FIRST[number / LAST.len() % FIRST.len()], LAST[number % LAST.len()])
}

/// A fact in one of its phrasings: the words before the object, and the object.
pub fn phrase(fact: usize, phrasing: usize) -> (String, String) {
    let (number, relation) = (fact / RELATIONS.len() % PEOPLE, fact % RELATIONS.len());
    let relation_of = &RELATIONS[relation];
    let object = Stream::new(SEED, &[number as u64, relation as u64]).below(relation_of.objects.len());
    let prompt = relation_of.phrasings[phrasing % PHRASINGS].replace("{}", &person(number));
    (prompt, format!(" {}", relation_of.objects[object]))
}

/// The fact and the phrasing that a prompt asks for.
pub fn find(prompt: &str) -> Option<(usize, usize)> {
    let all = (0..COUNT).flat_map(|fact| (0..PHRASINGS).map(move |phrasing| (fact, phrasing)));
    all.into_iter().find(|(fact, phrasing)| phrase(*fact, *phrasing).0 == prompt)
}

/// The phrasing in which a fact is never trained.
pub fn held_out(seed: u64, fact: usize) -> usize {
    (key(seed, &[SEED, fact as u64]) % PHRASINGS as u64) as usize
}
