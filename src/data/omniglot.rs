//! Handwritten characters (Omniglot: Lake, Salakhutdinov and Tenenbaum 2015), as exemplars of the few-shot task.
//!
//! A set is two files. `NAME.bits` holds images of 105 x 105 pixels, 1,379 bytes each: bits row by row, the most
//! significant first, 1 for ink, 7 zero bits at the end. `NAME.csv` says whose they are, one line per image:
//! `index,alphabet,character,drawer,file`.
//!
//! Features are the share of ink in squares of 5 x 5 pixels, 441 of them, minus their mean over all images and over the
//! standard deviation of all: as large as the Gaussian exemplars' on average.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::fewshot::{FewShot, FewShotConfig};
use crate::hook::random::Stream;
use crate::{Error, Result};

/// Pixels of a side.
pub(super) const SIDE: usize = 105;
/// Bytes of an image.
const BYTES: usize = (SIDE * SIDE).div_ceil(8);
/// Pixels of a square's side.
const SQUARE: usize = 5;
/// Features of an image.
const WIDTH: usize = (SIDE / SQUARE) * (SIDE / SQUARE);

/// Characters with the features of their drawings.
#[derive(Clone, Debug)]
pub struct Omniglot {
    /// By alphabet and character: one row of features per drawer, in their order.
    characters: BTreeMap<(String, String), Vec<Vec<f32>>>,
    /// Drawings that every character has.
    drawers: usize,
}

impl Omniglot {
    /// Reads sets, each a `.bits` and a `.csv` file. A character that two sets have is taken from the first.
    ///
    /// # Errors
    /// Files that cannot be read, that do not hold whole images, or whose lines do not fit the images.
    pub fn read(sets: &[(&Path, &Path)]) -> Result<Self> {
        let mut characters: BTreeMap<(String, String), Vec<Vec<f32>>> = BTreeMap::new();
        for (bits, csv) in sets {
            let mut own: BTreeMap<(String, String), Vec<Vec<f32>>> = BTreeMap::new();
            for (character, features) in read_set(bits, csv)? {
                own.entry(character).or_default().push(features);
            }
            for (character, drawings) in own {
                characters.entry(character).or_insert(drawings);
            }
        }
        let drawers = characters.values().map(Vec::len).min().unwrap_or(0);
        if drawers == 0 {
            return Err(Error::invalid("there is no image of a character", "name a `.bits` and a `.csv` file"));
        }
        let mut omniglot = Self { characters, drawers };
        omniglot.standardise();
        Ok(omniglot)
    }

    fn standardise(&mut self) {
        let images = || self.characters.values().flatten();
        let n = images().count() as f64;
        let mut mean = vec![0f64; WIDTH];
        for image in images() {
            mean.iter_mut().zip(image).for_each(|(m, x)| *m += f64::from(*x) / n);
        }
        let spread = |image: &Vec<f32>| image.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>();
        let deviation = (images().map(spread).sum::<f64>() / (n * WIDTH as f64)).sqrt().max(1e-12);
        for image in self.characters.values_mut().flatten() {
            image.iter_mut().zip(&mean).for_each(|(x, m)| *x = ((f64::from(*x) - m) / deviation) as f32);
        }
    }

    /// How many characters there are.
    pub fn characters(&self) -> usize {
        self.characters.len()
    }

    /// The sizes of a task with these characters: all drawers, the first one's drawings for training.
    pub fn sizes(&self, classes: usize, held_out: usize, labels: usize, seed: u64) -> FewShotConfig {
        FewShotConfig { classes, held_out, labels, per_class: self.drawers, width: WIDTH, seed }
    }

    /// The task: characters in an order drawn from its seed.
    ///
    /// # Errors
    /// More classes than characters, sizes that are not [`Omniglot::sizes`], and what [`FewShot::of_exemplars`] refuses.
    pub fn few_shot(&self, config: FewShotConfig) -> Result<FewShot> {
        let wanted = config.classes + config.held_out;
        if wanted > self.characters.len() || config.per_class > self.drawers || config.width != WIDTH {
            return Err(Error::invalid(
                format!(
                    "a task of {wanted} characters by {} drawers with {} features; there are {} by {} with {WIDTH}",
                    config.per_class,
                    config.width,
                    self.characters.len(),
                    self.drawers
                ),
                "give fewer classes, or more sets of characters",
            ));
        }
        let mut order: Vec<&Vec<Vec<f32>>> = self.characters.values().collect();
        Stream::new(config.seed, &[6]).shuffle(&mut order);
        let rows = order.into_iter().take(wanted).flat_map(|drawings| drawings.iter().take(config.per_class));
        let values: Vec<f32> = rows.flatten().copied().collect();
        let exemplars = Tensor::from_vec(values, (wanted * config.per_class, WIDTH), &Device::Cpu)?;
        FewShot::of_exemplars(config, exemplars)
    }
}

type Labelled = ((String, String), Vec<f32>);

fn read_set(bits: &Path, csv: &Path) -> Result<Vec<Labelled>> {
    let data = std::fs::read(bits).map_err(Error::io(bits))?;
    let images = drawings(bits, &data)?;
    let text = std::fs::read_to_string(csv).map_err(Error::io(csv))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|c| c.trim() == name)
            .ok_or_else(|| Error::file(csv, format!("there is no column `{name}`"), "the first line names the columns"))
    };
    let (alphabet, character) = (column("alphabet")?, column("character")?);
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    if lines.len() != data.len() / BYTES {
        return Err(Error::file(
            csv,
            format!("{} lines for the {} images of {}", lines.len(), data.len() / BYTES, bits.display()),
            "take both files from one set",
        ));
    }
    let labelled = |(at, (line, image)): (usize, (&str, &[u8]))| -> Result<Labelled> {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |i: usize| {
            fields.get(i).map(|f| f.trim().to_string()).ok_or_else(|| {
                Error::file(csv, format!("line {} has {} fields", at + 2, fields.len()), "give one for each column")
            })
        };
        Ok(((field(alphabet)?, field(character)?), features(image)))
    };
    lines.into_iter().zip(images).enumerate().map(labelled).collect()
}

/// The share of ink in every square.
/// The drawings of a `.bits` file's content.
pub(super) fn drawings<'a>(path: &Path, content: &'a [u8]) -> Result<impl Iterator<Item = &'a [u8]>> {
    if content.is_empty() || !content.len().is_multiple_of(BYTES) {
        return Err(Error::file(
            path,
            format!("{} bytes are no whole number of images of {BYTES} bytes", content.len()),
            "the file is cut off, or holds images of another size",
        ));
    }
    Ok(content.chunks_exact(BYTES))
}

/// Whether there is ink at a pixel of a drawing, counted row by row.
pub(super) fn ink(drawing: &[u8], pixel: usize) -> bool {
    drawing[pixel / 8] >> (7 - pixel % 8) & 1 == 1
}

fn features(image: &[u8]) -> Vec<f32> {
    let squares = SIDE / SQUARE;
    let mut shares = vec![0f32; WIDTH];
    for pixel in 0..SIDE * SIDE {
        if ink(image, pixel) {
            shares[pixel / SIDE / SQUARE * squares + pixel % SIDE / SQUARE] += 1.0 / (SQUARE * SQUARE) as f32;
        }
    }
    shares
}
