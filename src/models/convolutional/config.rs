//! What a convolutional network is made of, and how the configurations of known ones read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// Most convolutions of a network, and most channels of one: far beyond every network for a CPU.
const MOST: usize = 4096;

/// A convolutional classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionalConfig {
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// What a byte of a pixel is multiplied with.
    pub pixel_scale: f64,
    /// Per channel, what is then subtracted; empty for 0.
    pub image_mean: Vec<f64>,
    /// Per channel, what it is then divided by; empty for 1.
    pub image_std: Vec<f64>,
    /// The convolutions, in order.
    pub layers: Vec<ConvLayer>,
    /// How the last map becomes the head's input.
    pub pool: Pool,
    /// Name of the head's weights.
    pub head: String,
    /// What the outputs stand for.
    pub classes: Vec<String>,
}

/// One convolution with what follows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// Name of its weights.
    pub name: String,
    /// Name of the batch norm's weights, if there is one.
    pub norm: Option<String>,
    /// Channels that it makes.
    pub channels: usize,
    /// Side of its kernels.
    pub kernel: usize,
    /// Pixels between patches.
    pub stride: usize,
    /// Whether the convolution has a bias.
    pub bias: bool,
    /// Whether the map that went into the layer before is added before the ReLU (He et al. 2015, shortcut A: every
    /// `stride`-th pixel, new channels zero, half of them before the old ones and half after).
    pub shortcut: bool,
    /// Side and stride of the maximum that is taken of its output; 1 for none.
    pub max_pool: usize,
}

/// How the last map becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Every value, channel by channel.
    Flatten,
    /// The mean of each channel.
    Mean,
    /// The maximum of each channel.
    Max,
}

/// Added to the variance of a batch norm.
pub(super) const EPS: f64 = 1e-5;

impl ConvolutionalConfig {
    /// A network of 3 x 3 convolutions with biases, each but the last followed by a 2 x 2 maximum, then the maximum of
    /// each channel and a linear head.
    pub fn plain(input: [usize; 3], channels: &[usize], classes: Vec<String>) -> Self {
        let last = channels.len().saturating_sub(1);
        let layer = |(l, channels): (usize, &usize)| ConvLayer {
            name: format!("conv.{l}"),
            norm: None,
            channels: *channels,
            kernel: 3,
            stride: 1,
            bias: true,
            shortcut: false,
            max_pool: if l < last { 2 } else { 1 },
        };
        Self {
            input,
            pixel_scale: 1.0 / 255.0,
            image_mean: vec![0.5; input[0]],
            image_std: vec![0.25; input[0]],
            layers: channels.iter().enumerate().map(layer).collect(),
            pool: Pool::Max,
            head: "head".into(),
            classes,
        }
    }

    /// Reads a model folder's `config.json`: `optrode_conv` (these very fields under `network`), `cifar_resnet` or
    /// `mnist_cnn`.
    ///
    /// # Errors
    /// Another `model_type`, keys that are missing or of the wrong kind, and sizes that no network here has.
    pub fn read(config: &Value) -> Result<Self> {
        let read = match config["model_type"].as_str() {
            Some("optrode_conv") => serde_json::from_value(config["network"].clone()).map_err(wrong)?,
            Some("cifar_resnet") => cifar_resnet(config)?,
            Some("mnist_cnn") => mnist_cnn(config)?,
            other => {
                return Err(Error::invalid(
                    format!("`model_type` is {other:?}, which is no convolutional network known here"),
                    "known are optrode_conv, cifar_resnet and mnist_cnn",
                ));
            }
        };
        read.check()?;
        Ok(read)
    }

    /// Whether a `config.json` is that of a convolutional network.
    pub fn is(config: &Value) -> bool {
        matches!(config["model_type"].as_str(), Some("optrode_conv" | "cifar_resnet" | "mnist_cnn"))
    }

    /// The `config.json` of a folder that holds such a network.
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "model_type": "optrode_conv", "network": self })
    }

    /// Height and width of each layer's map (before its maximum), and of the last one after it.
    pub fn sizes(&self) -> (Vec<[usize; 2]>, [usize; 2]) {
        let mut at = [self.input[1], self.input[2]];
        let mut sizes = Vec::new();
        for layer in &self.layers {
            let padding = layer.kernel / 2;
            at = at.map(|side| (side + 2 * padding).saturating_sub(layer.kernel) / layer.stride + 1);
            sizes.push(at);
            at = at.map(|side| side / layer.max_pool);
        }
        (sizes, at)
    }

    /// Inputs of the head.
    pub fn width(&self) -> usize {
        let ((_, [h, w]), channels) = (self.sizes(), self.layers.last().map_or(0, |l| l.channels));
        if self.pool == Pool::Flatten { channels * h * w } else { channels }
    }

    fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::invalid(what, "correct the model's config.json"));
        let [channels, ..] = self.input;
        if self.input.iter().any(|n| *n == 0 || *n > MOST) || self.classes.is_empty() || self.classes.len() > MOST {
            return bad(format!("images of {:?} and {} classes", self.input, self.classes.len()));
        }
        if self.layers.is_empty() || self.layers.len() > MOST {
            return bad(format!("a network of {} convolutions", self.layers.len()));
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let sides = [layer.kernel, layer.stride, layer.channels, layer.max_pool];
            if sides.iter().any(|n| *n == 0 || *n > MOST) || layer.kernel.is_multiple_of(2) {
                return bad(format!("convolution {l} is {layer:?}; kernels are odd, and nothing is 0"));
            }
            if layer.shortcut && l == 0 {
                return bad("the first convolution has a shortcut, but nothing comes before it".into());
            }
        }
        let stats = [(&self.image_mean, "image_mean"), (&self.image_std, "image_std")];
        if let Some((values, name)) = stats.iter().find(|(v, _)| !v.is_empty() && v.len() != channels) {
            return bad(format!("`{name}` has {} values for {channels} channels", values.len()));
        }
        if self.sizes().1.contains(&0) {
            return bad(format!("images of {:?} shrink to nothing", self.input));
        }
        Ok(())
    }
}

fn wrong(e: serde_json::Error) -> Error {
    Error::invalid(format!("the network's config.json cannot be read: {e}"), "compare it with a folder that we wrote")
}

/// The residual networks for CIFAR-10 (He et al. 2015, section 4.2): three stages of blocks of two convolutions.
fn cifar_resnet(config: &Value) -> Result<ConvolutionalConfig> {
    #[derive(Deserialize)]
    struct Resnet {
        blocks_per_stage: Vec<usize>,
        widths: Vec<usize>,
        num_classes: usize,
        image_size: usize,
        num_channels: usize,
        shortcut: String,
        batch_norm_eps: f64,
        pixel_scale: f64,
        image_mean: Vec<f64>,
        image_std: Vec<f64>,
        #[serde(default)]
        id2label: std::collections::BTreeMap<usize, String>,
    }
    let read: Resnet = serde_json::from_value(config.clone()).map_err(wrong)?;
    let blocks: usize = read.blocks_per_stage.iter().fold(0, |sum, n| sum.saturating_add(*n));
    if read.shortcut != "A" || read.batch_norm_eps != EPS || read.blocks_per_stage.len() != read.widths.len() {
        return Err(Error::invalid(
            format!(
                "shortcut {}, batch_norm_eps {}, {} stages of {} widths",
                read.shortcut,
                read.batch_norm_eps,
                read.blocks_per_stage.len(),
                read.widths.len()
            ),
            format!("known are shortcut A, batch_norm_eps {EPS} and as many widths as stages"),
        ));
    }
    if blocks > MOST / 2 || read.num_classes > MOST {
        return Err(Error::invalid(format!("{blocks} blocks, {} classes", read.num_classes), "check config.json"));
    }
    let layer = |name: String, norm: String, channels: usize, stride: usize, shortcut: bool| ConvLayer {
        name,
        norm: Some(norm),
        channels,
        kernel: 3,
        stride,
        bias: false,
        shortcut,
        max_pool: 1,
    };
    let mut layers = vec![layer("conv1".into(), "bn1".into(), read.widths.first().copied().unwrap_or(0), 1, false)];
    for (stage, (blocks, width)) in read.blocks_per_stage.iter().zip(&read.widths).enumerate() {
        for block in 0..*blocks {
            let prefix = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let part = |i: usize| (format!("{prefix}.conv{i}"), format!("{prefix}.bn{i}"));
            let ((conv1, bn1), (conv2, bn2)) = (part(1), part(2));
            layers.push(layer(conv1, bn1, *width, stride, false));
            layers.push(layer(conv2, bn2, *width, 1, true));
        }
    }
    Ok(ConvolutionalConfig {
        input: [read.num_channels, read.image_size, read.image_size],
        pixel_scale: read.pixel_scale,
        image_mean: read.image_mean,
        image_std: read.image_std,
        layers,
        pool: Pool::Mean,
        head: "linear".into(),
        classes: (0..read.num_classes)
            .map(|i| read.id2label.get(&i).cloned().unwrap_or_else(|| i.to_string()))
            .collect(),
    })
}

/// The digit network of the ONNX model zoo.
fn mnist_cnn(config: &Value) -> Result<ConvolutionalConfig> {
    #[derive(Deserialize)]
    struct Mnist {
        input_shape: [usize; 3],
        pixel_scale: f64,
        num_classes: usize,
        layers: Vec<String>,
    }
    const LAYERS: [&str; 8] = [
        "conv1 8x1x5x5 stride 1 pad 2",
        "relu",
        "maxpool 2 stride 2",
        "conv2 16x8x5x5 stride 1 pad 2",
        "relu",
        "maxpool 3 stride 3 (14 -> 4)",
        "flatten channel-major (16*4*4 = 256)",
        "fc 10",
    ];
    let read: Mnist = serde_json::from_value(config.clone()).map_err(wrong)?;
    if read.layers != LAYERS || read.num_classes != 10 {
        return Err(Error::invalid(
            format!("a `mnist_cnn` of the layers {:?}", read.layers),
            format!("known is the one of the layers {LAYERS:?}"),
        ));
    }
    let layer = |name: &str, channels: usize, max_pool: usize| ConvLayer {
        name: name.into(),
        norm: None,
        channels,
        kernel: 5,
        stride: 1,
        bias: true,
        shortcut: false,
        max_pool,
    };
    Ok(ConvolutionalConfig {
        input: read.input_shape,
        pixel_scale: read.pixel_scale,
        image_mean: Vec::new(),
        image_std: Vec::new(),
        layers: vec![layer("conv1", 8, 2), layer("conv2", 16, 3)],
        pool: Pool::Flatten,
        head: "fc".into(),
        classes: (0..10).map(|i| i.to_string()).collect(),
    })
}
