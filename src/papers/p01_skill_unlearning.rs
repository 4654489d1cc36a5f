//! 01: skill unlearning. The organism's exact skills and languages are forgotten in turn.

use super::{Context, Finding, Paper, Scale};
use crate::Result;
use crate::analysis::Figures;
use crate::analysis::unlearn::{Chosen, Forgotten, Group, Method, Options, Sizes, Unlearning, unlearn};
use crate::data::organism::{Skill, embedded};
use crate::report::{Block, Cell, Column, Figure, Judged, Report, Table, Verdict};

/// Drop of the forgotten skill in the paper's headline.
const FORGET: f64 = 0.8;
/// Drop elsewhere in the paper's headline.
const KEEP: f64 = 0.1;

/// Li, Sun and Weng 2025.
pub struct SkillUnlearning;

impl Paper for SkillUnlearning {
    fn number(&self) -> u8 {
        1
    }

    fn name(&self) -> &'static str {
        "skill-unlearning"
    }

    fn title(&self) -> &'static str {
        "Effective Skill Unlearning through Intervention and Abstention"
    }

    fn source(&self) -> &'static str {
        "Li, Sun and Weng, NAACL 2025, arXiv 2503.21730"
    }

    fn claim(&self) -> &'static str {
        "Key Space Detection drops a forgotten skill by more than 80 % with less than 10 % loss elsewhere; Neuron Adjust \
         forgets more the more neurons it adjusts; pruning forgets too, but costs more elsewhere."
    }

    fn run(&self, scale: Scale, context: &Context) -> Result<Finding> {
        let sizes = match scale {
            Scale::Quick => Sizes { fit: 400, validation: 24, test: 48 },
            Scale::Full => Sizes { fit: 400, validation: 60, test: 120 },
        };
        let mut groups = Vec::new();
        for skill in Skill::ALL {
            groups.push(Group::skill(skill, sizes, context.seed)?);
        }
        let skills = groups.len();
        let texts = Sizes { validation: sizes.validation / 2, test: sizes.test / 4, ..sizes };
        for set in embedded::texts() {
            groups.push(Group::texts(&set.name, set.texts, texts, context.seed)?);
        }
        let options = match scale {
            Scale::Quick => Options {
                methods: vec![Method::Ksd, Method::KsdLast, Method::Na, Method::Sp],
                percents: vec![1.0, 10.0],
                runs: 1,
                seed: context.seed,
                ..Options::default()
            },
            Scale::Full => Options { relearn: 16, seed: context.seed, ..Options::default() },
        };
        let forget: Vec<usize> = match scale {
            Scale::Quick => (0..skills).collect(),
            Scale::Full => (0..groups.len()).collect(),
        };
        let model = context.organism()?;
        let mut last = 0;
        let done = unlearn(&model, &groups, &forget, &options, &mut |now, all| {
            if last == 0 {
                context.progress.begin(all as u64);
            }
            context.progress.advance(now.saturating_sub(last) as u64);
            last = now;
        })?;
        let result = done.result;
        let mut blocks = vec![published()];
        blocks.extend(result.blocks());
        let finding = Finding::of(&result, verdicts(&result, skills))?;
        Ok(Finding { blocks, figures: result.figures(), ..finding })
    }
}

/// The paper's own figures.
fn published() -> Block {
    let columns = ["Llama-3-8B, value / value before", "forgotten: GSM8K", "kept: MBPP", "kept: MMLU"];
    let rows = [
        ("ksd", 0.16, 1.00, 1.00),
        ("na, 0.5 %", 0.78, 1.00, 0.99),
        ("na, 1.5 %", 0.57, 0.93, 0.97),
        ("na, 3 %", 0.39, 0.76, 0.96),
        ("sp, 1.5 %", 0.17, 0.93, 0.94),
    ];
    let number = |value: f64| Cell::Number { value, digits: 2 };
    let row = |r: &(&str, f64, f64, f64)| vec![Cell::text(r.0), number(r.1), number(r.2), number(r.3)];
    Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.iter().map(row).collect() })
}

/// The parts of the claim. Skills come before languages among the groups.
fn verdicts(result: &Unlearning, skills: usize) -> Vec<Judged> {
    let of_skills: Vec<&Forgotten> = result.forgotten.iter().filter(|f| result.index(f) < skills).collect();
    let mut out = Vec::new();
    for forgotten in &of_skills {
        let index = result.index(forgotten);
        let ksd = chosen(forgotten, Method::Ksd);
        let (drop, worst) = ksd.map_or((f64::NAN, f64::NAN), |c| (1.0 - c.kept[index].value, c.worst(index)));
        out.push(Judged {
            name: format!("ksd forgets {}: drop >= {FORGET}, elsewhere <= {KEEP}", forgotten.group),
            verdict: held(drop >= FORGET && worst <= KEEP),
            reason: String::new(),
            figures: vec![figure("drop", drop), figure("worst elsewhere", worst)],
        });
    }
    let rises = of_skills.iter().filter(|f| is_monotone(f, result.index(f))).count();
    out.push(Judged {
        name: "na forgets no less with more neurons, in most skills (validation, within 0.1)".to_string(),
        verdict: held(2 * rises > of_skills.len()),
        reason: String::new(),
        figures: vec![Figure::new("skills", Cell::count(rises)), Figure::new("of", Cell::count(of_skills.len()))],
    });
    let (own, random) = (mean_drop(result, &of_skills, Method::Na), mean_drop(result, &of_skills, Method::NaRandom));
    out.push(Judged {
        name: "na drops the forgotten skill more than as many random neurons do (mean over skills)".to_string(),
        verdict: held(own > random),
        reason: String::new(),
        figures: vec![figure("na", own), figure("random", random)],
    });
    // At equal forgetting: the cheapest setting of pruning that forgets as much as the headline asks.
    let cost = |f: &&&Forgotten| {
        let index = result.index(f);
        let enough = f.tried.iter().filter(|t| t.setting.method == Method::Sp && t.drop(index) >= FORGET);
        enough.map(|t| t.worst(index)).min_by(f64::total_cmp)
    };
    let ksd = |f: &&&Forgotten| chosen(f, Method::Ksd).map(|c| c.worst(result.index(f)));
    let pairs: Vec<(f64, f64)> = of_skills.iter().filter_map(|f| Some((cost(&f)?, ksd(&f)?))).collect();
    let dearer = pairs.iter().filter(|(sp, ksd)| sp > ksd).count();
    out.push(Judged {
        name: "sp costs more elsewhere than ksd wherever a setting of it drops the skill as much".to_string(),
        verdict: if pairs.is_empty() { Verdict::Skipped } else { held(dearer == pairs.len()) },
        reason: if pairs.is_empty() { "no setting of sp drops a skill as much".to_string() } else { String::new() },
        figures: vec![Figure::new("skills", Cell::count(dearer)), Figure::new("of", Cell::count(pairs.len()))],
    });
    out
}

fn chosen(forgotten: &Forgotten, method: Method) -> Option<&Chosen> {
    forgotten.chosen.iter().find(|c| c.setting.method == method)
}

fn is_monotone(forgotten: &Forgotten, index: usize) -> bool {
    let drops: Vec<f64> =
        forgotten.tried.iter().filter(|t| t.setting.method == Method::Na).map(|t| t.drop(index)).collect();
    drops.windows(2).all(|pair| pair[1] >= pair[0] - 0.1)
}

/// Mean over skills of the drop at the largest setting that was tried.
fn mean_drop(result: &Unlearning, forgotten: &[&Forgotten], method: Method) -> f64 {
    let last = |f: &&Forgotten| {
        let tried = f.tried.iter().rev().find(|t| t.setting.method == method);
        tried.map_or(f64::NAN, |t| t.drop(result.index(f)))
    };
    forgotten.iter().map(last).sum::<f64>() / forgotten.len() as f64
}

fn held(held: bool) -> Verdict {
    if held { Verdict::Passed } else { Verdict::Failed }
}

fn figure(name: &str, value: f64) -> Figure {
    Figure::new(name, Cell::Number { value, digits: 3 })
}
