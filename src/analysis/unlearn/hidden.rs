//! The table of what each method hides, and what it removes.

use super::result::Forgotten;
use crate::analysis::Estimate;
use crate::report::{Better, Block, Cell, Column, Table};

/// What is still there of a forgotten group of questions; nothing of texts.
pub(super) fn hidden(forgotten: &Forgotten) -> Option<Block> {
    let mut rows = Vec::new();
    let mut row = |what: String, before: &Estimate, after: Vec<&Estimate>| {
        let cells = [Cell::text(what), before.cell(2)];
        rows.push(cells.into_iter().chain(after.into_iter().map(|e| e.cell(2))).collect());
    };
    for attack in &forgotten.attacks {
        row(format!("right answers {}", attack.attack.word()), &attack.before, attack.after.iter().collect());
    }
    if let Some(probe) = &forgotten.probe {
        let what = format!(
            "first tokens of answers that a linear probe reads in the stream (chance {:.2}, {} of them)",
            probe.chance.value, probe.classes
        );
        row(what, &probe.before.right, probe.after.iter().map(|read| &read.right).collect());
    }
    if let Some(relearned) = &forgotten.relearning {
        for (i, updates) in relearned.updates.iter().enumerate() {
            let after = relearned.after.iter().map(|curve| &curve[i]).collect();
            row(format!("right answers after {updates} update(s) of training"), &relearned.untouched[i], after);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut columns = vec![Column::new(format!("what is left of {}", forgotten.group)), Column::new("untouched")];
    columns.extend(forgotten.chosen.iter().map(|c| Column::new(c.setting.method.word()).better(Better::Less)));
    Some(Block::Table(Table { columns, rows }))
}
