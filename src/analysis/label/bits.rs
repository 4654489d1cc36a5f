//! Sets of places (tokens of a corpus, pixels of a probe set) as bit columns: what concepts and active places are
//! compared on.

/// A set of the numbers `0..len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    len: usize,
    /// Bits beyond `len` are 0.
    words: Vec<u64>,
}

impl Bits {
    /// The empty set.
    pub fn new(len: usize) -> Self {
        Self { len, words: vec![0; len.div_ceil(64)] }
    }

    /// The numbers that `holds`.
    pub fn from_fn(len: usize, holds: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::new(len);
        (0..len).filter(|i| holds(*i)).for_each(|i| bits.insert(i));
        bits
    }

    /// These numbers; those beyond `len` are left out.
    pub fn of(len: usize, places: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = Self::new(len);
        places.into_iter().filter(|i| *i < len).for_each(|i| bits.insert(i));
        bits
    }

    /// Size of the universe.
    pub fn universe(&self) -> usize {
        self.len
    }

    /// Adds a number below the size of the universe.
    pub fn insert(&mut self, i: usize) {
        debug_assert!(i < self.len);
        self.words[i / 64] |= 1 << (i % 64);
    }

    /// Whether it is there.
    pub fn contains(&self, i: usize) -> bool {
        i < self.len && self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// How many there are in `from..to`.
    pub fn count_in(&self, from: usize, to: usize) -> u64 {
        let to = to.min(self.len);
        if from >= to {
            return 0;
        }
        let (first, last) = (from / 64, (to - 1) / 64);
        let head = u64::MAX << (from % 64);
        let tail = u64::MAX >> (63 - (to - 1) % 64);
        if first == last {
            return u64::from((self.words[first] & head & tail).count_ones());
        }
        let ends = (self.words[first] & head).count_ones() + (self.words[last] & tail).count_ones();
        let between: u64 = self.words[first + 1..last].iter().map(|w| u64::from(w.count_ones())).sum();
        u64::from(ends) + between
    }

    /// How many are in both sets.
    pub fn common(&self, other: &Self) -> u64 {
        self.words.iter().zip(&other.words).map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }

    /// Its numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// Those in both.
    pub fn and(&self, other: &Self) -> Self {
        self.join(other, |a, b| a & b)
    }

    /// Those in either.
    pub fn or(&self, other: &Self) -> Self {
        self.join(other, |a, b| a | b)
    }

    /// Those in this one but not in the other.
    pub fn and_not(&self, other: &Self) -> Self {
        self.join(other, |a, b| a & !b)
    }

    /// Those that are not in it.
    #[allow(clippy::should_implement_trait)] // on a reference, beside `and` and `or`
    pub fn not(&self) -> Self {
        let mut words: Vec<u64> = self.words.iter().map(|w| !w).collect();
        if let (Some(last), 1..) = (words.last_mut(), self.len % 64) {
            *last &= u64::MAX >> (64 - self.len % 64);
        }
        Self { len: self.len, words }
    }

    /// The first `len` numbers of it, as a set of that universe.
    pub fn prefix(&self, len: usize) -> Self {
        let len = len.min(self.len);
        let mut words = self.words[..len.div_ceil(64)].to_vec();
        if let (Some(last), 1..) = (words.last_mut(), len % 64) {
            *last &= u64::MAX >> (64 - len % 64);
        }
        Self { len, words }
    }

    fn join(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        debug_assert_eq!(self.len, other.len);
        Self { len: self.len, words: self.words.iter().zip(&other.words).map(|(a, b)| f(*a, *b)).collect() }
    }
}
