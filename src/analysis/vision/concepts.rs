//! Concepts that are there or not at every pixel, and formulas of them: labels that can be checked without a model
//! (NetDissect, Bau et al. 2017; compositional explanations, Mu and Andreas 2020).

use serde::{Deserialize, Serialize};

use super::super::label::{Bits, Overlap};
use crate::data::ImageSet;
use crate::data::scenes::{Atom, Scenes};

/// Named sets of pixels over a set of images.
#[derive(Clone, Debug)]
pub struct Concepts {
    /// What they are called.
    pub names: Vec<String>,
    /// Where each is, over `[image, y, x]`.
    pub masks: Vec<Bits>,
    /// Whether a concept is a property of whole images.
    pub whole: Vec<bool>,
}

impl Concepts {
    /// What is known of scenes: the atoms of their objects.
    pub fn of_scenes(scenes: &Scenes) -> Self {
        let area = scenes.owner.len() / scenes.len().max(1);
        let mask = |atom: &Atom| {
            Bits::from_fn(scenes.owner.len(), |at| match scenes.owner[at] {
                0 => false,
                object => scenes.objects[at / area][usize::from(object) - 1].is(*atom),
            })
        };
        Self {
            names: Atom::ALL.iter().map(|a| a.word().to_string()).collect(),
            masks: Atom::ALL.iter().map(mask).collect(),
            whole: vec![false; Atom::ALL.len()],
        }
    }

    /// What any image has: colours, light, edges by direction, places; and its class, where that is known.
    pub fn of_images(set: &ImageSet) -> Self {
        let [_, height, width] = set.shape;
        let area = height * width;
        let pixels = set.len() * area;
        let mut concepts = Self { names: Vec::new(), masks: Vec::new(), whole: Vec::new() };
        let views: Vec<View> = (0..set.len()).map(|i| View::new(set, i)).collect();
        let mut add = |name: &str, holds: &dyn Fn(&View, usize, usize) -> bool| {
            concepts.names.push(name.to_string());
            concepts.whole.push(false);
            let mask = |at: usize| holds(&views[at / area], at % area % width, at % area / width);
            concepts.masks.push(Bits::from_fn(pixels, mask));
        };
        add("dark", &|v, x, y| v.light(x, y) < 64.0);
        add("bright", &|v, x, y| v.light(x, y) > 191.0);
        if set.shape[0] == 3 {
            for (hue, name) in HUES.iter().enumerate() {
                add(name, &move |v, x, y| v.hue(x, y) == Some(hue));
            }
            add("colourless", &|v, x, y| v.hue(x, y).is_none());
        }
        for (direction, name) in EDGES.iter().enumerate() {
            add(name, &move |v, x, y| v.edge(x, y) == Some(direction));
        }
        add("even", &|v, x, y| v.slope(x, y).0 < 8.0);
        add("left", &move |_, x, _| 3 * x < width);
        add("right", &move |_, x, _| 3 * x >= 2 * width);
        add("top", &move |_, _, y| 3 * y < height);
        add("bottom", &move |_, _, y| 3 * y >= 2 * height);
        add("border", &move |_, x, y| x < 2 || y < 2 || x + 2 >= width || y + 2 >= height);
        let classes = set.labels.iter().max().map_or(0, |most| *most as usize + 1);
        for class in 0..classes {
            let name = set.classes.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
            concepts.names.push(name);
            concepts.whole.push(true);
            concepts.masks.push(Bits::from_fn(pixels, |at| set.labels[at / area] as usize == class));
        }
        concepts
    }

    /// Where a formula holds.
    pub fn mask(&self, formula: &Formula) -> Bits {
        match formula {
            Formula::Is(concept) => self.masks[*concept].clone(),
            Formula::And(rest, concept) => self.mask(rest).and(&self.masks[*concept]),
            Formula::Or(rest, concept) => self.mask(rest).or(&self.masks[*concept]),
            Formula::AndNot(rest, concept) => self.mask(rest).and_not(&self.masks[*concept]),
        }
    }

    /// A formula in words.
    pub fn words(&self, formula: &Formula) -> String {
        match formula {
            Formula::Is(concept) => self.names[*concept].clone(),
            Formula::And(rest, concept) => format!("{} and {}", self.inner(rest), self.names[*concept]),
            Formula::Or(rest, concept) => format!("{} or {}", self.inner(rest), self.names[*concept]),
            Formula::AndNot(rest, concept) => format!("{} but not {}", self.inner(rest), self.names[*concept]),
        }
    }

    fn inner(&self, formula: &Formula) -> String {
        match formula {
            Formula::Is(_) => self.words(formula),
            _ => format!("({})", self.words(formula)),
        }
    }
}

/// A formula of concepts, by their indices, grown from the left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// A concept.
    Is(usize),
    /// Both.
    And(Box<Formula>, usize),
    /// One of them.
    Or(Box<Formula>, usize),
    /// The first without the second.
    AndNot(Box<Formula>, usize),
}

impl Formula {
    /// The concepts in it, in order.
    pub fn concepts(&self) -> Vec<usize> {
        match self {
            Self::Is(concept) => vec![*concept],
            Self::And(rest, concept) | Self::Or(rest, concept) | Self::AndNot(rest, concept) => {
                let mut all = rest.concepts();
                all.push(*concept);
                all
            }
        }
    }

    /// The concepts whose presence it asks for: all but those that it takes out.
    pub fn present(&self) -> Vec<usize> {
        match self {
            Self::Is(concept) => vec![*concept],
            Self::AndNot(rest, _) => rest.present(),
            Self::And(rest, concept) | Self::Or(rest, concept) => {
                let mut all = rest.present();
                all.push(*concept);
                all
            }
        }
    }

    /// How many concepts it names.
    pub fn length(&self) -> usize {
        self.concepts().len()
    }
}

/// The formula of at most `length` concepts that has the largest IoU with the places `active`, by a beam of `beam`; with
/// its IoU. Shorter ones win ties. `None` where no concept meets the places.
pub fn best_formula(concepts: &Concepts, active: &Bits, length: usize, beam: usize) -> Option<(Formula, f64)> {
    let mut kept: Vec<(f64, Formula, Bits)> = Vec::new();
    let iou = |mask: &Bits| Overlap::of(mask, active).iou();
    let mut best: Option<(Formula, f64)> = None;
    for step in 0..length {
        let mut grown: Vec<(f64, Formula, Bits)> = Vec::new();
        for (c, own) in concepts.masks.iter().enumerate() {
            if step == 0 {
                grown.push((iou(own), Formula::Is(c), own.clone()));
                continue;
            }
            for (_, formula, mask) in kept.iter().filter(|k| !k.1.concepts().contains(&c)) {
                let rest = || Box::new(formula.clone());
                let and = mask.and(own);
                let without = mask.and_not(own);
                grown.push((iou(&and), Formula::And(rest(), c), and));
                grown.push((iou(&without), Formula::AndNot(rest(), c), without));
                let or = mask.or(own);
                grown.push((iou(&or), Formula::Or(rest(), c), or));
            }
            // Only the beam is worth its memory.
            if grown.len() > 4 * beam {
                keep(&mut grown, beam);
            }
        }
        keep(&mut grown, beam);
        if let Some((score, formula, _)) = grown.first()
            && *score > best.as_ref().map_or(0.0, |b| b.1)
        {
            best = Some((formula.clone(), *score));
        }
        kept = grown;
    }
    best
}

fn keep(grown: &mut Vec<(f64, Formula, Bits)>, beam: usize) {
    grown.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    grown.truncate(beam);
}

/// Names of hues, sixty degrees each, red in the middle of the first.
const HUES: [&str; 6] = ["red", "yellow", "green", "cyan", "blue", "magenta"];
/// Directions of edges, forty-five degrees each.
const EDGES: [&str; 4] = ["vertical edge", "falling edge", "horizontal edge", "rising edge"];

/// The pixels of one image.
struct View<'a> {
    pixels: &'a [u8],
    shape: [usize; 3],
}

impl<'a> View<'a> {
    fn new(set: &'a ImageSet, at: usize) -> Self {
        Self { pixels: set.image(at), shape: set.shape }
    }

    fn rgb(&self, x: usize, y: usize) -> [f64; 3] {
        let [channels, height, width] = self.shape;
        [0, 1, 2].map(|c: usize| f64::from(self.pixels[(c.min(channels - 1) * height + y) * width + x]))
    }

    fn light(&self, x: usize, y: usize) -> f64 {
        let [r, g, b] = self.rgb(x, y);
        0.299 * r + 0.587 * g + 0.114 * b
    }

    /// The sixth of the colour circle; `None` where there is hardly a colour.
    fn hue(&self, x: usize, y: usize) -> Option<usize> {
        let [r, g, b] = self.rgb(x, y);
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = most - least;
        if range < 40.0 || range < 0.25 * most {
            return None;
        }
        let hue = if most == r {
            (g - b) / range
        } else if most == g {
            2.0 + (b - r) / range
        } else {
            4.0 + (r - g) / range
        };
        Some((hue + 6.5).rem_euclid(6.0) as usize % 6)
    }

    /// Length and angle of the light's slope (Sobel's operator over 8).
    fn slope(&self, x: usize, y: usize) -> (f64, f64) {
        let [_, height, width] = self.shape;
        let at = |dx: isize, dy: isize| {
            let inside = |v: usize, d: isize, side: usize| v.saturating_add_signed(d).min(side - 1);
            self.light(inside(x, dx, width), inside(y, dy, height))
        };
        let across = at(1, -1) + 2.0 * at(1, 0) + at(1, 1) - at(-1, -1) - 2.0 * at(-1, 0) - at(-1, 1);
        let down = at(-1, 1) + 2.0 * at(0, 1) + at(1, 1) - at(-1, -1) - 2.0 * at(0, -1) - at(1, -1);
        ((across.hypot(down)) / 8.0, down.atan2(across))
    }

    fn edge(&self, x: usize, y: usize) -> Option<usize> {
        let (length, angle) = self.slope(x, y);
        let eighth = std::f64::consts::FRAC_PI_4;
        (length >= 16.0).then(|| ((angle / eighth).round() as isize).rem_euclid(4) as usize)
    }
}
