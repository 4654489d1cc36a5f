//! Named numbers of a step, in the order in which the step gives them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Cell, number};

/// Named numbers in order; in JSON an object. What JSON lacks stands there as `"NaN"`, `"inf"` or `"-inf"`.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<(String, f64)>);

impl Figures {
    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// Whether two figures are the same number, to the last bit; any NaN equals any other.
pub fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

impl PartialEq for Figures {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().zip(other.iter()).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
    }
}

/// A figure as people read it: counts whole, small values in scientific form, else four digits after the point.
pub fn cell(value: f64) -> Cell {
    match value {
        v if v.fract() == 0.0 && v.abs() < 1e15 => Cell::Number { value, digits: 0 },
        v if v.abs() < 1e-3 => Cell::Error(value),
        _ => Cell::Number { value, digits: 4 },
    }
}

/// A word as a part of a figure's name: what the names of expectations lack becomes `_` (`gsm8k-main`: `gsm8k_main`).
pub fn name_part(word: &str) -> String {
    word.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Number(#[serde(with = "number")] f64);

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, &Number(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Figures;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of figures")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figures, A::Error> {
                let mut out = Vec::new();
                while let Some((name, Number(value))) = map.next_entry()? {
                    out.push((name, value));
                }
                Ok(Figures(out))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl JsonSchema for Figures {
    fn schema_name() -> Cow<'static, str> {
        "Figures".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Numbers by name.",
            "additionalProperties": generator.subschema_for::<number::Number>()
        })
    }
}
