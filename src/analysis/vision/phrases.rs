//! Exemplar sets with what people would say of them, made from scenes: the annotations of the synthetic experiment.
//!
//! A set is drawn for a formula (an atom, two that hold together, one of two, one above another): exemplars with a mask
//! where it holds, and three phrases. As in human data some phrases are general ("coloured shapes"), so that common
//! words are likely whatever the set shows; that is what lambda log p(d) takes off.

use crate::data::scenes::{Atom, Object, SIDE, Scenes};
use crate::hook::random::Stream;

/// What a set was drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The pixels of objects that are this.
    One(Atom),
    /// The pixels of objects that are both.
    Both(Atom, Atom),
    /// The pixels of objects that are one of both.
    Either(Atom, Atom),
    /// The pixels of objects of the first kind with one of the second under them.
    Above(Atom, Atom),
}

impl Meaning {
    /// The atoms in it.
    pub fn atoms(self) -> Vec<Atom> {
        match self {
            Self::One(a) => vec![a],
            Self::Both(a, b) | Self::Either(a, b) | Self::Above(a, b) => vec![a, b],
        }
    }

    /// Whether it holds of an object of a scene.
    pub fn holds(self, object: &Object, scene: &[Object]) -> bool {
        match self {
            Self::One(a) => object.is(a),
            Self::Both(a, b) => object.is(a) && object.is(b),
            Self::Either(a, b) => object.is(a) || object.is(b),
            Self::Above(a, b) => {
                object.is(a) && scene.iter().any(|o| o.is(b) && o.middle[1] > object.middle[1] + SIDE as f64 / 4.0)
            }
        }
    }

    /// The words that a phrase must have to say it.
    pub fn words(self) -> Vec<&'static str> {
        let mut words: Vec<&str> = self.atoms().into_iter().map(Atom::word).collect();
        match self {
            Self::Above(..) => words.push("above"),
            Self::Either(..) => words.push("or"),
            _ => {}
        }
        words
    }
}

/// Phrases that fit nearly every set.
const GENERAL: [&str; 5] = ["objects", "shapes", "objects on a dark background", "colored shapes", "parts of objects"];

/// Share of phrases that are general.
const VAGUE: f64 = 0.3;

/// One of the ways to say a meaning.
pub fn phrase(meaning: Meaning, random: &mut Stream) -> String {
    if random.uniform() < VAGUE {
        return GENERAL[random.below(GENERAL.len())].to_string();
    }
    let of = |atom: Atom| Part::of(atom);
    match meaning {
        Meaning::One(a) => of(a).alone(random),
        Meaning::Both(a, b) => joined(of(a), of(b), random),
        Meaning::Either(a, b) => format!("{} or {}", of(a).alone(random), of(b).alone(random)),
        Meaning::Above(a, b) => format!("{} above {}", of(a).alone(random), of(b).alone(random)),
    }
}

/// How an atom enters a phrase.
struct Part {
    atom: Atom,
    place: bool,
    shape: bool,
}

impl Part {
    fn of(atom: Atom) -> Self {
        let (index, places) = (atom.index(), Atom::Left.index());
        Self { atom, place: index >= places, shape: index < Atom::Red.index() }
    }

    fn alone(&self, random: &mut Stream) -> String {
        let noun = ["objects", "shapes", "things"][random.below(3)];
        let word = self.atom.word();
        match (self.shape, self.place, random.below(2)) {
            (true, _, 0) => word.to_string(),
            (true, ..) => format!("{word} {noun}"),
            (_, true, 0) => format!("{noun} on the {word}"),
            (_, true, _) => format!("the {word} side"),
            (_, _, 0) => format!("{word} {noun}"),
            _ => format!("{noun} that are {word}"),
        }
    }
}

fn joined(a: Part, b: Part, random: &mut Stream) -> String {
    let (a, b) = if rank(&a) <= rank(&b) { (a, b) } else { (b, a) };
    let noun = ["objects", "shapes", "things"][random.below(3)];
    let (x, y) = (a.atom.word(), b.atom.word());
    match (b.shape, b.place, a.place) {
        (_, true, true) => format!("{noun} on the {x} {y}"),
        (_, true, _) if a.shape => format!("{x} on the {y}"),
        (_, true, _) => format!("{x} {noun} on the {y}"),
        (true, ..) if random.below(2) == 0 => format!("{x} {y}"),
        (true, ..) => format!("{y} that are {x}"),
        _ if random.below(2) == 0 => format!("{x} {y} {noun}"),
        _ => format!("{y} {noun} that are {x}"),
    }
}

/// Order of the parts of a noun phrase: colour, texture, shape, place.
fn rank(part: &Part) -> usize {
    match (part.place, part.shape) {
        (true, _) => 3,
        (_, true) => 2,
        _ if part.atom.index() < Atom::Solid.index() => 0,
        _ => 1,
    }
}

/// A set of exemplars: scenes with the pixels that are marked in each.
#[derive(Clone, Debug)]
pub struct Set {
    /// What it was drawn for.
    pub meaning: Meaning,
    /// The scenes.
    pub scenes: Vec<usize>,
    /// What three people would say.
    pub phrases: [String; 3],
}

impl Set {
    /// The marked pixels `[y, x]` of one of the scenes.
    pub fn mask(&self, scenes: &Scenes, scene: usize) -> Vec<bool> {
        let objects = &scenes.objects[scene];
        let holds: Vec<bool> = objects.iter().map(|o| self.meaning.holds(o, objects)).collect();
        let owner = &scenes.owner[scene * SIDE * SIDE..][..SIDE * SIDE];
        owner.iter().map(|o| *o > 0 && holds[usize::from(*o) - 1]).collect()
    }
}

/// `count` sets of `exemplars` scenes each; set i depends on the seed and i alone. A meaning that too few scenes show is
/// drawn again.
pub fn sets(scenes: &Scenes, count: usize, exemplars: usize, seed: u64) -> Vec<Set> {
    // Every atom is shown by a good part of any number of scenes, so that some meaning always fits.
    let exemplars = exemplars.min(scenes.len() / 16).max(1);
    let mut sets = Vec::with_capacity(count);
    for i in 0..count {
        let mut random = Stream::new(seed, &[3_131, i as u64]);
        let (meaning, mut fitting) = loop {
            let meaning = draw(&mut random);
            let shows = |s: &usize| scenes.objects[*s].iter().any(|o| meaning.holds(o, &scenes.objects[*s]));
            let fitting: Vec<usize> = (0..scenes.len()).filter(shows).collect();
            if fitting.len() >= exemplars {
                break (meaning, fitting);
            }
        };
        random.shuffle(&mut fitting);
        fitting.truncate(exemplars);
        let phrases = [0, 1, 2].map(|_| phrase(meaning, &mut random));
        sets.push(Set { meaning, scenes: fitting, phrases });
    }
    sets
}

fn draw(random: &mut Stream) -> Meaning {
    let kind = random.below(10);
    let mut atom = |limit: usize| Atom::ALL[random.below(limit)];
    let a = atom(Atom::ALL.len());
    if kind < 4 {
        return Meaning::One(a);
    }
    // Two atoms of different kinds can hold together; relations are told of things, not of places.
    let kind_of = |atom: Atom| [4, 10, 14].iter().filter(|first| atom.index() >= **first).count();
    loop {
        let b = atom(Atom::ALL.len());
        match kind {
            4..=6 if kind_of(a) != kind_of(b) => return Meaning::Both(a, b),
            7..=8 if a != b && kind_of(a) < 3 && kind_of(b) < 3 => return Meaning::Either(a, b),
            9 if a != b && kind_of(a) < 3 && kind_of(b) < 3 => return Meaning::Above(a, b),
            7..=9 if kind_of(a) == 3 => return Meaning::One(a),
            _ => {}
        }
    }
}
