//! What trainings look like.

use super::run::{Curve, Moment};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Chart};

/// The losses of several trainings over the sequences that they saw.
pub fn curves<'a>(title: &str, caption: &str, named: impl Iterator<Item = (String, &'a Curve)>) -> Block {
    let mut longest = 0f64;
    let mut series: Vec<Line> = Vec::new();
    for (name, curve) in named {
        longest = curve.points.last().map_or(longest, |p| longest.max(p.0));
        series.push(Line { name, points: curve.points.clone(), band: Vec::new(), reference: false });
    }
    let guess = std::f64::consts::LN_2;
    series.push(Line {
        name: "guessing among the two labels, ln 2".into(),
        points: vec![(0.0, guess), (longest, guess)],
        band: Vec::new(),
        reference: true,
    });
    Block::Chart(Chart {
        title: title.to_string(),
        caption: caption.to_string(),
        plot: Plot::Lines { x: Axis::new("sequences seen"), y: Axis::new("loss, nats"), series },
    })
}

/// One number per head over training.
pub fn strengths_chart(title: &str, caption: &str, moments: &[Moment], of: impl Fn(&Moment) -> &Vec<f64>) -> Block {
    let heads = moments.first().map_or(0, |m| of(m).len());
    let line = |head: usize| Line {
        name: format!("head {head}"),
        points: moments.iter().map(|m| (m.sequences, of(m)[head])).collect(),
        band: Vec::new(),
        reference: false,
    };
    Block::Chart(Chart {
        title: title.to_string(),
        caption: caption.to_string(),
        plot: Plot::Lines {
            x: Axis::new("sequences seen"),
            y: Axis::new("attention"),
            series: (0..heads).map(line).collect(),
        },
    })
}
