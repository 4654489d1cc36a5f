//! The definitions once more, in plain loops over whole sorted lists.

/// p `[N][K]`.
pub struct Reference {
    pub p: Vec<Vec<f64>>,
}

/// To the nearest whole number, halves to the even one, as Python rounds.
fn rounded(x: f64) -> usize {
    let floor = x.floor() as usize;
    match x - x.floor() {
        part if part > 0.5 => floor + 1,
        part if part < 0.5 => floor,
        _ => floor + floor % 2,
    }
}

impl Reference {
    fn k(&self) -> usize {
        self.p[0].len()
    }

    pub fn threshold(&self) -> f64 {
        let mut all: Vec<f64> = self.p.concat();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all[rounded(0.95 * all.len() as f64) - 1]
    }

    pub fn entropy(&self, unit: usize) -> f64 {
        let row = &self.p[unit];
        let sum: f64 = row.iter().sum();
        let mut h = 0.0;
        for p in row {
            let q = if sum == 0.0 { 1.0 / row.len() as f64 } else { p / sum };
            if q > 0.0 {
                h -= q * q.log2() / std::f64::consts::LOG2_E;
            }
        }
        h
    }

    fn largest(&self, unit: usize) -> f64 {
        self.p[unit].iter().fold(0.0, |a: f64, b| a.max(*b))
    }

    pub fn above(&self, unit: usize) -> Vec<usize> {
        let t = self.threshold();
        (0..self.k()).filter(|k| self.p[unit][*k] > t).collect()
    }

    fn first(&self, share: f64, units: Vec<usize>, key: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut keyed: Vec<(f64, usize)> = units.into_iter().map(|u| (key(u), u)).collect();
        keyed.sort_by(|a, b| a.partial_cmp(b).unwrap());
        keyed.truncate(rounded(share * self.p.len() as f64));
        let mut out: Vec<usize> = keyed.into_iter().map(|(_, u)| u).collect();
        out.sort_unstable();
        out
    }

    pub fn by_score(&self, share: f64, lambda: f64) -> Vec<usize> {
        let k = self.k();
        let mut r = 0.0;
        for i in 1..=k {
            r += 1.0 / i as f64 / k as f64;
        }
        let score = |u: usize| self.entropy(u) / (k as f64).ln() - lambda * self.largest(u) / r;
        self.first(share, (0..self.p.len()).collect(), score)
    }

    pub fn by_lape(&self, share: f64) -> Vec<usize> {
        let passing = (0..self.p.len()).filter(|u| !self.above(*u).is_empty()).collect();
        self.first(share, passing, |u| self.entropy(u))
    }

    pub fn appear(&self, selected: &[usize]) -> Vec<usize> {
        let mut out = vec![0; self.k() + 1];
        selected.iter().for_each(|u| out[self.above(*u).len()] += 1);
        out
    }
}
