//! Pictures as files: PNG and JPEG are read with bounds, PNG is written.

use std::io::Cursor;

use png::{BitDepth, ColorType, Limits, Transformations};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels of a side: larger pictures are refused before they are decoded.
const SIDE: usize = 8192;
/// Most pixels of a picture.
const PIXELS: usize = 1 << 25;

/// A picture in eight-bit colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Decodes a PNG or JPEG file by its first bytes. Transparent pixels are laid over white.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => png(bytes),
            [0xff, 0xd8, ..] => jpeg(bytes),
            _ => Err("it is neither PNG nor JPEG".into()),
        }
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// Pixels that do not fit the sizes.
    pub fn encode(&self) -> std::result::Result<Vec<u8>, String> {
        let side = |n: usize| u32::try_from(n).map_err(|_| format!("{n} pixels are too many"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
        writer.write_image_data(&self.rgb).map_err(|e| e.to_string())?;
        writer.finish().map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    /// The picture in another size: the mean of the area that each new pixel covers.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let across = shares(self.width, width);
        let down = shares(self.height, height);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for rows in &down {
            for columns in &across {
                for c in 0..3 {
                    let mut sum = 0.0;
                    for (y, wy) in rows {
                        for (x, wx) in columns {
                            sum += wy * wx * f64::from(self.rgb[(y * self.width + x) * 3 + c]);
                        }
                    }
                    rgb.push(sum.round().clamp(0.0, 255.0) as u8);
                }
            }
        }
        Self { width, height, rgb }
    }
}

/// For each of `to` new pixels, the old ones under it with their weights, which add up to 1.
fn shares(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let step = from as f64 / to as f64;
    let share = |i: usize| {
        let (low, high) = (i as f64 * step, (i + 1) as f64 * step);
        let last = (high.ceil() as usize).min(from);
        let covered = |x: usize| (x as f64 + 1.0).min(high) - (x as f64).max(low);
        (low.floor() as usize..last.max(1)).map(|x| (x.min(from - 1), covered(x).max(0.0) / step)).collect()
    };
    (0..to).map(share).collect()
}

fn bounded(width: usize, height: usize) -> std::result::Result<(), String> {
    if width == 0 || height == 0 || width > SIDE || height > SIDE || width * height > PIXELS {
        return Err(format!("it has {width} x {height} pixels; the most is {SIDE} a side and {PIXELS} in all"));
    }
    Ok(())
}

fn png(bytes: &[u8]) -> std::result::Result<Picture, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: 8 * PIXELS });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    bounded(width, height)?;
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut buffer = vec![0; size];
    let info = reader.next_frame(&mut buffer).map_err(|e| e.to_string())?;
    let over = |value: u8, alpha: u8| {
        ((u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8
    };
    let pixels = &buffer[..info.buffer_size()];
    let rgb: Vec<u8> = match info.color_type {
        ColorType::Rgb => pixels.to_vec(),
        ColorType::Rgba => pixels.chunks_exact(4).flat_map(|p| [0, 1, 2].map(|i| over(p[i], p[3]))).collect(),
        ColorType::Grayscale => pixels.iter().flat_map(|p| [*p; 3]).collect(),
        ColorType::GrayscaleAlpha => pixels.chunks_exact(2).flat_map(|p| [over(p[0], p[1]); 3]).collect(),
        ColorType::Indexed => return Err("its palette was not resolved".into()),
    };
    Ok(Picture { width, height, rgb })
}

fn jpeg(bytes: &[u8]) -> std::result::Result<Picture, String> {
    let options =
        DecoderOptions::new_safe().set_max_width(SIDE).set_max_height(SIDE).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no sizes")?;
    bounded(width, height)?;
    let rgb = decoder.decode().map_err(|e| e.to_string())?;
    if rgb.len() != width * height * 3 {
        return Err(format!("{width} x {height} pixels gave {} bytes", rgb.len()));
    }
    Ok(Picture { width, height, rgb })
}
