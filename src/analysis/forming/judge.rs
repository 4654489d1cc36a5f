//! The parts of the claim, and the figures that they rest on.

use super::clamps::Condition;
use super::experiment::{Experiment, LEARNT, PLATEAU, Trained};
use crate::analysis::Figures;
use crate::report::{Cell, Figure, Judged, Verdict};

impl Experiment {
    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let mut verdicts = Vec::new();
        let mut judge = |name: &str, holds: Option<bool>, figures: Vec<(String, Option<f64>)>| {
            let figures = figures.into_iter().map(|(name, value)| {
                Figure::new(name, value.map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 }))
            });
            let (verdict, reason) = match holds {
                Some(true) => (Verdict::Passed, ""),
                Some(false) => (Verdict::Failed, "the figures say otherwise"),
                None => (Verdict::Failed, "a condition did not learn in the updates that it was given"),
            };
            verdicts.push(Judged { name: name.into(), verdict, reason: reason.into(), figures: figures.collect() });
        };
        let (halfway, late) = (self.free.curve.on_the_way(0.5, LEARNT), self.free.curve.late_speed(LEARNT));
        judge(
            "unclamped training waits near ln 2 and then drops",
            halfway.zip(late).map(|(loss, late)| (PLATEAU.0..=PLATEAU.1).contains(&loss) && late > 1.0),
            vec![
                ("loss halfway".into(), halfway),
                ("speed of the last third over the middle one".into(), late),
                ("learnt at".into(), self.free.learnt()),
            ],
        );
        let at = |c: Condition| self.learnt(c);
        for pair in Condition::CLAMPS.windows(2) {
            let (slower, faster) = (pair[0], pair[1]);
            judge(
                &format!("\"{}\" learns later than \"{}\"", slower.name(), faster.name()),
                at(slower).zip(at(faster)).map(|(a, b)| a > b),
                vec![(slower.name().into(), at(slower)), (faster.name().into(), at(faster))],
            );
        }
        let late = |c: Condition| self.late_speed(c);
        for condition in [Condition::Match, Condition::Layer1Copy] {
            judge(
                &format!("\"{}\" has no plateau: learning only slows down, unlike without a clamp", condition.name()),
                late(condition).zip(late(Condition::None)).map(|(clamped, none)| clamped < 1.0 && none > 1.0),
                vec![
                    (format!("speed of the last third over the middle one, {}", condition.name()), late(condition)),
                    ("none".into(), late(Condition::None)),
                ],
            );
        }
        let several = self.strengths.iter().filter(|s| **s > 0.2).count();
        judge(
            "several heads become induction heads",
            Some(several >= 3),
            vec![("heads of a strength above 0.2".into(), Some(several as f64))],
        );
        let (one, whole) = (self.added.first().copied(), self.added.last().copied());
        judge(
            "heads add up: all of them lose less than the strongest alone",
            one.zip(whole).map(|(a, b)| a > b),
            vec![("strongest alone".into(), one), ("all".into(), whole)],
        );
        let (b, c) = (Condition::Layer1Copy, Condition::Match);
        let most = self.plan.classes.last().copied().unwrap_or(50);
        let growth = |condition: Condition, classes: usize, labels: usize| {
            self.scaled(condition, classes, labels).zip(self.scaled(condition, 50, 5)).map(|(a, b)| a / b)
        };
        let (of_b, of_c) = (growth(b, most, 5), growth(c, most, 5));
        judge(
            &format!("{most} classes delay the match (B) more than the copy (C)"),
            of_b.zip(of_c).map(|(b, c)| b > c && b > 1.0),
            vec![("B, times as long".into(), of_b), ("C, times as long".into(), of_c)],
        );
        let most = self.plan.labels.last().copied().unwrap_or(5);
        let (of_b, of_c) = (growth(b, 50, most), growth(c, 50, most));
        judge(
            &format!("{most} labels delay the copy (C) more than the match (B)"),
            of_b.zip(of_c).map(|(b, c)| c > b && c > 1.0),
            vec![("C, times as long".into(), of_c), ("B, times as long".into(), of_b)],
        );
        for condition in self.plan.scaled.iter().copied().filter(|c| *c == Condition::None) {
            let most = [(self.plan.classes.last(), "classes"), (self.plan.labels.last(), "labels")];
            for (most, what) in most.into_iter().filter_map(|(most, what)| Some((*most?, what))) {
                let (classes, labels) = if what == "classes" { (most, 5) } else { (50, most) };
                let (more, as_usual) = (self.scaled(condition, classes, labels), self.scaled(condition, 50, 5));
                judge(
                    &format!("{most} {what} delay the drop"),
                    more.zip(as_usual).map(|(more, as_usual)| more > as_usual),
                    vec![(format!("{most} {what}"), more), ("as usual".into(), as_usual)],
                );
            }
        }
        if !self.pictures.is_empty() {
            let at = |c: Condition| self.pictures.iter().find(|t| t.condition == c).and_then(Trained::learnt);
            let (none, both) = (at(Condition::None), at(Condition::Layer1Copy));
            let between = |c: &Condition| none.zip(at(*c)).zip(both).map(|((n, x), b)| n > x && x > b);
            let inner = &Condition::CLAMPS[1..5];
            judge(
                "on handwritten characters every clamp brings the drop forward, layer 1 + copy most",
                inner.iter().map(between).collect::<Option<Vec<bool>>>().map(|all| all.into_iter().all(|x| x)),
                Condition::CLAMPS.into_iter().map(|c| (c.name().to_string(), at(c))).collect(),
            );
        }
        verdicts
    }
}

impl Figures for Experiment {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for condition in Condition::CLAMPS {
            let at = self.learnt(condition).unwrap_or(f64::INFINITY);
            figures.push((format!("learnt.{}", condition.figure()), at));
        }
        for t in &self.pictures {
            figures.push((format!("characters.{}", t.condition.figure()), t.learnt().unwrap_or(f64::INFINITY)));
        }
        figures.push(("learnt.free".into(), self.free.learnt().unwrap_or(f64::INFINITY)));
        figures.push(("strength.max".into(), self.strengths.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        for (name, e) in ["train", "relabel", "exemplars", "classes"].iter().zip(&self.evaluations) {
            figures.push((format!("loss.{name}"), e.loss));
        }
        figures
    }
}
