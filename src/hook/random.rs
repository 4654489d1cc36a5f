//! Keyed randomness: a fixed 64-bit hash of (seed, place), so that what is drawn at a place never depends on batch,
//! thread, chunk or shard.
//!
//! With the finaliser of splitmix64 (Steele, Lea and Flood 2014; the constants are part of the file formats),
//!
//! ```text
//! mix(z):  z += 0x9E3779B97F4A7C15;  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
//!          z = (z ^ z >> 27) * 0x94D049BB133111EB;  return z ^ z >> 31        (all modulo 2^64)
//! key(seed, [p1, .., pn]) = h_n  where  h_0 = mix(seed),  h_i = mix(h_(i-1) ^ p_i)
//! ```

/// The hash of `parts` (for example document and position) under `seed`; every change of a part changes it.
///
/// Without parts it is the first output of splitmix64 for that seed. The values are fixed for good: samples, stored
/// reducer states and stochastic edits depend on them.
pub fn key(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(seed), |hash, part| mix(hash ^ part))
}

/// Maps a key to a uniform number in [0, 1): its upper 53 bits times 2^-53.
pub fn uniform(key: u64) -> f64 {
    (key >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// One step of splitmix64: a bijection of the 64-bit numbers.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stable number for a name, to be used as a part of a [`key`]: FNV-1a over its bytes.
pub fn name(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// A standard normal number from a key (Box-Muller).
pub fn normal(from: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(key(from, &[0]))).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(key(from, &[1]))).cos()
}

/// A stream of draws under one key: draw n is `key(from, [n])`, so a stream can be made anew at any place.
#[derive(Clone, Debug)]
pub struct Stream {
    from: u64,
    drawn: u64,
}

impl Stream {
    /// The stream of `parts` under `seed`.
    pub fn new(seed: u64, parts: &[u64]) -> Self {
        Self { from: key(seed, parts), drawn: 0 }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.drawn += 1;
        key(self.from, &[self.drawn])
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        uniform(self.bits())
    }

    /// Uniform in 0..n; 0 if n is 0. The bias of the multiplication is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform among `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `count` of the items (all of them if there are fewer), every subset with the same chance: they are moved to the
    /// front. The others may be in any order, so a slice that was drawn from can be drawn from again.
    pub fn subset<'a, T>(&mut self, items: &'a mut [T], count: usize) -> &'a [T] {
        let count = count.min(items.len());
        for i in 0..count {
            items.swap(i, i + self.below(items.len() - i));
        }
        &items[..count]
    }
}
