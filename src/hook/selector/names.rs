//! Short names of other toolkits: TransformerLens's (`pre5`, `k6`, `scale4ln1`, `embed`) and interp-engine's addresses
//! (`mlp_act.5`). Each becomes a full name; whether the network has that site is for the table to say.

use super::pattern::{Pattern, Token};

/// The pattern of full names that a short one stands for, if it has the form of one. The layer may stand in braces.
pub(super) fn expand(pattern: &Pattern) -> Option<Pattern> {
    let (name, layer, tail) = match pattern.0.as_slice() {
        [Token::Text(text)] => {
            let digits = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
            let (name, rest) = text.split_at(digits);
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (layer, tail) = rest.split_at(end);
            (name, (!layer.is_empty()).then(|| Token::Text(layer.to_string())), tail)
        }
        [Token::Text(name), layer @ Token::Numbers(_)] => (name.as_str(), Some(layer.clone()), ""),
        [Token::Text(name), layer @ Token::Numbers(_), Token::Text(tail)] => {
            (name.as_str(), Some(layer.clone()), tail.as_str())
        }
        _ => return None,
    };
    let rest = match name.strip_suffix('.') {
        Some(address) if layer.is_some() && tail.is_empty() => interp_engine(address)?,
        _ => transformer_lens(name, layer.is_some(), tail)?,
    };
    let tokens = match layer {
        None => vec![Token::Text(rest)],
        Some(Token::Text(digits)) => vec![Token::Text(format!("blocks.{digits}.{rest}"))],
        Some(braced) => vec![Token::Text("blocks.".to_string()), braced, Token::Text(format!(".{rest}"))],
    };
    Some(Pattern(tokens))
}

/// What follows `blocks.N.` for an address such as `mlp_act.N`.
fn interp_engine(address: &str) -> Option<String> {
    match address {
        "mlp_act" => Some("mlp.hook_post".to_string()),
        "resid_pre" | "resid_mid" | "resid_post" | "attn_out" | "mlp_out" => Some(format!("hook_{address}")),
        _ => None,
    }
}

/// TransformerLens's `get_act_name`: NAME, NAME LAYER or NAME LAYER MODULE in one word. Beyond it, NAME may hold
/// underscores before a layer (`resid_pre3`).
fn transformer_lens(name: &str, in_block: bool, module: &str) -> Option<String> {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !word(name) || !word(module) || name.starts_with("hook_") {
        return None;
    }
    let name = match name {
        "attn" => "pattern",
        "attn_logits" => "attn_scores",
        "key" => "k",
        "query" => "q",
        "value" => "v",
        "mlp_pre" => "pre",
        "mlp_mid" => "mid",
        "mlp_post" => "post",
        other => other,
    };
    let module = match (name, module) {
        ("k" | "v" | "q" | "z" | "rot_k" | "rot_q" | "result" | "pattern" | "attn_scores", _) => "attn",
        ("pre" | "post" | "mid" | "pre_linear", _) => "mlp",
        ("scale" | "normalized", "") if !in_block => "ln_final",
        (_, "a" | "attention") => "attn",
        (_, "m") => "mlp",
        (_, "b" | "block" | "blocks") => "",
        (_, other) => other,
    };
    Some(if module.is_empty() { format!("hook_{name}") } else { format!("{module}.hook_{name}") })
}
