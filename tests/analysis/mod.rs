//! Facts, lens, heads and neurons: closed forms, naive loops on golden networks, and known facts of a trained model.

mod attribution;
mod causal;
mod clamp;
mod facts;
mod forming;
mod heads;
mod lens;
mod measure;
mod neurons;
mod real;
mod templates;

use std::path::PathBuf;

use crate::common::folders;

/// Texts of many lengths, with the id 5 as a special token at the start of each and once inside.
pub fn texts() -> Vec<Vec<u32>> {
    let length = |row: u64| 6 + (row % 9) as usize;
    let body = |row: u64| crate::common::text(100 + row, length(row));
    let clean = |ids: Vec<u32>| ids.into_iter().map(|id| if id == SPECIAL { 6 } else { id }).collect::<Vec<u32>>();
    (0..13)
        .map(|row| {
            let mut ids = [vec![SPECIAL], clean(body(row))].concat();
            ids[4] = SPECIAL;
            ids
        })
        .collect()
}

/// Skipped by statistics.
pub const SPECIAL: u32 = 5;

/// A golden's name.
pub fn name(folder: &std::path::Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

/// Every golden's folder.
pub fn goldens() -> Vec<PathBuf> {
    folders()
}
