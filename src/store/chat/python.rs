//! What chat templates expect of Python: `tojson` as `json.dumps` writes it, `strftime_now`, `raise_exception`,
//! and the `{% generation %}` tag of transformers, which marks a range and prints nothing.

use chrono::Utc;
use chrono::format::{Item, StrftimeItems};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};

/// Adds the functions, filters and methods.
pub(super) fn install(env: &mut Environment) {
    env.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    env.add_function("strftime_now", |format: String| strftime_now(&format));
    // Jinja's own filter escapes for HTML; transformers replaces it by json.dumps.
    env.add_filter("tojson", |value: Value, options: Kwargs| -> Result<String, Error> {
        let indent: Option<usize> = options.get("indent")?;
        // Accepted as Python does, and already so: keys keep their order and text stays UTF-8.
        let _: Option<bool> = options.get("ensure_ascii")?;
        let _: Option<bool> = options.get("sort_keys")?;
        options.assert_all_used()?;
        let json = serde_json::to_value(&value)
            .map_err(|e| Error::new(ErrorKind::BadSerialization, format!("tojson: {e}")))?;
        let mut out = String::new();
        dumps(&json, indent.map(|i| i.min(16)), 0, &mut out);
        Ok(out)
    });
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn dumps(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value {
        serde_json::Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                line(out, depth + 1);
                dumps(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (i, (key, item)) in fields.iter().enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                line(out, depth + 1);
                out.push_str(&serde_json::Value::from(key.as_str()).to_string());
                out.push_str(": ");
                dumps(item, indent, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// `datetime.now().strftime(format)` in UTC.
fn strftime_now(format: &str) -> Result<String, Error> {
    let items: Vec<Item> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        let what = format!("strftime_now: `{format}` has a code that is none of strftime's");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(Utc::now().format_with_items(items.into_iter()).to_string())
}

/// Turns `{% generation %}` and `{% endgeneration %}` into a block that is always taken, whitespace marks kept.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(close + 2);
        let word = tag.trim_matches(['{', '}', '%', '-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
