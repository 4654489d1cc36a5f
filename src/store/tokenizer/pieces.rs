//! What the pieces of a vocabulary stand for.
//!
//! Byte-level vocabularies write every byte as one printable character (`Ġ` is a space), SentencePiece writes
//! spaces as `▁` and single bytes as `<0xE4>`, WordPiece marks the inside of a word by `##`.

use serde_json::Value;

use super::files::names_type;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    ByteLevel,
    SentencePiece,
    WordPiece,
    Plain,
}

impl Pieces {
    /// The alphabet, by the serialised decoder of the tokenizer.
    pub(super) fn of(decoder: &Value) -> Self {
        if names_type(decoder, &["ByteLevel"]) {
            Self::ByteLevel
        } else if names_type(decoder, &["Metaspace", "ByteFallback"]) || decoder.to_string().contains('▁') {
            Self::SentencePiece
        } else if names_type(decoder, &["WordPiece"]) {
            Self::WordPiece
        } else {
            Self::Plain
        }
    }

    /// The bytes of a piece. A piece outside its alphabet stands for itself.
    pub(super) fn bytes(self, piece: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| piece.as_bytes().to_vec())
            }
            Self::SentencePiece => match piece.strip_prefix("<0x").and_then(|p| p.strip_suffix('>')) {
                Some(hex) if hex.len() == 2 => {
                    u8::from_str_radix(hex, 16).map_or_else(|_| piece.as_bytes().to_vec(), |byte| vec![byte])
                }
                _ => piece.replace('▁', " ").into_bytes(),
            },
            Self::WordPiece => piece.strip_prefix("##").unwrap_or(piece).as_bytes().to_vec(),
            Self::Plain => piece.as_bytes().to_vec(),
        }
    }
}

/// The byte behind a character of the byte-level alphabet: printable Latin-1 stands for itself, the other 68
/// bytes follow from U+0100 on in order.
fn byte_of(letter: char) -> Option<u8> {
    let code = letter as u32;
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if code < 0x100 {
        return printable(code).then_some(code as u8);
    }
    (0u32..0x100).filter(|b| !printable(*b)).nth((code - 0x100) as usize).map(|b| b as u8)
}

/// Text with every byte that is not part of a whole character written as `<0xE4>`.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    out
}
