//! Sets of images, from the forms in which people keep them.
//!
//! - A folder of PNG or JPEG files; files in folders of their own have the folder's name as their class.
//! - IDX (MNIST): `NAME-images-idx3-ubyte`, with its `NAME-labels-idx1-ubyte` beside it if there is one.
//! - The binary form of CIFAR-10: records of a label and 3,072 bytes, `*.bin`.
//! - Handwritten characters of Omniglot, 105 x 105 bits each, `*.bits`, ink bright as in MNIST; their classes are not read.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::omniglot;
use crate::hook::random::Stream;
use crate::models::Images;
use crate::store::Picture;
use crate::{Error, Result};

/// Most bytes of a set's pixels that are held in memory.
const MOST: usize = 2 << 30;

/// Images of one size, with what they show where that is known.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// Channels (1 or 3), height and width.
    pub shape: [usize; 3],
    /// `[image, channel, y, x]`.
    pub pixels: Vec<u8>,
    /// The class of each image; empty if nobody says.
    pub labels: Vec<u32>,
    /// Names of the classes, where they have any.
    pub classes: Vec<String>,
}

impl ImageSet {
    /// Reads `path`, every image in the size `[channels, height, width]`, at most `limit` of them.
    ///
    /// # Errors
    /// Files that cannot be read, are cut off, or hold no image.
    pub fn read(path: &Path, shape: [usize; 3], limit: usize) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let limit = limit.min(MOST / shape.iter().product::<usize>().max(1));
        if path.is_dir() {
            return folder(path, shape, limit);
        }
        if name.ends_with(".bin") {
            return cifar(path, shape, limit);
        }
        if name.ends_with(".bits") {
            return characters(path, shape, limit);
        }
        if name.ends_with("idx3-ubyte") {
            return idx(path, shape, limit);
        }
        Err(Error::file(
            path,
            "it is no set of images that is known here",
            "give a folder of PNG or JPEG files, an `..-idx3-ubyte` file, a `.bin` file of CIFAR-10 or a `.bits` file of Omniglot",
        ))
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.iter().product::<usize>().max(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The pixels of one image, `[channel, y, x]`.
    pub fn image(&self, at: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.pixels[at * size..][..size]
    }

    /// Some of the images as a network takes them.
    ///
    /// # Errors
    /// None but Candle's own.
    pub fn batch(&self, at: &[usize]) -> Result<Images> {
        let [c, h, w] = self.shape;
        let values: Vec<f32> = at.iter().flat_map(|i| self.image(*i)).map(|p| f32::from(*p)).collect();
        let pixels = Tensor::from_vec(values, (at.len(), c, h, w), &Device::Cpu)?;
        Ok(Images { pixels, documents: at.iter().map(|i| *i as u64).collect() })
    }

    /// One image in colours.
    pub fn picture(&self, at: usize) -> Picture {
        let [c, height, width] = self.shape;
        let (image, area) = (self.image(at), height * width);
        let rgb = (0..area).flat_map(|p| [0, 1, 2].map(|k| image[k.min(c - 1) * area + p])).collect();
        Picture { width, height, rgb }
    }

    /// Some of the images as a set of their own.
    pub fn select(&self, at: &[usize]) -> Self {
        Self {
            shape: self.shape,
            pixels: at.iter().flat_map(|i| self.image(*i)).copied().collect(),
            labels: at.iter().filter_map(|i| self.labels.get(*i)).copied().collect(),
            classes: self.classes.clone(),
        }
    }

    /// Four sets of nearly equal size, drawn at random.
    pub fn quarters(&self, seed: u64) -> [Self; 4] {
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::new(seed, &[0x414]).shuffle(&mut order);
        let end = |q: usize| q * order.len() / 4;
        [0, 1, 2, 3].map(|q| self.select(&order[end(q)..end(q + 1)]))
    }

    fn push(&mut self, picture: &Picture) {
        let [channels, height, width] = self.shape;
        let picture = picture.resized(width, height);
        let pixels = picture.rgb.chunks_exact(3);
        if channels == 1 {
            // The luma of JPEG (ITU-R BT.601).
            let luma = |p: &[u8]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
            self.pixels.extend(pixels.map(|p| luma(p).round() as u8));
        } else {
            for c in 0..3 {
                self.pixels.extend(pixels.clone().map(|p| p[c]));
            }
        }
    }
}

fn folder(path: &Path, shape: [usize; 3], limit: usize) -> Result<ImageSet> {
    let list = |dir: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
        let mut paths =
            entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().map_err(Error::io(dir))?;
        paths.sort();
        Ok(paths)
    };
    let is_picture = |p: &PathBuf| {
        let ending = p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        p.is_file() && matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
    };
    let mut set = ImageSet { shape, pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() };
    let mut files: Vec<(PathBuf, Option<u32>)> = Vec::new();
    for entry in list(path)? {
        if entry.is_dir() {
            let class = set.classes.len() as u32;
            let inside: Vec<PathBuf> = list(&entry)?.into_iter().filter(is_picture).collect();
            if !inside.is_empty() {
                set.classes.push(entry.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default());
                files.extend(inside.into_iter().map(|p| (p, Some(class))));
            }
        } else if is_picture(&entry) {
            files.push((entry, None));
        }
    }
    files.truncate(limit);
    for (file, class) in &files {
        let bytes = std::fs::read(file).map_err(Error::io(file))?;
        let picture = Picture::decode(&bytes)
            .map_err(|e| Error::file(file, e, "replace the file, or take it out of the folder"))?;
        set.push(&picture);
        set.labels.extend(*class);
    }
    if files.is_empty() {
        return Err(Error::file(path, "there is no PNG or JPEG file", "name a folder of pictures"));
    }
    // A class is known for all or for none.
    if set.labels.len() < files.len() {
        (set.labels, set.classes) = (Vec::new(), Vec::new());
    }
    Ok(set)
}

/// The sizes at the head of an IDX file of bytes, and where its data begins.
fn idx_head(path: &Path, bytes: &[u8], dimensions: usize) -> Result<(Vec<usize>, usize)> {
    let start = 4 + 4 * dimensions;
    if bytes.len() < start || bytes[..4] != [0, 0, 8, dimensions as u8] {
        return Err(Error::file(path, "it is no IDX file of bytes", format!("expected {dimensions} dimensions")));
    }
    let size = |i: usize| u32::from_be_bytes([0, 1, 2, 3].map(|k| bytes[4 + 4 * i + k])) as usize;
    let sizes: Vec<usize> = (0..dimensions).map(size).collect();
    let all = sizes.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
    if all != Some(bytes.len() - start) {
        return Err(Error::file(
            path,
            format!("its head says {sizes:?}, but {} bytes follow", bytes.len() - start),
            "the file is cut off; download it again",
        ));
    }
    Ok((sizes, start))
}

fn idx(path: &Path, shape: [usize; 3], limit: usize) -> Result<ImageSet> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let (sizes, start) = idx_head(path, &bytes, 3)?;
    let (height, width) = (sizes[1], sizes[2]);
    let mut set = ImageSet { shape, pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() };
    let count = sizes[0].min(limit);
    for image in bytes[start..].chunks_exact((height * width).max(1)).take(count) {
        if shape == [1, height, width] {
            set.pixels.extend_from_slice(image);
        } else {
            set.push(&Picture { width, height, rgb: image.iter().flat_map(|p| [*p; 3]).collect() });
        }
    }
    if set.is_empty() {
        return Err(Error::file(path, "it holds no image", "give another file"));
    }
    let labels = path.with_file_name(
        path.file_name()
            .map(|n| n.to_string_lossy().replace("images", "labels").replace("idx3", "idx1"))
            .unwrap_or_default(),
    );
    if labels != *path && labels.is_file() {
        let bytes = std::fs::read(&labels).map_err(Error::io(&labels))?;
        let (many, start) = idx_head(&labels, &bytes, 1)?;
        if many[0] != sizes[0] {
            return Err(Error::file(
                &labels,
                format!("{} labels for {} images", many[0], sizes[0]),
                "take both files from one set",
            ));
        }
        set.labels = bytes[start..].iter().take(count).map(|l| u32::from(*l)).collect();
    }
    Ok(set)
}

fn cifar(path: &Path, shape: [usize; 3], limit: usize) -> Result<ImageSet> {
    const SIDE: usize = 32;
    const RECORD: usize = 1 + 3 * SIDE * SIDE;
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Error::file(
            path,
            format!("{} bytes are no whole number of records of {RECORD}", bytes.len()),
            "give a file of the binary version of CIFAR-10",
        ));
    }
    let mut set = ImageSet { shape, pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() };
    for record in bytes.chunks_exact(RECORD).take(limit) {
        set.labels.push(u32::from(record[0]));
        let (image, area) = (&record[1..], SIDE * SIDE);
        if shape == [3, SIDE, SIDE] {
            set.pixels.extend_from_slice(image);
        } else {
            let rgb = (0..area).flat_map(|p| [0, 1, 2].map(|c| image[c * area + p])).collect();
            set.push(&Picture { width: SIDE, height: SIDE, rgb });
        }
    }
    Ok(set)
}

fn characters(path: &Path, shape: [usize; 3], limit: usize) -> Result<ImageSet> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let drawings = omniglot::drawings(path, &bytes)?;
    let mut set = ImageSet { shape, pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() };
    for drawing in drawings.take(limit) {
        let ink = |at: usize| if omniglot::ink(drawing, at) { 255 } else { 0 };
        let rgb = (0..omniglot::SIDE * omniglot::SIDE).flat_map(|at| [ink(at); 3]).collect();
        set.push(&Picture { width: omniglot::SIDE, height: omniglot::SIDE, rgb });
    }
    Ok(set)
}
