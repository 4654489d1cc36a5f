//! Which language and which script a text is in, by `whatlang` (trigrams and alphabets), among given languages only.

use whatlang::{Detector, Lang, Script, detect_script};

use crate::{Error, Result};

/// ISO 639-1 codes of the languages that `whatlang` knows by their ISO 639-3 codes.
const CODES: &str = "af afr am amh ar ara az aze be bel bg bul bn ben ca cat cs ces cy cym da dan de deu el ell en eng \
    eo epo es spa et est fa pes fi fin fr fra gu guj he heb hi hin hr hrv hu hun hy hye id ind it ita ja jpn jv jav \
    ka kat km khm kn kan ko kor la lat lt lit lv lav mk mkd ml mal mr mar my mya nb nob nl nld or ori pa pan pl pol \
    pt por ro ron ru rus si sin sk slk sl slv sn sna sr srp sv swe ta tam te tel th tha tk tuk tl tgl tr tur uk ukr \
    ur urd uz uzb vi vie yi yid zh cmn zu zul ak aka ne nep";

/// Tells given languages apart.
pub struct Judge {
    detector: Detector,
    languages: Vec<Lang>,
}

impl Judge {
    /// A judge of languages by their names: ISO 639 codes of two or three letters.
    ///
    /// # Errors
    /// A name that is no such code, or of a language that `whatlang` does not know.
    pub fn of(names: &[String]) -> Result<Self> {
        let words: Vec<&str> = CODES.split_ascii_whitespace().collect();
        let known = |name: &String| {
            let code = words.chunks(2).find(|pair| pair[0] == name).map_or(name.as_str(), |pair| pair[1]);
            Lang::from_code(code).ok_or_else(|| {
                Error::invalid(
                    format!("the language of a text cannot be told among {}: `{name}` is not known", names.join(", ")),
                    "name languages by ISO 639 codes (en, de, zh, ...)",
                )
            })
        };
        let languages: Vec<Lang> = names.iter().map(known).collect::<Result<_>>()?;
        Ok(Self { detector: Detector::with_allowlist(languages.clone()), languages })
    }

    /// The language of a text: an index into the names; `None` where it cannot be told.
    pub fn language(&self, text: &str) -> Option<usize> {
        let found = self.detector.detect_lang(text)?;
        self.languages.iter().position(|lang| *lang == found)
    }
}

/// The name of the script that most letters of a text are in; `None` without letters.
pub fn script(text: &str) -> Option<&'static str> {
    let found = detect_script(text)?;
    match found {
        Script::Mandarin => Some("Han"),
        _ => Script::all().iter().find(|script| **script == found).map(Script::name),
    }
}

/// Bytes of characters that belong to no script in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The script of a token's bytes, which may be a part of a character: then that of all characters which begin so.
///
/// # Errors
/// Nothing, for parts that belong to no script in particular.
pub fn script_of_bytes(bytes: &[u8]) -> std::result::Result<Option<&'static str>, Ambiguous> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(script(text));
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(script) = script(&text) {
        return Ok(Some(script));
    }
    // Continuation bytes alone say nothing; the first bytes of a character give the range that it lies in.
    let start = bytes.iter().position(|b| *b >= 0xC2).ok_or(Ambiguous)?;
    let begun = &bytes[start..];
    let length = match begun[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    let filled = |with: u8| {
        let mut whole = begun.to_vec();
        whole.resize(length, with);
        std::str::from_utf8(&whole).ok().and_then(script)
    };
    let mut possible = (0x80..=0xBF).filter_map(filled);
    let first = possible.next().ok_or(Ambiguous)?;
    if possible.all(|script| script == first) { Ok(Some(first)) } else { Err(Ambiguous) }
}
