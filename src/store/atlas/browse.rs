//! Looking through an atlas: units sorted, filtered and searched, and one statistic over all of them.

use rusqlite::{Row, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Database;
use crate::Result;

/// A statistic of units that people sort by and see on maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The unit's number.
    Number,
    /// Mean.
    Mean,
    /// Standard deviation.
    Std,
    /// Asymmetry.
    Skewness,
    /// Excess kurtosis.
    Kurtosis,
    /// Smallest value.
    Min,
    /// Largest value.
    #[default]
    Max,
    /// Share of tokens at which it fires.
    Rate,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Number, Self::Mean, Self::Std, Self::Skewness, Self::Kurtosis, Self::Min, Self::Max, Self::Rate];

    /// Its column in the table of units, which is its name too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Skewness => "skewness",
            Self::Kurtosis => "kurtosis",
            Self::Min => "min",
            Self::Max => "max",
            Self::Rate => "rate",
        }
    }
}

/// Which units to list.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Index of a site; of all sites if `None`.
    pub site: Option<usize>,
    /// What they are sorted by.
    pub sort: Statistic,
    /// Largest first.
    pub descending: bool,
    /// Only units whose labels, or whose tokens at their largest values, hold this text.
    pub search: Option<String>,
    /// Skip so many.
    pub offset: usize,
    /// List so many.
    pub limit: usize,
}

/// A unit in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its site.
    pub site: String,
    /// Its block.
    pub layer: Option<usize>,
    /// What it is: `neuron`, `head` or `direction`.
    pub unit: String,
    /// Its number within the site.
    pub number: usize,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation.
    pub std: Option<f64>,
    /// Asymmetry.
    pub skewness: Option<f64>,
    /// Excess kurtosis.
    pub kurtosis: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Share of tokens at which it fires.
    pub rate: Option<f64>,
    /// The tokens at its largest values.
    pub tokens: Vec<String>,
    /// Its label with the best score.
    pub label: Option<String>,
}

/// Tokens of a listed unit.
const TOKENS: usize = 5;

/// Which units a search leaves, `?1` a site or NULL, `?2` a pattern or NULL.
const FILTER: &str = "FROM units JOIN sites ON sites.id = units.site WHERE (?1 IS NULL OR units.site = ?1) AND (?2 IS NULL \
     OR EXISTS (SELECT 1 FROM labels WHERE labels.unit = units.id AND labels.text LIKE ?2 ESCAPE '\\') \
     OR EXISTS (SELECT 1 FROM examples JOIN contexts ON contexts.id = examples.context \
                WHERE examples.unit = units.id AND examples.kind = 'top' \
                AND json_extract(contexts.words, '$[' || contexts.focus || ']') LIKE ?2 ESCAPE '\\'))";

impl Database {
    /// Units, a page of them, and how many there are in all.
    ///
    /// # Errors
    /// Damage.
    pub fn browse(&self, wanted: &Wanted) -> Result<(usize, Vec<Listed>)> {
        let site = wanted.site.map(|s| s as i64);
        let search = wanted.search.as_deref().filter(|s| !s.is_empty()).map(pattern);
        let count =
            self.all(&format!("SELECT COUNT(*) {FILTER}"), params![site, search], |row| row.get::<_, usize>(0))?;
        let (column, order) = (wanted.sort.name(), if wanted.descending { "DESC" } else { "ASC" });
        let sql = format!(
            "SELECT units.id, sites.name, sites.layer, sites.unit, units.number, mean, std, skewness, kurtosis, min, max, \
             rate, (SELECT text FROM labels WHERE labels.unit = units.id ORDER BY score DESC LIMIT 1) {FILTER} \
             ORDER BY units.{column} {order} NULLS LAST, units.id LIMIT ?3 OFFSET ?4"
        );
        let listed = |row: &Row| {
            let unit = Listed {
                site: row.get(1)?,
                layer: row.get(2)?,
                unit: row.get(3)?,
                number: row.get(4)?,
                mean: row.get(5)?,
                std: row.get(6)?,
                skewness: row.get(7)?,
                kurtosis: row.get(8)?,
                min: row.get(9)?,
                max: row.get(10)?,
                rate: row.get(11)?,
                tokens: Vec::new(),
                label: row.get(12)?,
            };
            Ok((row.get::<_, i64>(0)?, unit))
        };
        let found = self.all(&sql, params![site, search, wanted.limit as i64, wanted.offset as i64], listed)?;
        let with_tokens = |(id, mut unit): (i64, Listed)| {
            let sql = "SELECT json_extract(words, '$[' || focus || ']') FROM examples \
                       JOIN contexts ON contexts.id = examples.context WHERE unit = ? AND kind = 'top' ORDER BY rank LIMIT ?";
            unit.tokens = self.all(sql, params![id, TOKENS as i64], |row| row.get(0))?;
            Ok(unit)
        };
        Ok((count.first().copied().unwrap_or(0), found.into_iter().map(with_tokens).collect::<Result<_>>()?))
    }

    /// One statistic of every unit of the sites whose units are of this kind: site by site, unit by unit.
    ///
    /// # Errors
    /// Damage.
    pub fn statistic(&self, unit: &str, statistic: Statistic) -> Result<Vec<(String, Vec<Option<f64>>)>> {
        let sql = format!(
            "SELECT sites.name, units.{} FROM units JOIN sites ON sites.id = units.site WHERE sites.unit = ? \
             ORDER BY sites.id, units.number",
            statistic.name()
        );
        let rows: Vec<(String, Option<f64>)> = self.all(&sql, params![unit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut by_site: Vec<(String, Vec<Option<f64>>)> = Vec::new();
        for (site, value) in rows {
            match by_site.last_mut() {
                Some((name, values)) if *name == site => values.push(value),
                _ => by_site.push((site, vec![value])),
            }
        }
        Ok(by_site)
    }
}

/// A LIKE pattern of a text anywhere.
fn pattern(text: &str) -> String {
    let mut out = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('%');
    out
}
