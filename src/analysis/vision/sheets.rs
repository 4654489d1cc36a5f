//! Exemplar sheets: a unit's most exciting images, dark where the unit is not active.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::names::Named;
use super::units::{Maps, Unit, exemplar_masks};
use crate::data::ImageSet;
use crate::report::chart::{Framed, PictureRow};
use crate::{Error, Result};

/// How bright the pixels are at which a unit is not active.
const DIM: f32 = 0.3;

/// The first `count` exemplars of a unit as pictures.
///
/// # Errors
/// Images that the source cannot take.
pub fn sheet(source: &dyn Maps, set: &ImageSet, named: &Named, count: usize) -> Result<PictureRow> {
    let unit = Unit { top: named.unit.top.iter().take(count).copied().collect(), ..named.unit.clone() };
    let masks = exemplar_masks(source, &unit)?;
    let frame = |((activation, image), mask): (&(f32, usize), Vec<bool>)| -> Result<Framed> {
        let mut picture = set.picture(*image);
        for (pixel, active) in picture.rgb.chunks_exact_mut(3).zip(&mask) {
            let light = if *active { 1.0 } else { DIM };
            pixel.iter_mut().for_each(|p| *p = (f32::from(*p) * light) as u8);
        }
        let png = picture.encode().map_err(|e| Error::invalid(format!("a picture: {e}"), "report this defect"))?;
        Ok(Framed { png: STANDARD.encode(png), note: format!("image {image}, activation {activation:.3}") })
    };
    let pictures = unit.top.iter().zip(masks).map(frame).collect::<Result<Vec<_>>>()?;
    let name = format!("conv {} channel {}: {} (IoU {:.2})", unit.layer, unit.channel, named.label, named.iou);
    Ok(PictureRow { name, pictures })
}
