//! Floating-point numbers in JSON. JSON has no NaN and no infinities, and `null` would hide that something broke:
//! they become the strings `"NaN"`, `"inf"` and `"-inf"`. To be used as `#[serde(with = "number")]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number, or the name of one that JSON lacks.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { value.serialize(serializer) } else { value.to_string().serialize(serializer) }
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Name(String),
    }
    match Form::deserialize(deserializer)? {
        Form::Number(value) => Ok(value),
        Form::Name(name) => match name.as_str() {
            "NaN" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => Err(de::Error::custom(format!("expected a number, \"NaN\", \"inf\" or \"-inf\", got {name:?}"))),
        },
    }
}

/// A number of this form in a JSON schema: `#[schemars(with = "number::Number")]`.
pub struct Number;

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["NaN", "inf", "-inf"] }] })
    }
}
