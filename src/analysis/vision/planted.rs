//! Units that were made up, whose label is known: a concept's mask with noise.

use candle_core::{Device, Tensor};

use super::super::label::Bits;
use super::units::Maps;
use crate::Result;
use crate::hook::random;

/// Maps of units that are active where a concept is: 1 there and 0 elsewhere, with normal noise of `noise`.
pub struct Planted<'a> {
    /// Where each unit's concept is, over `[image, y, x]`.
    pub masks: &'a [Bits],
    /// Height and width of an image.
    pub size: [usize; 2],
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Seed of the noise.
    pub seed: u64,
}

impl Maps for Planted<'_> {
    fn channels(&self) -> Vec<usize> {
        vec![self.masks.len()]
    }

    fn images(&self) -> usize {
        self.masks.first().map_or(0, Bits::universe) / (self.size[0] * self.size[1])
    }

    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn maps(&self, at: &[usize]) -> Result<Vec<Tensor>> {
        let area = self.size[0] * self.size[1];
        let mut values = Vec::with_capacity(at.len() * self.masks.len() * area);
        for image in at {
            for (unit, mask) in self.masks.iter().enumerate() {
                let key = random::key(self.seed, &[unit as u64, *image as u64]);
                values.extend((0..area).map(|place| {
                    let there = f64::from(u8::from(mask.contains(image * area + place)));
                    (there + self.noise * random::normal(random::key(key, &[place as u64]))) as f32
                }));
            }
        }
        let shape = (at.len(), self.masks.len(), self.size[0], self.size[1]);
        Ok(vec![Tensor::from_vec(values, shape, &Device::Cpu)?])
    }
}
