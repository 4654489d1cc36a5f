//! The channels of a convolutional network as units: where each is active, and the images that excite it most.
//!
//! As MILAN has it (Hernandez et al. 2022, section 3): a unit's exemplars are the k images with the largest maximum of its
//! map; its level is the 0.99 quantile of its activations over all places of all images; a place is active where the map,
//! scaled bilinearly to the image, exceeds the level.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::label::Bits;
use crate::data::ImageSet;
use crate::hook::reduce::{HistogramSpec, Observation, Reducer, ReducerSpec};
use crate::hook::{Pass, Record, Registry};
use crate::models::{Convolutional, Input, execute::observe};
use crate::report::Progress;
use crate::{Error, Result};

/// Images of a forward pass.
const BATCH: usize = 64;

/// The share of places that are not active.
pub const QUANTILE: f64 = 0.99;

/// Exemplars of a unit.
pub const EXEMPLARS: usize = 15;

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// The convolution.
    pub layer: usize,
    /// Its channel.
    pub channel: usize,
    /// The level above which it counts as active.
    pub level: f32,
    /// (largest activation, image), the largest first, at most one entry an image.
    pub top: Vec<(f32, usize)>,
}

impl Unit {
    /// As the selector of a site says it.
    pub fn name(&self) -> String {
        format!("conv.{}.hook_post[channel={}]", self.layer, self.channel)
    }
}

/// Where maps come from: a network, or units that were made up.
pub trait Maps {
    /// Channels of each layer.
    fn channels(&self) -> Vec<usize>;
    /// How many images there are.
    fn images(&self) -> usize;
    /// Height and width of an image.
    fn size(&self) -> [usize; 2];
    /// The maps `[image, channel, y, x]` of every layer for some images.
    ///
    /// # Errors
    /// Images that the source cannot take.
    fn maps(&self, at: &[usize]) -> Result<Vec<Tensor>>;
}

/// The maps of a network.
pub struct NetworkMaps<'a> {
    /// The network.
    pub net: &'a Convolutional,
    /// Its images.
    pub set: &'a ImageSet,
}

impl Maps for NetworkMaps<'_> {
    fn channels(&self) -> Vec<usize> {
        self.net.config().layers.iter().map(|l| l.channels).collect()
    }

    fn images(&self) -> usize {
        self.set.len()
    }

    fn size(&self) -> [usize; 2] {
        [self.set.shape[1], self.set.shape[2]]
    }

    fn maps(&self, at: &[usize]) -> Result<Vec<Tensor>> {
        let site = |l: usize| format!("conv.{l}.hook_post");
        let layers = self.net.config().layers.len();
        let records: Result<Vec<Record>> = (0..layers).map(|l| Ok(Record::whole(site(l).parse()?))).collect();
        let pass = Pass { name: "run".into(), records: records?, ..Pass::default() };
        let records = observe(self.net, &Input::Images(self.set.batch(at)?), &pass, &Registry::elementary())?.records;
        (0..layers).map(|l| Ok(records.get(&site(l))?.clone())).collect()
    }
}

/// Every unit with its level and exemplars. Memory does not grow with the number of images.
///
/// # Errors
/// No images, images of another size than the network's.
pub fn units(source: &dyn Maps, exemplars: usize, progress: &Progress) -> Result<Vec<Unit>> {
    if source.images() == 0 {
        return Err(Error::invalid("there are no images to look at", "give at least one"));
    }
    let channels = source.channels();
    let spec = ReducerSpec::Histogram(HistogramSpec { octaves: [-14, 16], divisions: 16 });
    let mut levels = channels.iter().map(|c| spec.build(*c)).collect::<Result<Vec<Reducer>>>()?;
    let mut tops: Vec<Vec<Vec<(f32, usize)>>> = channels.iter().map(|c| vec![Vec::new(); *c]).collect();
    let all: Vec<usize> = (0..source.images()).collect();
    progress.begin(all.len() as u64);
    for at in all.chunks(BATCH) {
        for ((map, level), tops) in source.maps(at)?.iter().zip(&mut levels).zip(&mut tops) {
            observe_places(level, map, at)?;
            let (rows, channels, ..) = map.dims4()?;
            let most: Vec<f32> = map.flatten_from(2)?.max(2)?.flatten_all()?.to_vec1()?; // [rows, channels]
            for (row, image) in at.iter().enumerate().take(rows) {
                for (channel, top) in tops.iter_mut().enumerate() {
                    enter(top, (most[row * channels + channel], *image), exemplars);
                }
            }
        }
        progress.advance(at.len() as u64);
    }
    let mut units = Vec::new();
    for (layer, (level, tops)) in levels.iter().zip(tops).enumerate() {
        let Reducer::Histogram(histogram) = level else { continue };
        for (channel, top) in tops.into_iter().enumerate() {
            let level = histogram.quantile(channel, QUANTILE).map_or(f32::INFINITY, |q| q.value as f32);
            units.push(Unit { layer, channel, level, top });
        }
    }
    Ok(units)
}

/// Takes an entry into a list of the largest, ties by the smaller image.
fn enter(top: &mut Vec<(f32, usize)>, entry: (f32, usize), most: usize) {
    let at = top.partition_point(|t| t.0 > entry.0 || (t.0 == entry.0 && t.1 < entry.1));
    if at < most {
        top.insert(at, entry);
        top.truncate(most);
    }
}

/// A map's places as positions of a reducer.
fn observe_places(reducer: &mut Reducer, map: &Tensor, images: &[usize]) -> Result<()> {
    let (rows, width, h, w) = map.dims4()?;
    let pos = h * w;
    let values: Vec<f32> = map.permute((0, 2, 3, 1))?.contiguous()?.flatten_all()?.to_vec1()?; // [rows, pos, width]
    let documents: Vec<u64> = images.iter().map(|i| *i as u64).collect();
    let positions: Vec<u32> = (0..rows).flat_map(|_| 0..pos as u32).collect();
    reducer.observe(&Observation {
        values: &values,
        rows,
        pos,
        width,
        keep: &vec![true; rows * pos],
        tokens: &vec![0; rows * pos],
        documents: &documents,
        positions: &positions,
    })
}

/// A map `[h, w]` scaled bilinearly to `[height, width]`, corners not aligned.
pub fn scaled(map: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let places = |from: usize, to: usize| -> Vec<(usize, usize, f32)> {
        let at = |i: usize| ((i as f32 + 0.5) * from as f32 / to as f32 - 0.5).max(0.0);
        let split = |x: f32| (x as usize, (x as usize + 1).min(from - 1), x.fract());
        (0..to).map(|i| split(at(i))).collect()
    };
    let (across, down) = (places(w, width), places(h, height));
    let mut image = Vec::with_capacity(height * width);
    for (y0, y1, fy) in down {
        for (x0, x1, fx) in &across {
            let mix = |row: usize| map[row * w + x0] * (1.0 - fx) + map[row * w + x1] * fx;
            image.push(mix(y0) * (1.0 - fy) + mix(y1) * fy);
        }
    }
    image
}

/// Where each unit is active, over `[image, y, x]` of the source's images.
///
/// # Errors
/// Images that the source cannot take.
pub fn active_places(source: &dyn Maps, units: &[Unit], progress: &Progress) -> Result<Vec<Bits>> {
    let [height, width] = source.size();
    let area = height * width;
    let all: Vec<usize> = (0..source.images()).collect();
    let mut masks = vec![Bits::new(all.len() * area); units.len()];
    progress.begin(all.len() as u64);
    for at in all.chunks(BATCH) {
        let maps = source.maps(at)?;
        let values: Result<Vec<Vec<f32>>> = maps.iter().map(|m| Ok(m.flatten_all()?.to_vec1()?)).collect();
        let (values, first) = (values?, at[0]);
        masks.par_iter_mut().zip(units).for_each(|(mask, unit)| {
            let [channels, h, w] = [1, 2, 3].map(|axis| maps[unit.layer].dims()[axis]);
            for row in 0..at.len() {
                let map = &values[unit.layer][(row * channels + unit.channel) * h * w..][..h * w];
                // Most maps reach the level nowhere.
                if map.iter().all(|a| *a <= unit.level) {
                    continue;
                }
                let image = scaled(map, [h, w], [height, width]);
                let places = image.iter().enumerate().filter(|(_, a)| **a > unit.level);
                places.for_each(|(place, _)| mask.insert((first + row) * area + place));
            }
        });
        progress.advance(at.len() as u64);
    }
    Ok(masks)
}

/// The masks `[image, y, x]` of a unit's exemplars, each image's in a list of its own.
///
/// # Errors
/// Images of another size than the network's.
pub fn exemplar_masks(source: &dyn Maps, unit: &Unit) -> Result<Vec<Vec<bool>>> {
    let at: Vec<usize> = unit.top.iter().map(|t| t.1).collect();
    let map = source.maps(&at)?.swap_remove(unit.layer);
    let (_, _, h, w) = map.dims4()?;
    let own: Vec<f32> = map.narrow(1, unit.channel, 1)?.contiguous()?.flatten_all()?.to_vec1()?;
    let mask = |map: &[f32]| scaled(map, [h, w], source.size()).iter().map(|a| *a > unit.level).collect();
    Ok(own.chunks_exact(h * w).map(mask).collect())
}

/// A mask `[height, width]` in the size of a map `[h, w]`: the share of each place that is marked, all together 1. A mask
/// without a marked pixel is even.
pub fn scaled_mask(mask: &[bool], [height, width]: [usize; 2], [h, w]: [usize; 2]) -> Vec<f32> {
    let mut sums = vec![0f32; h * w];
    for (at, _) in mask.iter().enumerate().filter(|(_, marked)| **marked) {
        let (y, x) = (at / width * h / height, at % width * w / width);
        sums[y * w + x] += 1.0;
    }
    let total: f32 = sums.iter().sum();
    match total > 0.0 {
        true => sums.iter().map(|s| s / total).collect(),
        false => vec![((h * w) as f32).recip(); h * w],
    }
}
