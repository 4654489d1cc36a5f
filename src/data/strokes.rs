//! Drawn digits, for where no set of images is supplied: lines by hand, turned, bent, moved and jittered.

use super::ImageSet;
use crate::hook::random::{self, Stream};

/// Pixels of a side.
pub const SIDE: usize = 28;

/// The digits 1 to 9 as points (x, y) of a line, y downwards; 0 is an ellipse.
const LINES: [&[(f64, f64)]; 9] = [
    &[(0.36, 0.3), (0.5, 0.15), (0.5, 0.85)],
    &[(0.3, 0.3), (0.4, 0.18), (0.6, 0.18), (0.7, 0.32), (0.6, 0.5), (0.3, 0.82), (0.72, 0.82)],
    &[(0.3, 0.2), (0.6, 0.17), (0.7, 0.32), (0.5, 0.48), (0.7, 0.64), (0.6, 0.83), (0.3, 0.8)],
    &[(0.6, 0.85), (0.6, 0.15), (0.28, 0.62), (0.75, 0.62)],
    &[(0.7, 0.18), (0.36, 0.18), (0.34, 0.46), (0.6, 0.45), (0.7, 0.63), (0.58, 0.82), (0.3, 0.8)],
    &[(0.65, 0.17), (0.42, 0.35), (0.32, 0.62), (0.42, 0.82), (0.62, 0.8), (0.68, 0.62), (0.55, 0.5), (0.35, 0.6)],
    &[(0.28, 0.18), (0.72, 0.18), (0.52, 0.5), (0.42, 0.85)],
    &[
        (0.5, 0.48),
        (0.34, 0.33),
        (0.5, 0.16),
        (0.66, 0.33),
        (0.5, 0.48),
        (0.3, 0.66),
        (0.5, 0.85),
        (0.7, 0.66),
        (0.5, 0.48),
    ],
    &[(0.35, 0.83), (0.58, 0.65), (0.68, 0.38), (0.58, 0.18), (0.38, 0.2), (0.32, 0.38), (0.45, 0.5), (0.65, 0.4)],
];

/// `count` grey images of 28 x 28 with their digits; image i depends on the seed and i alone.
pub fn digits(count: usize, seed: u64) -> ImageSet {
    let mut set = ImageSet { shape: [1, SIDE, SIDE], pixels: Vec::new(), labels: Vec::new(), classes: Vec::new() };
    for i in 0..count {
        let mut stream = Stream::new(seed, &[random::name("strokes"), i as u64]);
        let digit = stream.below(10);
        draw(digit, &mut stream, &mut set.pixels);
        set.labels.push(digit as u32);
    }
    set
}

fn draw(digit: usize, stream: &mut Stream, pixels: &mut Vec<u8>) {
    let mut within = |low: f64, high: f64| low + (high - low) * stream.uniform();
    let (turn, scale, shear) = (within(-15.0, 15.0).to_radians(), within(0.8, 1.1), within(-0.2, 0.2));
    let (right, down, radius) = (within(-2.0, 2.0), within(-2.0, 2.0), within(1.0, 1.8));
    let line: Vec<(f64, f64)> = match digit {
        0 => (0..=12)
            .map(|k| f64::from(k) / 12.0 * std::f64::consts::TAU)
            .map(|angle| (0.5 + 0.2 * angle.cos(), 0.5 + 0.34 * angle.sin()))
            .collect(),
        _ => LINES[digit - 1].to_vec(),
    };
    let place = |(x, y): (f64, f64)| {
        let mut jittered = |v: f64| v - 0.5 + 0.02 * random::normal(stream.bits());
        let (x, y) = (jittered(x), jittered(y));
        let x = x + shear * y;
        let (x, y) = (scale * (x * turn.cos() - y * turn.sin()), scale * (x * turn.sin() + y * turn.cos()));
        ((x + 0.5) * SIDE as f64 + right, (y + 0.5) * SIDE as f64 + down)
    };
    let line: Vec<(f64, f64)> = line.into_iter().map(place).collect();
    for at in 0..SIDE * SIDE {
        let (x, y) = ((at % SIDE) as f64 + 0.5, (at / SIDE) as f64 + 0.5);
        let distance = line.windows(2).map(|ends| to_segment((x, y), ends[0], ends[1])).fold(f64::INFINITY, f64::min);
        pixels.push((255.0 * (1.5 - distance / radius).clamp(0.0, 1.0)).round() as u8);
    }
}

fn to_segment((x, y): (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let along = ((x - a.0) * dx + (y - a.1) * dy) / (dx * dx + dy * dy).max(1e-12);
    let along = along.clamp(0.0, 1.0);
    (x - a.0 - along * dx).hypot(y - a.1 - along * dy)
}
