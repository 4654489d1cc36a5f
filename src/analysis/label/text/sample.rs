//! Which texts of a corpus are read, whatever its size: a random few by hash, so many bytes of them, and of long documents
//! the beginning. Memory holds what is chosen.

use std::collections::BTreeMap;

use super::reading::Text;
use crate::Result;
use crate::data::Documents;
use crate::hook::random;

/// Chooses documents of about `bytes` altogether. A document gives at least `piece` bytes of its text, and more where the
/// corpus has few documents.
///
/// # Errors
/// When the corpus cannot be read.
pub fn sample(documents: &Documents, bytes: u64, piece: u64, seed: u64) -> Result<Vec<Text>> {
    let most = piece.max(bytes / documents.survey.documents.max(1));
    let mut chosen: BTreeMap<(u64, u64), Text> = BTreeMap::new();
    let mut held = 0;
    for chunk in documents.chunks_of(|_| true) {
        for document in chunk?.documents {
            let key = (random::key(seed, &[random::name("sample"), document.number]), document.number);
            if held >= bytes && chosen.last_key_value().is_some_and(|(last, _)| key > *last) {
                continue;
            }
            let text = beginning(document.text, most);
            held += text.len() as u64;
            chosen.insert(key, Text { number: document.number, group: document.group, text });
            while let Some((_, last)) = chosen.last_key_value() {
                let without = held - last.text.len() as u64;
                if without < bytes {
                    break;
                }
                held = without;
                chosen.pop_last();
            }
        }
    }
    Ok(chosen.into_values().collect())
}

/// So many bytes of a text, up to the end of a character.
fn beginning(mut text: String, bytes: u64) -> String {
    let mut end = usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
