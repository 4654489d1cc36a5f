//! One step of all units as a single operation with a backward pass of its own.
//!
//! Composed of Candle's operations, a step of 64 rows and 100 units is a dozen passes over little memory, each with an
//! allocation and a node of the graph; this is one. With i = 1/tau, a = drive + bias + w_in x, g the gradient of the result
//! and f' the slope of the leaky rectifier:
//!
//! ```text
//! around:  z = (1 - i) h + i a,  y = f(z)            d = g f'(z):   dh = (1 - i) d,  da = i d,  di = sum d (a - h)
//! inside:  y = (1 - i) h + i f(a)                                   dh = (1 - i) g,  da = i g f'(a),  di = sum g (f(a) - h)
//! dtau = - i^2 di,   dbias = sum da,   dw_in = sum da x             (sums over rows)
//! ```

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{Leak, SLOPE};

type Candle<T> = candle_core::Result<T>;

/// f(x): x, or a hundredth of it below 0.
pub(super) fn rectify(x: f32) -> f32 {
    if x > 0.0 { x } else { SLOPE * x }
}

fn slope(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { SLOPE }
}

/// The operation on h `[rows, n]`, drive W h `[rows, n]` and the units' tau, bias and w_in, `[3, n]`.
pub(super) struct Step {
    pub leak: Leak,
    /// The input of every row.
    pub x: Vec<f32>,
}

impl CustomOp3 for Step {
    fn name(&self) -> &'static str {
        "leaky-step"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        lh: &Layout,
        drive: &CpuStorage,
        ld: &Layout,
        unit: &CpuStorage,
        lu: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        let (h, drive, unit) = (values(h, lh)?, values(drive, ld)?, values(unit, lu)?);
        let n = unit.len() / 3;
        let (tau, (bias, w_in)) = (&unit[..n], unit[n..].split_at(n));
        let mut y = Vec::with_capacity(h.len());
        for (row, x) in self.x.iter().enumerate() {
            let (h, drive) = (&h[row * n..][..n], &drive[row * n..][..n]);
            for k in 0..n {
                let total = drive[k] + bias[k] + w_in[k] * x;
                let i = 1.0 / tau[k];
                y.push(match self.leak {
                    Leak::Around => rectify(h[k] * (1.0 - i) + total * i),
                    Leak::Inside => h[k] * (1.0 - i) + rectify(total) * i,
                });
            }
        }
        Ok((CpuStorage::F32(y), lh.shape().clone()))
    }

    fn bwd(
        &self,
        h: &Tensor,
        drive: &Tensor,
        unit: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let read = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        let (h_all, drive_all, unit_all) = (read(h)?, read(drive)?, read(unit)?);
        let (y_all, grad_all) = (read(y)?, read(grad)?);
        let n = unit_all.len() / 3;
        let (tau, (bias, w_in)) = (&unit_all[..n], unit_all[n..].split_at(n));
        let (mut dh, mut da) = (vec![0f32; h_all.len()], vec![0f32; h_all.len()]);
        let mut dunit = vec![0f32; 3 * n];
        let (dtau, rest) = dunit.split_at_mut(n);
        let (dbias, dw_in) = rest.split_at_mut(n);
        for (row, x) in self.x.iter().enumerate() {
            let span = row * n..(row + 1) * n;
            let (h, drive, y, g) =
                (&h_all[span.clone()], &drive_all[span.clone()], &y_all[span.clone()], &grad_all[span.clone()]);
            let (dh, da) = (&mut dh[span.clone()], &mut da[span]);
            for k in 0..n {
                let total = drive[k] + bias[k] + w_in[k] * x;
                let i = 1.0 / tau[k];
                let di = match self.leak {
                    Leak::Around => {
                        let d = g[k] * slope(y[k]); // y has the sign of z
                        dh[k] = (1.0 - i) * d;
                        da[k] = i * d;
                        d * (total - h[k])
                    }
                    Leak::Inside => {
                        dh[k] = (1.0 - i) * g[k];
                        da[k] = i * g[k] * slope(total);
                        g[k] * (rectify(total) - h[k])
                    }
                };
                dtau[k] -= i * i * di;
                dbias[k] += da[k];
                dw_in[k] += da[k] * x;
            }
        }
        let like = |values: Vec<f32>, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device());
        Ok((Some(like(dh, h)?), Some(like(da, drive)?), Some(like(dunit, unit)?)))
    }
}

/// The numbers of a contiguous argument.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Candle<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("leaky-step takes contiguous tensors"),
    }
}
