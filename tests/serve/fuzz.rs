//! Random requests along the OpenAPI document: whatever is asked, nothing breaks.

use optrode::hook::random::Stream;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::server::with;

/// Requests of each operation.
const EACH: u64 = 24;

#[test]
fn random_requests_along_the_document_find_no_defect() {
    with(&["organism", "izhikevich"], async |server| {
        server.ready().await;
        let document = server.get("/api/v1/openapi.json").await;
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() > 25, "{} paths", paths.len());
        let mut statuses = std::collections::BTreeMap::new();
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                // Reports run for minutes, events until their job ends.
                if path.ends_with("/reports") && method == "post" || path.ends_with("/events") {
                    continue;
                }
                for round in 0..EACH {
                    let mut from = Stream::new(7, &[optrode::hook::random::name(path), round]);
                    let address = address(path, operation, &mut from);
                    let schema = operation.pointer("/requestBody/content/application~1json/schema");
                    let body = schema.map(|s| value(s, &document, &mut from, 0));
                    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                    let (status, told) = server.ask(method, &format!("/api/v1{address}"), body.clone()).await;
                    assert!(status.as_u16() < 500, "{address} {body:?}: {status} {told}");
                    *statuses.entry(status.as_u16()).or_insert(0) += 1;
                    // What was started is not waited for.
                    if let Some(id) = told["id"].as_u64().filter(|_| told["status"].is_string()) {
                        server.ask(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
                    }
                }
            }
        }
        // Some of the requests must have been good, or nothing was tested.
        assert!(statuses.get(&200).copied().unwrap_or(0) > 50, "{statuses:?}");
        assert!(statuses.len() > 3, "{statuses:?}");
        server.get("/api/v1/models").await;
    });
}

fn pick<'a>(from: &mut Stream, list: &[&'a str]) -> &'a str {
    list[from.below(list.len())]
}

fn address(path: &str, operation: &Value, from: &mut Stream) -> String {
    let known = |name: &str, from: &mut Stream| match name {
        "model" => pick(from, &["organism", "organism", "organism", "x", "%00"]).to_string(),
        "network" => pick(from, &["izhikevich", "izhikevich", "none"]).to_string(),
        "site" => {
            pick(from, &["blocks.1.mlp.hook_post", "blocks.0.attn.hook_result", "logits", "..", "%F0%9F"]).to_string()
        }
        _ => pick(from, &["0", "1", "3", "-1", "999999999999999999999", "a-b", "..%2f", "%"]).to_string(),
    };
    let filled: Vec<String> = path
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => known(name, from),
            None => part.to_string(),
        })
        .collect();
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "query") {
        if from.below(3) > 0 {
            let words = ["a", "The", "", "-1", "0", "true", "max", "%5B%5D", "%5B%7B%7D%5D", "organism", "%E4", "null"];
            query.push(format!("{}={}", parameter["name"].as_str().unwrap(), pick(from, &words)));
        }
    }
    format!("{}?{}", filled.join("/"), query.join("&"))
}

/// A value of a schema, now and then one that is none.
fn value(schema: &Value, document: &Value, from: &mut Stream, depth: usize) -> Value {
    if from.below(12) == 0 {
        let odd = [json!(null), json!(-1), json!("x"), json!([]), json!({}), json!(1e300), json!("\u{202e}\u{0}")];
        return odd[from.below(odd.len())].clone();
    }
    if let Some(place) = schema["$ref"].as_str() {
        let Some(target) = document.pointer(place.trim_start_matches('#')) else { return json!(null) };
        return if depth > 6 { json!(null) } else { value(target, document, from, depth + 1) };
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices[from.below(choices.len())].clone();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            return value(&choices[from.below(choices.len())], document, from, depth + 1);
        }
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[from.below(kinds.len())].as_str().unwrap_or("null").to_string(),
        kind => kind.as_str().unwrap_or("string").to_string(),
    };
    match kind.as_str() {
        "integer" => json!(from.below(5)),
        "number" => json!(from.below(100) as f64 / 50.0),
        "boolean" => json!(from.below(2) == 0),
        "null" => json!(null),
        "array" => (0..from.below(3)).map(|_| value(&schema["items"], document, from, depth + 1)).collect(),
        "object" => {
            let mut object = Map::new();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if from.below(4) > 0 {
                    object.insert(name.clone(), value(property, document, from, depth + 1));
                }
            }
            Value::Object(object)
        }
        _ => {
            let words = ["The Queen", "", "blocks.1.mlp.hook_post[neuron=3]", "zero", "a", "**", "exc.hook_spikes"];
            json!(pick(from, &words))
        }
    }
}
