//! Convolution over images, as a matrix product with the image's patches.
//!
//! ```text
//! p[b, (c, i, j), (y, x)] = x[b, c, y s + i - pad, x s + j - pad]      patches, 0 beyond the edges
//! y[b, o, y, x]           = sum over (c, i, j) of w[o, c, i, j] p + bias[o]
//! ```
//!
//! Candle's own convolution spends most of a backward pass in a transposed convolution without a fast kernel; the
//! gradient of the patches is a sum back into the image, which is cheap. Other element types and devices take Candle's.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::Form;
use crate::{Error, Result};

/// A convolution with square kernels.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[out, in, kernel, kernel]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// Pixels between neighbouring patches.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
}

impl Conv2d {
    /// The map of `x` `[b, in, h, w]`: `[b, out, h', w']` with `h' = (h + 2 padding - kernel) / stride + 1`.
    ///
    /// # Errors
    /// Images of another number of channels, or smaller than the kernel.
    pub fn forward(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        let (b, channels, height, width) = x.dims4()?;
        let (out, inputs, kernel, _) = self.weight.dims4()?;
        let least = height.min(width) + 2 * self.padding;
        if channels != inputs || least < kernel {
            return Err(Error::invalid(
                format!("a convolution of {inputs} channels and kernel {kernel} got images {:?}", x.dims()),
                "give images of the size and channels that the network was made for",
            ));
        }
        let unfold = Unfold { kernel, stride: self.stride, padding: self.padding, image: [channels, height, width] };
        let y = if x.device().is_cpu() && x.dtype() == DType::F32 {
            let x = x.contiguous()?;
            let patches = match form {
                Form::Inference => x.apply_op1_no_bwd(&unfold)?,
                Form::Differentiable => x.apply_op1(unfold)?,
            }; // [b, c k k, h' w']
            let weight = self.weight.flatten_from(1)?.to_dtype(DType::F32)?; // [out, c k k]
            let [h, w] = unfold.size();
            weight.broadcast_matmul(&patches)?.reshape((b, out, h, w))?
        } else {
            x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?
        };
        match &self.bias {
            Some(bias) => Ok(y.broadcast_add(&bias.reshape((1, out, 1, 1))?)?),
            None => Ok(y),
        }
    }
}

/// An image's patches.
#[derive(Clone, Copy)]
struct Unfold {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Channels, height, width.
    image: [usize; 3],
}

impl Unfold {
    /// Height and width of the map.
    fn size(&self) -> [usize; 2] {
        let [_, height, width] = self.image;
        [height, width].map(|side| (side + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    /// Calls `on(patch range, image range)` for the parts of rows of the patches that lie inside the image; the pixels
    /// of a part are `stride` apart.
    fn runs(&self, mut on: impl FnMut(std::ops::Range<usize>, usize)) {
        let ([channels, height, width], [h, w]) = (self.image, self.size());
        let k = self.kernel;
        for row in 0..channels * k * k {
            let (c, i, j) = (row / (k * k), row / k % k, row % k);
            // The columns x with 0 <= x s + j - pad < width.
            let first = self.padding.saturating_sub(j).div_ceil(self.stride);
            let end = (width + self.padding).saturating_sub(j).div_ceil(self.stride).min(w);
            if first >= end {
                continue;
            }
            for y in 0..h {
                let Some(line) = (y * self.stride + i).checked_sub(self.padding).filter(|line| *line < height) else {
                    continue;
                };
                let patch = row * h * w + y * w;
                let pixel = (c * height + line) * width + first * self.stride + j - self.padding;
                on(patch + first..patch + end, pixel);
            }
        }
    }

    fn unfold(&self, image: &[f32], patches: &mut [f32]) {
        self.runs(|range, pixel| {
            let pixels = image[pixel..].iter().step_by(self.stride);
            patches[range].iter_mut().zip(pixels).for_each(|(p, x)| *p = *x);
        });
    }

    fn fold(&self, patches: &[f32], image: &mut [f32]) {
        self.runs(|range, pixel| {
            let pixels = image[pixel..].iter_mut().step_by(self.stride);
            patches[range].iter().zip(pixels).for_each(|(p, x)| *x += *p);
        });
    }

    /// Applies `each` to every image of `from`, `many` values in and `out` values made of each.
    fn by_image(from: &[f32], many: usize, out: usize, each: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
        let mut made = vec![0.0; from.len() / many * out];
        made.par_chunks_mut(out).zip(from.par_chunks(many)).for_each(|(made, from)| each(from, made));
        made
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("patches are made of contiguous f32 images");
        };
        let ([channels, height, width], [h, w]) = (self.image, self.size());
        let rows = channels * self.kernel * self.kernel;
        let values = &values[start..end];
        let made =
            Self::by_image(values, channels * height * width, rows * h * w, |image, made| self.unfold(image, made));
        let shape = Shape::from((values.len() / (channels * height * width), rows, h * w));
        Ok((CpuStorage::F32(made), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [channels, height, width] = self.image;
        let patches = grad.dim(1)? * grad.dim(2)?;
        let grad: Vec<f32> = grad.flatten_all()?.to_vec1()?;
        let image = channels * height * width;
        let made = Self::by_image(&grad, patches, image, |patches, image| self.fold(patches, image));
        Ok(Some(Tensor::from_vec(made, x.shape(), x.device())?))
    }
}
