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

/// Lists of numbers, and lists of these, in the same form. To be used as `#[serde(with = "number::nested")]`.
pub mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

    /// A number in the form of this module.
    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct Number(#[serde(with = "super")] f64);

    /// What numbers may be nested in.
    pub trait Nested: Sized {
        /// The same with [`Number`] in place of `f64`.
        type Form: Serialize + DeserializeOwned;
        /// To that form.
        fn form(&self) -> Self::Form;
        /// Back from it.
        fn from_form(form: Self::Form) -> Self;
    }

    impl Nested for f64 {
        type Form = Number;
        fn form(&self) -> Number {
            Number(*self)
        }
        fn from_form(form: Number) -> Self {
            form.0
        }
    }

    impl Nested for (f64, f64) {
        type Form = (Number, Number);
        fn form(&self) -> Self::Form {
            (Number(self.0), Number(self.1))
        }
        fn from_form(form: Self::Form) -> Self {
            (form.0.0, form.1.0)
        }
    }

    impl<T: Nested> Nested for Vec<T> {
        type Form = Vec<T::Form>;
        fn form(&self) -> Self::Form {
            self.iter().map(T::form).collect()
        }
        fn from_form(form: Self::Form) -> Self {
            form.into_iter().map(T::from_form).collect()
        }
    }

    /// Writes the numbers.
    pub fn serialize<T: Nested, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.form().serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, T: Nested, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::Form::deserialize(deserializer).map(T::from_form)
    }
}
