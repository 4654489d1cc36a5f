//! The part of JSON Schema that the committed schemas use. A keyword that it does not know is a failure.

use serde_json::Value;

/// Keywords that say nothing about validity, or (`pattern`, `format`) what the parsers of this crate check better.
const SILENT: &[&str] = &["$schema", "$defs", "title", "description", "default", "format", "pattern"];

/// What is wrong with `value` under `schema`, if anything. References count from `root`.
pub fn validate(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return match schema {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("{value} is not allowed")),
        };
    };
    for (keyword, rule) in rules {
        let fits = match keyword.as_str() {
            word if SILENT.contains(&word) => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{rule} leads nowhere"));
                return validate(value, target, root);
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is_of_type(value, t)),
                one => is_of_type(value, one),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "oneOf" => matching(value, rule, root) == 1,
            "anyOf" => matching(value, rule, root) >= 1,
            "required" => {
                let missing = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap()).is_none();
                rule.as_array().unwrap().iter().find(missing).is_none()
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(name) {
                        validate(inner, rule, root).map_err(|e| format!("{name}: {e}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                let names = value.as_object().into_iter().flat_map(|o| o.iter());
                for (name, inner) in names.filter(|(n, _)| !known.is_some_and(|k| k.contains_key(*n))) {
                    validate(inner, rule, root).map_err(|e| format!("{name}: {e}"))?;
                }
                true
            }
            "items" => {
                for inner in value.as_array().into_iter().flatten() {
                    validate(inner, rule, root)?;
                }
                true
            }
            "maxLength" => value.as_str().is_none_or(|s| s.len() as u64 <= rule.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|x| x >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|x| x <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|a| a.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|a| a.len() as u64 <= rule.as_u64().unwrap()),
            other => panic!("the validator does not know `{other}`"),
        };
        if !fits {
            return Err(format!("{value} breaks {keyword} = {rule}"));
        }
    }
    Ok(())
}

fn matching(value: &Value, alternatives: &Value, root: &Value) -> usize {
    let alternatives = alternatives.as_array().unwrap().iter();
    alternatives.filter(|a| validate(value, a, root).is_ok()).count()
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no type {other}"),
    }
}
