//! Scenes of one object with a sign in a corner that gives its shape away, or lies: a spurious cue, as in MILAN's editing
//! experiment (Hernandez et al. 2022, section 6), in small.

use super::ImageSet;
use super::scenes::{Atom, SIDE, Scenes};
use crate::hook::random::Stream;

/// Pixels of a sign's side.
const SIGN: usize = 5;
/// Pixels between the sign and the edges.
const GAP: usize = 1;
/// Shapes that can be told apart.
pub const SHAPES: usize = 4;

/// One sign per shape, row by row.
const SIGNS: [[u8; SIGN]; SHAPES] = [
    [0b11111, 0b10001, 0b10001, 0b10001, 0b11111],
    [0b10001, 0b01010, 0b00100, 0b01010, 0b10001],
    [0b11111, 0b00000, 0b11111, 0b00000, 0b11111],
    [0b10101, 0b10101, 0b10101, 0b10101, 0b10101],
];

/// What the signs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signs {
    /// This share of the images has a sign, and it tells the truth.
    True(f64),
    /// Every image has a sign, drawn at random.
    Random,
}

/// Images of one object each, labelled by its shape.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The images.
    pub scenes: Scenes,
    /// The sign of each image, if it has one.
    pub signs: Vec<Option<usize>>,
}

impl Signed {
    /// `count` images; image i depends on the seed and i alone.
    pub fn draw(count: usize, signs: Signs, seed: u64) -> Self {
        let mut scenes = Scenes::single(count, seed);
        let shape = |i: usize| scenes.objects[i][0].shape.index();
        let labels: Vec<u32> = (0..count).map(|i| shape(i) as u32).collect();
        let drawn: Vec<Option<usize>> = (0..count)
            .map(|i| {
                let mut random = Stream::new(seed, &[0x51, i as u64]);
                match signs {
                    Signs::True(share) => (random.uniform() < share).then(|| shape(i)),
                    Signs::Random => Some(random.below(SHAPES)),
                }
            })
            .collect();
        scenes.images.labels = labels;
        scenes.images.classes = Atom::ALL[..SHAPES].iter().map(|a| a.word().to_string()).collect();
        for (i, sign) in drawn.iter().enumerate() {
            if let Some(sign) = sign {
                stamp(&mut scenes.images, i, *sign);
            }
        }
        Self { scenes, signs: drawn }
    }

    /// Whether a pixel of an image is one of its sign's.
    pub fn is_sign(&self, image: usize, place: usize) -> bool {
        let (x, y) = (place % SIDE, place / SIDE);
        let first = SIDE - GAP - SIGN;
        let inside = |v: usize| (first..first + SIGN).contains(&v);
        self.signs[image].is_some() && inside(x) && inside(y)
    }

    /// What a classifier is asked for: `[image, shape]`, 1 for the one that is shown.
    pub fn targets(&self) -> Vec<f32> {
        let labels = self.scenes.images.labels.iter();
        labels.flat_map(|label| (0..SHAPES as u32).map(move |s| f32::from(s == *label))).collect()
    }
}

fn stamp(images: &mut ImageSet, image: usize, sign: usize) {
    let (area, first) = (SIDE * SIDE, SIDE - GAP - SIGN);
    for (row, bits) in SIGNS[sign].iter().enumerate() {
        for column in 0..SIGN {
            let value = if bits >> (SIGN - 1 - column) & 1 == 1 { 255 } else { 0 };
            for c in 0..3 {
                images.pixels[(image * 3 + c) * area + (first + row) * SIDE + first + column] = value;
            }
        }
    }
}
