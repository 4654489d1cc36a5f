//! Convolutional classifiers of images, whose channels are units like the neurons of a language model.
//!
//! ```text
//! x = (pixels scale - mean) / std                               hook_image
//! y = norm(conv(x)) [+ shortcut]                                conv.{l}.hook_pre
//! a = relu(y)                                                   conv.{l}.hook_post
//! x = max_pool(a)
//! h = flatten(x), or the mean or maximum of each channel        head.hook_pool
//! logits = h W^T + b                                            head.hook_logits
//! ```
//!
//! Batch norms are in their inference form. An image counts as a row of one position.

mod config;

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};

use super::model::FolderWeights;
use super::transformer::WeightSource;
use super::{Images, Input, Network, OpenOptions, State};
use crate::hook::{Axis, Context, Kind, Site, SiteId, SiteTable, Tap, random};
use crate::nn::{Activation, Conv2d, Form, Layout, Linear};
use crate::store::ModelFolder;
use crate::{Error, Result};

pub use config::{ConvLayer, ConvolutionalConfig, Pool};

/// A batch norm as the linear map that it is once trained: `[1, channels, 1, 1]` each.
struct Scaled {
    gain: Tensor,
    shift: Tensor,
}

struct Layer {
    conv: Conv2d,
    norm: Option<Scaled>,
    /// The stride of the shortcut that ends here.
    shortcut: Option<usize>,
    max_pool: usize,
    pre: SiteId,
    post: SiteId,
}

/// The network with its weights.
pub struct Convolutional {
    config: ConvolutionalConfig,
    table: SiteTable,
    /// What pixels are multiplied with and what is added, `[1, channels, 1, 1]`.
    pixels: Scaled,
    layers: Vec<Layer>,
    head: Linear,
    parameters: Vec<(String, Tensor)>,
    image: SiteId,
    pool: SiteId,
    logits: SiteId,
}

impl Convolutional {
    /// The network with these weights.
    ///
    /// # Errors
    /// Weights that are missing or of the wrong shape.
    pub fn new(config: ConvolutionalConfig, weights: &dyn WeightSource) -> Result<Self> {
        let table = table(&config);
        let mut parameters = Vec::new();
        let mut take = |name: String, shape: &[usize]| -> Result<Tensor> {
            let tensor = weights.tensor(&name, shape)?;
            parameters.push((name, tensor.clone()));
            Ok(tensor)
        };
        let mut layers = Vec::with_capacity(config.layers.len());
        let mut inputs = config.input[0];
        for (l, layer) in config.layers.iter().enumerate() {
            let (name, out) = (&layer.name, layer.channels);
            let weight = take(format!("{name}.weight"), &[out, inputs, layer.kernel, layer.kernel])?;
            let bias = if layer.bias { Some(take(format!("{name}.bias"), &[out])?) } else { None };
            let norm = match &layer.norm {
                None => None,
                Some(norm) => {
                    let mut part = |part: &str| take(format!("{norm}.{part}"), &[out]);
                    let (weight, bias, mean, var) =
                        (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
                    let gain = (weight / (var + config::EPS)?.sqrt()?)?;
                    let shift = (bias - (mean * &gain)?)?;
                    Some(Scaled { gain: gain.reshape((1, out, 1, 1))?, shift: shift.reshape((1, out, 1, 1))? })
                }
            };
            let stride = |l: usize| config.layers[l].stride;
            layers.push(Layer {
                conv: Conv2d { weight, bias, stride: layer.stride, padding: layer.kernel / 2 },
                norm,
                shortcut: layer.shortcut.then(|| stride(l) * stride(l - 1)),
                max_pool: layer.max_pool,
                pre: table.id(&format!("conv.{l}.hook_pre"))?,
                post: table.id(&format!("conv.{l}.hook_post"))?,
            });
            inputs = out;
        }
        let (width, classes) = (config.width(), config.classes.len());
        let weight = take(format!("{}.weight", config.head), &[classes, width])?;
        let bias = Some(take(format!("{}.bias", config.head), &[classes])?);
        let device = weight.device().clone();
        let pixels = pixels(&config, &device)?;
        let [image, pool, logits] = ["hook_image", "head.hook_pool", "head.hook_logits"].map(|name| table.id(name));
        Ok(Self {
            layers,
            head: Linear { weight, bias, layout: Layout::OutIn },
            parameters,
            pixels,
            image: image?,
            pool: pool?,
            logits: logits?,
            table,
            config,
        })
    }

    /// The network of a model folder.
    ///
    /// # Errors
    /// A config of another kind of model, weights that are missing or of the wrong shape.
    pub fn open(folder: &ModelFolder) -> Result<Self> {
        let options = OpenOptions::default();
        let weights = FolderWeights { weights: folder.weights()?, options: &options };
        Self::new(ConvolutionalConfig::read(folder.config())?, &weights)
    }

    /// Variables for a network without batch norms, drawn as He et al. (2015) do: standard deviation sqrt(2 / inputs),
    /// biases 0.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn variables(config: &ConvolutionalConfig, seed: u64) -> Result<BTreeMap<String, Var>> {
        let mut shapes = Vec::new();
        let mut inputs = config.input[0];
        for layer in &config.layers {
            shapes.push((layer.name.clone(), vec![layer.channels, inputs, layer.kernel, layer.kernel]));
            inputs = layer.channels;
        }
        shapes.push((config.head.clone(), vec![config.classes.len(), config.width()]));
        let mut variables = BTreeMap::new();
        for (name, shape) in shapes {
            let fan: usize = shape[1..].iter().product();
            let std = (2.0 / fan as f64).sqrt();
            let key = random::key(seed, &[random::name(&name)]);
            let count = shape[0] * fan;
            let values: Vec<f32> =
                (0..count as u64).map(|i| (std * random::normal(random::key(key, &[i]))) as f32).collect();
            let bias = Tensor::zeros(shape[0], DType::F32, &Device::Cpu)?;
            variables.insert(format!("{name}.bias"), Var::from_tensor(&bias)?);
            let weight = Tensor::from_vec(values, shape, &Device::Cpu)?;
            variables.insert(format!("{name}.weight"), Var::from_tensor(&weight)?);
        }
        Ok(variables)
    }

    /// What it is made of.
    pub fn config(&self) -> &ConvolutionalConfig {
        &self.config
    }
}

fn pixels(config: &ConvolutionalConfig, device: &Device) -> Result<Scaled> {
    let channels = config.input[0];
    let at = |values: &[f64], i: usize, default: f64| values.get(i).copied().unwrap_or(default);
    let std = |i: usize| at(&config.image_std, i, 1.0);
    let gain = (0..channels).map(|i| (config.pixel_scale / std(i)) as f32).collect();
    let shift = (0..channels).map(|i| (-at(&config.image_mean, i, 0.0) / std(i)) as f32).collect();
    let tensor = |values: Vec<f32>| Tensor::from_vec(values, (1, channels, 1, 1), device);
    Ok(Scaled { gain: tensor(gain)?, shift: tensor(shift)? })
}

impl Scaled {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_mul(&self.gain)?.broadcast_add(&self.shift)?)
    }
}

/// Every `stride`-th pixel of `x`, with channels of zeros around its own so that there are `channels`.
fn shortcut(x: &Tensor, stride: usize, channels: usize) -> Result<Tensor> {
    let (b, own, h, w) = x.dims4()?;
    let mut y = x.clone();
    if stride > 1 {
        let every = |side: usize| -> Vec<u32> { (0..side as u32).step_by(stride).collect() };
        let pick = |y: &Tensor, dim: usize, side: usize| -> Result<Tensor> {
            let kept = every(side);
            Ok(y.contiguous()?.index_select(&Tensor::new(kept, y.device())?, dim)?)
        };
        y = pick(&pick(&y, 2, h)?, 3, w)?;
    }
    let new = channels.checked_sub(own).ok_or_else(|| {
        Error::invalid(format!("a shortcut from {own} to {channels} channels"), "widths of the stages must not shrink")
    })?;
    if new == 0 {
        return Ok(y);
    }
    let (_, _, h, w) = y.dims4()?;
    let before = new / 2;
    let zeros = |n: usize| Tensor::zeros((b, n, h, w), y.dtype(), y.device());
    Ok(Tensor::cat(&[&zeros(before)?, &y, &zeros(new - before)?], 1)?)
}

/// The maximum over the last axis. Candle gives every tied place the whole gradient; here they share it.
fn largest(x: &Tensor, form: Form) -> Result<Tensor> {
    if form == Form::Inference {
        return Ok(x.max(D::Minus1)?);
    }
    let ties = x.detach().broadcast_eq(&x.detach().max_keepdim(D::Minus1)?)?.to_dtype(x.dtype())?;
    let shares = ties.broadcast_div(&ties.sum_keepdim(D::Minus1)?)?;
    Ok((x * shares)?.sum(D::Minus1)?)
}

impl Network for Convolutional {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let images = input.images()?;
        if state.keeps() {
            return Err(Error::invalid("this network keeps nothing between calls", "run it without a state"));
        }
        let (rows, c, h, w) = images.pixels.dims4()?;
        if [c, h, w] != self.config.input {
            return Err(Error::invalid(
                format!("images of {:?} (channels, height, width), expected {:?}", [c, h, w], self.config.input),
                "resize the images, or take the network that was made for them",
            ));
        }
        let form = tap.form();
        tap.enter(images.context()?);
        let x = self.pixels.apply(&images.pixels.to_dtype(DType::F32)?.to_device(self.device())?)?;
        let mut x = tap.at(self.image, x)?; // [b, c, h, w]
        let mut entered = x.clone();
        debug_assert_eq!(rows, images.documents.len());
        for layer in &self.layers {
            let mut y = layer.conv.forward(&x, form)?; // [b, channels, h', w']
            if let Some(norm) = &layer.norm {
                y = norm.apply(&y)?;
            }
            if let Some(stride) = layer.shortcut {
                y = (y + shortcut(&entered, stride, layer.conv.weight.dim(0)?)?)?;
            }
            entered = x;
            let pre = tap.at(layer.pre, y)?;
            let post = tap.at(layer.post, Activation::Relu.forward(&pre, form)?)?;
            x = match layer.max_pool {
                1 => post,
                side => post.max_pool2d(side)?, // [b, channels, h' / side, w' / side]
            };
        }
        let pooled = match self.config.pool {
            Pool::Flatten => x.flatten_from(1)?, // [b, width]
            Pool::Mean => x.mean((2, 3))?,
            Pool::Max => largest(&x.flatten_from(2)?, form)?,
        };
        let pooled = tap.at(self.pool, pooled)?;
        tap.at(self.logits, self.head.forward(&pooled, form)?) // [b, classes]
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.head.weight.device()
    }
}

impl Images {
    /// What the tap must know: each image is a row of one position.
    fn context(&self) -> Result<Context> {
        let rows = self.pixels.dim(0)?;
        if self.documents.len() != rows || rows == 0 {
            return Err(Error::invalid(
                format!("{rows} images with {} numbers", self.documents.len()),
                "give at least one image, and the number of each",
            ));
        }
        Ok(Context {
            rows,
            pos: 1,
            real: vec![true; rows],
            position: vec![0; rows],
            tokens: vec![0; rows],
            documents: self.documents.clone(),
            prompt: vec![1; rows],
            keys: 1,
            key_real: vec![true; rows],
            key_position: vec![0; rows],
            ..Context::default()
        })
    }
}

fn table(config: &ConvolutionalConfig) -> SiteTable {
    let mut table = SiteTable::default();
    let map = [Axis::Batch, Axis::Channel, Axis::Y, Axis::X];
    let mut push = |name: String, layer: Option<usize>, axes: &[Axis], sizes: &[usize], meaning: &'static str| {
        let sizes = std::iter::once(None).chain(sizes.iter().copied().map(Some)).collect();
        let axes = axes.to_vec();
        table.push(Site { name, layer, axes, sizes, kind: Kind::Raw, on_demand: false, timed: false, meaning });
    };
    push("hook_image".into(), None, &map, &config.input, "the image as the first convolution reads it");
    for (l, (layer, [h, w])) in config.layers.iter().zip(config.sizes().0).enumerate() {
        let sizes = [layer.channels, h, w];
        let pre = "what the ReLU reads: convolution, norm and shortcut";
        push(format!("conv.{l}.hook_pre"), Some(l), &map, &sizes, pre);
        push(format!("conv.{l}.hook_post"), Some(l), &map, &sizes, "channels after the ReLU, before the pooling");
    }
    push("head.hook_pool".into(), None, &[Axis::Batch, Axis::Width], &[config.width()], "what the head reads");
    let classes = config.classes.len();
    push("head.hook_logits".into(), None, &[Axis::Batch, Axis::Class], &[classes], "one logit per class");
    table
}
