//! Area under the ROC curve: the probability that an active place has a larger score than an inactive one, ties counted
//! half. AUROC = U / (n+ n-), with Mann and Whitney's U.

/// U of the scores at which `active` holds against the others, ties half. NaN scores count as the smallest.
pub fn mann_whitney(scores: &[f64], active: &[bool]) -> f64 {
    let items: Vec<(f64, bool, usize)> = scores.iter().zip(active).map(|(s, a)| (*s, *a, 0)).collect();
    Ranked::new(items).counts(&[1]).0
}

/// The area; `None` unless there are active and inactive places.
///
/// ```
/// use optrode::analysis::label::auroc;
/// assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
/// assert_eq!(auroc(&[1.0, 1.0], &[true, false]), Some(0.5));
/// ```
pub fn auroc(scores: &[f64], active: &[bool]) -> Option<f64> {
    let items: Vec<(f64, bool, usize)> = scores.iter().zip(active).map(|(s, a)| (*s, *a, 0)).collect();
    Ranked::new(items).auroc(&[1])
}

/// Scored places in the order of their scores, each belonging to a document: the area for any weights of documents, as
/// the bootstrap needs it, without sorting again.
#[derive(Clone, Debug)]
pub struct Ranked {
    items: Vec<(f64, bool, usize)>,
}

impl Ranked {
    /// Places as (score, active, document).
    pub fn new(mut items: Vec<(f64, bool, usize)>) -> Self {
        let at = |x: f64| if x.is_nan() { f64::NEG_INFINITY } else { x };
        items.sort_by(|a, b| at(a.0).total_cmp(&at(b.0)));
        Self { items }
    }

    /// The area where document d counts `weights[d]` times; `None` unless active and inactive places have weight.
    pub fn auroc(&self, weights: &[u32]) -> Option<f64> {
        let (u, active, inactive) = self.counts(weights);
        (active > 0.0 && inactive > 0.0).then(|| u / (active * inactive))
    }

    /// U, and the weights of active and inactive places.
    fn counts(&self, weights: &[u32]) -> (f64, f64, f64) {
        let (mut u, mut actives, mut inactives) = (0.0, 0.0, 0.0);
        for ties in self.items.chunk_by(|a, b| a.0 == b.0 || (a.0.is_nan() && b.0.is_nan())) {
            let weight = |wanted: bool| -> f64 {
                let of = ties.iter().filter(|i| i.1 == wanted);
                of.map(|i| f64::from(weights.get(i.2).copied().unwrap_or(0))).sum()
            };
            let (active, inactive) = (weight(true), weight(false));
            u += active * (inactives + inactive / 2.0);
            actives += active;
            inactives += inactive;
        }
        (u, actives, inactives)
    }
}
