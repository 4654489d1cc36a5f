//! Natural-language descriptions of units (MILAN): labels, their worth on held-out images, and what they are good for, on
//! images whose every pixel is known.

use serde_json::json;

use super::{Context, Finding, Paper, Scale};
use crate::analysis::Figures;
use crate::analysis::vision::spurious::{self, Mended, mend};
use crate::analysis::vision::study::{AtLambda, Described, Sizes, Study, study};
use crate::report::{Block, Judged, Report};
use crate::{Error, Result};

/// Paper 31.
pub struct Milan;

impl Paper for Milan {
    fn number(&self) -> u8 {
        31
    }

    fn name(&self) -> &'static str {
        "milan"
    }

    fn title(&self) -> &'static str {
        "Natural Language Descriptions of Deep Visual Features"
    }

    fn source(&self) -> &'static str {
        "Hernandez, Schwettmann, Bau, Bagashvili, Torralba, Andreas, ICLR 2022, arXiv 2201.11114"
    }

    fn claim(&self) -> &'static str {
        "A unit's most exciting regions, described by the words with the largest pointwise mutual information, give labels \
         that are true and specific; labels find the units that matter and those behind a spurious cue."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let seed = context.seed;
        let (sizes, signs) = match scale {
            Scale::Quick => (
                Sizes { train: 3000, probe: 400, updates: 250, planted: 40, describer: None, tested: 0, seed },
                spurious::Sizes { train: 3000, other: 600, updates: 400, seed },
            ),
            Scale::Full => (
                Sizes {
                    train: 20_000,
                    probe: 2500,
                    updates: 1600,
                    planted: 80,
                    describer: Some((4000, 3000)),
                    tested: 400,
                    seed,
                },
                spurious::Sizes { train: 8000, other: 1500, updates: 800, seed },
            ),
        };
        let study = study(sizes, context.progress)?;
        let (_, mended) = mend(signs, context.progress)?;
        let mut blocks = study.blocks();
        blocks.push(Block::heading("A sign that gives the answer away"));
        blocks.extend(mended.blocks());
        let mut figures = study.figures();
        figures.extend(mended.figures().into_iter().map(|(name, x)| (format!("sign.{name}"), x)));
        let value = |e: serde_json::Error| {
            Error::invalid(format!("the result of an experiment cannot be written: {e}"), "report this defect")
        };
        let result = json!({
            "study": serde_json::to_value(&study).map_err(value)?,
            "sign": serde_json::to_value(&mended).map_err(value)?,
        });
        Ok(Finding { blocks, figures, verdicts: verdicts(&study, &mended), result })
    }
}

fn judged(name: &str, holds: bool, figures: &[(&str, f64)]) -> Judged {
    Judged::claim(name, holds, 3, figures)
}

fn verdicts(study: &Study, mended: &Mended) -> Vec<Judged> {
    let (planted, cut, repair) = (&study.recovered, &study.silenced, &mended.repair);
    let labels = study.labels.figures();
    let label = |name: &str| labels.iter().find(|f| f.0 == name).map_or(f64::NAN, |f| f.1);
    let mut verdicts = vec![
        judged(
            "more than 95 % of the units that were made up get their own label back",
            planted.same.value > 0.95,
            &[("share", planted.same.value)],
        ),
        judged(
            "labels of those units tell active places on held-out images as well as their concepts; permuted ones do not",
            planted.auroc > planted.ceiling - 0.01 && planted.permuted < 0.65,
            &[("area", planted.auroc), ("of the concepts", planted.ceiling), ("permuted", planted.permuted)],
        ),
        judged(
            "labels of a trained network's units say more of held-out images than those of other units",
            label("auroc.mean") > label("auroc.permuted") && label("holding") > 0.5,
            &[("area", label("auroc.mean")), ("permuted", label("auroc.permuted")), ("hold", label("holding"))],
        ),
        judged(
            "silencing the units named after a class costs that class more than others, and more than random units",
            cut.over_others.ends().0 > 0.0 && cut.over_random.ends().0 > 0.0,
            &[("own", cut.own.value), ("others", cut.others.value), ("random", cut.random.value)],
        ),
        judged(
            "silencing units named after a misleading sign raises accuracy; random units do not",
            repair.gain.ends().0 > 0.0 && repair.gain.ends().0 > repair.random_gain.ends().1,
            &[
                ("before", repair.before.value),
                ("gain", repair.gain.value),
                ("gain of random units", repair.random_gain.value),
            ],
        ),
    ];
    if let Some(described) = &study.described {
        verdicts.extend(by_lambda(described));
    }
    verdicts
}

fn by_lambda(described: &Described) -> Vec<Judged> {
    let at = |lambda: f64| described.lambdas.iter().find(|at| at.lambda == lambda);
    let (Some(none), Some(milan), Some(most)) = (at(0.0), at(0.2), at(2.0)) else { return Vec::new() };
    let f1 = |at: &AtLambda| at.f1.value;
    vec![
        judged(
            "descriptions are truest at a lambda between 0 and 1",
            described.lambdas.iter().filter(|a| a.lambda > 0.0 && a.lambda < 1.0).any(|a| f1(a) > f1(none))
                && described.lambdas.iter().filter(|a| a.lambda > 0.0 && a.lambda < 1.0).any(|a| f1(a) > f1(most)),
            &[("lambda 0", f1(none)), ("lambda 0.2", f1(milan)), ("lambda 2", f1(most))],
        ),
        judged(
            "without lambda descriptions repeat each other",
            none.entropy < milan.entropy,
            &[("entropy at lambda 0", none.entropy), ("at lambda 0.2", milan.entropy)],
        ),
        judged(
            "descriptions say what a set shows, those of other sets do not",
            milan.f1.ends().0 > described.chance,
            &[("F1", f1(milan)), ("of other sets", described.chance)],
        ),
    ]
}
