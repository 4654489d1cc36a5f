//! A norm with its taps.

use candle_core::Tensor;

use super::sites::NormSites;
use crate::Result;
use crate::hook::{Form, Tap};
use crate::nn::{Norm, Want};

/// A norm and its sites.
#[derive(Clone, Debug)]
pub(in crate::models) struct TappedNorm {
    pub norm: Norm,
    pub site: NormSites,
}

impl TappedNorm {
    /// `[.., D] -> [.., D]`, tapped at scale, normalized and out.
    pub fn forward(&self, x: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let site = &self.site;
        let opens = site.opens(tap);
        if opens || (tap.form() == Form::Differentiable && site.watched(tap)) {
            let centered = self.norm.center(x)?;
            let scale = tap.at(site.scale, self.norm.scale(&centered)?)?;
            let normalized = tap.at(site.normalized, self.norm.normalized(&centered, &scale)?)?;
            if opens {
                return tap.at(site.out, self.norm.affine(&normalized)?);
            }
        }
        if tap.form() == Form::Differentiable {
            // Not from the values above: who looks on must not change a bit.
            return tap.at(site.out, self.norm.forward(x, Form::Differentiable)?);
        }
        let want = Want { scale: tap.wants(site.scale), normalized: tap.wants(site.normalized) };
        let parts = self.norm.fused(x, want)?;
        if let Some(scale) = parts.scale {
            tap.at(site.scale, scale)?;
        }
        if let Some(normalized) = parts.normalized {
            tap.at(site.normalized, normalized)?;
        }
        tap.at(site.out, parts.out)
    }

    /// The same without taps: for inputs that were split by head.
    pub fn quiet(&self, x: &Tensor, form: Form) -> Result<Tensor> {
        self.norm.forward(x, form)
    }
}
