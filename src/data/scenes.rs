//! Images whose every pixel is known: one to three objects of a shape, a colour and a texture on a noisy ground, in
//! four places (the synthetic set of the method card of paper 31, MILAN).
//!
//! 32 x 32 pixels in colours. Objects lie in different quarters of the image, so none hides another; where an object
//! lies is told by its quarter.

use serde::{Deserialize, Serialize};

use super::ImageSet;
use crate::hook::random::Stream;

/// Pixels of a side.
pub const SIDE: usize = 32;

/// What an object, or a pixel of it, can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    /// A disc.
    Circle,
    /// A square.
    Square,
    /// A triangle that stands on a side.
    Triangle,
    /// An upright cross.
    Cross,
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// White.
    White,
    /// Grey.
    Grey,
    /// Evenly filled.
    Solid,
    /// Lines across.
    Striped,
    /// A chessboard.
    Checked,
    /// Bright points.
    Dotted,
    /// In the left half.
    Left,
    /// In the right half.
    Right,
    /// In the upper half.
    Top,
    /// In the lower half.
    Bottom,
}

impl Atom {
    /// All of them: four shapes, six colours, four textures, four places.
    pub const ALL: [Self; 18] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Cross,
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::White,
        Self::Grey,
        Self::Solid,
        Self::Striped,
        Self::Checked,
        Self::Dotted,
        Self::Left,
        Self::Right,
        Self::Top,
        Self::Bottom,
    ];
    /// Those that a classifier is asked for: all but the places.
    pub const CLASSES: usize = 14;

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Cross => "cross",
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::White => "white",
            Self::Grey => "grey",
            Self::Solid => "solid",
            Self::Striped => "striped",
            Self::Checked => "checked",
            Self::Dotted => "dotted",
            Self::Left => "left",
            Self::Right => "right",
            Self::Top => "top",
            Self::Bottom => "bottom",
        }
    }

    /// Its index in [`Atom::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One object of a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Its shape.
    pub shape: Atom,
    /// Its colour.
    pub colour: Atom,
    /// Its texture.
    pub texture: Atom,
    /// Column and row of its middle.
    pub middle: [f64; 2],
    /// Half its width, in pixels.
    pub radius: f64,
}

impl Object {
    /// Whether the atom is true of it.
    pub fn is(&self, atom: Atom) -> bool {
        let half = SIDE as f64 / 2.0;
        match atom {
            Atom::Left => self.middle[0] < half,
            Atom::Right => self.middle[0] >= half,
            Atom::Top => self.middle[1] < half,
            Atom::Bottom => self.middle[1] >= half,
            other => [self.shape, self.colour, self.texture].contains(&other),
        }
    }

    fn covers(&self, x: usize, y: usize) -> bool {
        let (dx, dy) = (x as f64 - self.middle[0], y as f64 - self.middle[1]);
        let r = self.radius;
        match self.shape {
            Atom::Circle => dx.hypot(dy) <= r,
            Atom::Square => dx.abs().max(dy.abs()) <= 0.85 * r,
            Atom::Triangle => dy.abs() <= r && dx.abs() <= (dy + r) / 2.0,
            _ => dx.abs().max(dy.abs()) <= r && dx.abs().min(dy.abs()) <= 0.3 * r,
        }
    }

    /// How bright a pixel of it is.
    fn light(&self, x: usize, y: usize) -> f64 {
        let bright = match self.texture {
            Atom::Striped => (y / 2).is_multiple_of(2),
            Atom::Checked => (x / 2 + y / 2).is_multiple_of(2),
            Atom::Dotted => x % 3 == 1 && y % 3 == 1,
            _ => true,
        };
        if bright { 1.0 } else { 0.4 }
    }
}

/// Red, green and blue.
fn paint(colour: Atom) -> [f64; 3] {
    match colour {
        Atom::Red => [225.0, 45.0, 45.0],
        Atom::Green => [45.0, 190.0, 60.0],
        Atom::Blue => [55.0, 85.0, 230.0],
        Atom::Yellow => [235.0, 215.0, 45.0],
        Atom::White => [245.0, 245.0, 245.0],
        _ => [140.0, 140.0, 140.0],
    }
}

/// Scenes with their images.
#[derive(Clone, Debug)]
pub struct Scenes {
    /// The images.
    pub images: ImageSet,
    /// The objects of each.
    pub objects: Vec<Vec<Object>>,
    /// Which object each pixel belongs to, counted from 1; 0 is the ground. `[image, y, x]`.
    pub owner: Vec<u8>,
}

impl Scenes {
    /// `count` scenes; scene i depends on `seed` and i alone.
    pub fn draw(count: usize, seed: u64) -> Self {
        Self::with(count, seed, 3, &[0, 1, 2, 3])
    }

    /// `count` scenes of one object each, which is not in the lower right quarter: room for a sign.
    pub(super) fn single(count: usize, seed: u64) -> Self {
        Self::with(count, seed, 1, &[0, 1, 2])
    }

    fn with(count: usize, seed: u64, most: usize, quarters: &[usize]) -> Self {
        let mut scenes = Self {
            images: ImageSet { shape: [3, SIDE, SIDE], pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() },
            objects: Vec::with_capacity(count),
            owner: Vec::with_capacity(count * SIDE * SIDE),
        };
        for i in 0..count {
            let mut random = Stream::new(seed, &[31, i as u64]);
            let objects = objects(&mut random, most, quarters);
            scenes.push(objects, &mut random);
        }
        scenes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether an atom is true of an object of the scene.
    pub fn shows(&self, scene: usize, atom: Atom) -> bool {
        self.objects[scene].iter().any(|o| o.is(atom))
    }

    /// What a classifier is asked for: `[image, class]`, 1 for the atoms that are shown.
    pub fn targets(&self, at: &[usize]) -> Vec<f32> {
        let pairs = at.iter().flat_map(|scene| Atom::ALL[..Atom::CLASSES].iter().map(|atom| (*scene, *atom)));
        pairs.map(|(scene, atom)| f32::from(self.shows(scene, atom))).collect()
    }

    /// Names of the classes.
    pub fn classes() -> Vec<String> {
        Atom::ALL[..Atom::CLASSES].iter().map(|a| a.word().to_string()).collect()
    }

    fn push(&mut self, objects: Vec<Object>, random: &mut Stream) {
        let area = SIDE * SIDE;
        let mut pixels = vec![0u8; 3 * area];
        let ground = 40.0 + 30.0 * random.uniform();
        for at in 0..area {
            let (x, y) = (at % SIDE, at / SIDE);
            let object = objects.iter().position(|o| o.covers(x, y));
            self.owner.push(object.map_or(0, |i| i as u8 + 1));
            for c in 0..3 {
                let value = object.map_or(ground, |i| paint(objects[i].colour)[c] * objects[i].light(x, y));
                pixels[c * area + at] = (value + 30.0 * (random.uniform() - 0.5)).clamp(0.0, 255.0) as u8;
            }
        }
        self.images.pixels.extend(pixels);
        self.objects.push(objects);
    }
}

fn objects(random: &mut Stream, most: usize, quarters: &[usize]) -> Vec<Object> {
    let mut quarters = quarters.to_vec();
    random.shuffle(&mut quarters);
    let many = 1 + random.below(most);
    let mut objects = Vec::with_capacity(many);
    for quarter in quarters.into_iter().take(many) {
        let mut pick = |first: Atom, many: usize| Atom::ALL[first.index() + random.below(many)];
        let (shape, colour, texture) = (pick(Atom::Circle, 4), pick(Atom::Red, 6), pick(Atom::Solid, 4));
        let mut place = |half: usize| half as f64 * 16.0 + 6.5 + 2.0 * random.uniform();
        let middle = [place(quarter % 2), place(quarter / 2)];
        objects.push(Object { shape, colour, texture, middle, radius: 5.0 + 1.5 * random.uniform() });
    }
    objects
}
