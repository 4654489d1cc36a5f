//! The prompt lab.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::{Screen, View, escaped, figure, form, quoted};
use crate::analysis::inspect::{Candidate, Inspection};
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Chart, visible};
use crate::serve::api::lab::{Look, Looked, Side, given, look};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::Names;
use crate::serve::{api, worker};

/// What stands in an empty lab: it repeats, so that induction heads have something to do.
pub const PROMPT: &str = "The Queen looked at Alice, and Alice looked at the Queen";

pub async fn page(app: App, names: Names, asked: Look) -> Reply<View> {
    let name = names.get("model")?;
    let served = app.model(name)?;
    let mut asked = asked;
    if asked.text.is_empty() {
        asked.text = PROMPT.to_string();
    }
    let looked = look(&app, name, &asked).await?;
    let saved = api::edits::saved(&app)?;
    let layers = match served.worker.state() {
        worker::State::Ready(facts) => facts.sizes.layers,
        _ => looked.left.seen.lens.len().saturating_sub(1),
    };
    let body = html! {
        (asking(&app, name, &asked, &saved, layers, looked.left.seen.layer))
        (sides(&looked))
        div class="columns" {
            section aria-labelledby="next" { h2 id="next" { "What comes next" } (next_tokens(&looked)) }
            (continuing(name, &asked))
        }
        section aria-labelledby="lens" {
            h2 id="lens" { "Logit lens" }
            p { "What the stream after each block would predict after each token; the bottom row is the network's own prediction." }
            (ramp(20, "probability of the likeliest token"))
            (lens(&looked.left)) @if let Some(right) = &looked.right { (lens(right)) }
        }
        section aria-labelledby="attention" {
            h2 id="attention" { "Attention of block " (looked.left.seen.layer) }
            p { "Point at a head to see what a token attends to; click (or press Enter) to hold it. Rows are queries, columns are keys." }
            (ramp(64, "attention"))
            (heads(&looked.left)) @if let Some(right) = &looked.right { (heads(right)) }
        }
        section aria-labelledby="units" { h2 id="units" { "Units" } (units(name, &looked)?) }
        section aria-labelledby="norms" { h2 id="norms" { "Norms" } (norms(&looked)?) }
    };
    let query = query_of(&asked);
    let command = command(&app, &served.reference, &asked);
    Ok(View::new(Screen::Lab, "Prompt lab", body)
        .of(name)
        .command(command)
        .api(format!("/api/v1/models/{name}/inspect?{query}")))
}

/// What shows the same on the command line: the lens of each side, or both texts with and without the edits.
fn command(app: &App, reference: &str, asked: &Look) -> String {
    let (text, lens) = (quoted(&asked.text), |model: &str, text: &str| format!("optrode lens {model} --text {text}"));
    let saved = given(&asked.saved).and_then(|name| app.place("edits", name).ok());
    if saved.is_some() || given(&asked.edits).is_some() {
        let file = saved.map_or("EDITS.json".to_string(), |path| quoted(&path.display().to_string()));
        return format!("optrode edit apply {} --edit {file} --prompt {text}", quoted(reference));
    }
    let mut commands = vec![lens(&quoted(reference), &text)];
    if asked.compares() {
        let other = given(&asked.against).and_then(|name| app.model(name).ok()).map_or(reference, |m| &m.reference);
        commands.push(lens(&quoted(other), &given(&asked.other).map_or(text.clone(), quoted)));
    }
    commands.join("\n")
}

/// The request as a query.
fn query_of(asked: &Look) -> String {
    let mut parts = vec![format!("text={}", escaped(&asked.text))];
    let fields = [
        ("other", &asked.other),
        ("against", &asked.against),
        ("edits", &asked.edits),
        ("saved", &asked.saved),
        ("site", &asked.site),
    ];
    parts.extend(fields.into_iter().filter_map(|(name, f)| Some(format!("{name}={}", escaped(given(f)?)))));
    parts.extend(asked.layer.map(|layer| format!("layer={layer}")));
    parts.join("&")
}

fn asking(app: &App, name: &str, asked: &Look, saved: &[api::edits::Saved], layers: usize, layer: usize) -> Markup {
    let text = |field: &Option<String>| given(field).unwrap_or_default().to_string();
    let option = |value: &str, words: &str| (value.to_string(), words.to_string());
    let blocks: Vec<(String, String)> = (0..layers).map(|l| (l.to_string(), l.to_string())).collect();
    let mut models = vec![option("", "none")];
    models.extend(app.models.iter().filter(|m| m.name != name).map(|m| option(&m.name, &m.name)));
    let mut edits = vec![option("", "none")];
    edits.extend(saved.iter().map(|s| option(&s.name, &s.name)));
    html! {
        form method="get" class="ask" {
            (form::area("text", "Prompt", &asked.text, 2))
            div class="fields" {
                (form::choice("layer", "Block", &blocks, &layer.to_string()))
                (form::line("site", "Units of site", &text(&asked.site), "the block's neurons"))
            }
            details open[asked.compares()] {
                summary { "Compare with another prompt, another model, or edits" }
                (form::area("other", "Second prompt", &text(&asked.other), 2))
                div class="fields" {
                    @if models.len() > 1 { (form::choice("against", "Second model", &models, &text(&asked.against))) }
                    @if edits.len() > 1 { (form::choice("saved", "Saved edit", &edits, &text(&asked.saved))) }
                    (form::line("edits", "Edits", &text(&asked.edits), r#"[{"site": "blocks.3.attn.hook_z[head=1]", "op": "zero"}]"#))
                }
            }
            button type="submit" class="go" { "Look" }
        }
    }
}

/// The tokens of each side.
fn sides(looked: &Looked) -> Markup {
    let one = |side: &Side, title: &str| {
        html! {
            div class="side-tokens" {
                h3 {
                    (title)
                    @if !side.edits.is_empty() { " · " (side.edits.len()) (if side.edits.len() == 1 { " edit" } else { " edits" }) }
                }
                ol class="strip" data-strip=(title) {
                    @for (i, token) in side.seen.tokens.iter().enumerate() {
                        @let loss = token.loss.map(|l| format!(", loss {l:.3} nats")).unwrap_or_default();
                        li class=[token.special.then_some("special")] title=(format!("position {i}, id {}{loss}", token.id)) {
                            span { (printed(&token.text)) }
                            small { (token.id) }
                        }
                    }
                }
                @for (event, position) in &side.seen.events { p class="failure" { (visible(event)) " at position " (position) } }
            }
        }
    };
    html! {
        section aria-labelledby="tokens" {
            h2 id="tokens" { "Tokens" }
            (one(&looked.left, if looked.right.is_some() { "Left" } else { "Prompt" }))
            @if let Some(right) = &looked.right { (one(right, "Right")) }
        }
    }
}

/// A token as it is printed: spaces and line ends can be seen.
fn printed(text: &str) -> String {
    let text = text.replace('\n', "⏎");
    let (trimmed, spaces) = (text.trim_start_matches(' '), text.len() - text.trim_start_matches(' ').len());
    visible(&format!("{}{trimmed}", "␣".repeat(spaces)))
}

fn next_tokens(looked: &Looked) -> Markup {
    let probability =
        |seen: &Inspection, id: u32| seen.next.iter().find(|c| c.id == id).map(|c| c.log_probability.exp());
    let mut tokens: Vec<&Candidate> = looked.left.seen.next.iter().collect();
    if let Some(right) = &looked.right {
        tokens.extend(right.seen.next.iter().filter(|c| probability(&looked.left.seen, c.id).is_none()));
    }
    let cell = |p: Option<f64>| p.map_or("–".to_string(), |p| format!("{p:.4}"));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Next tokens" {
            table {
                thead {
                    tr {
                        th scope="col" { "token" } th scope="col" class="number" { "id" }
                        @if looked.right.is_some() {
                            th scope="col" class="number" { "left" } th scope="col" class="number" { "difference" }
                            th scope="col" class="number" { "right" }
                        } @else { th scope="col" class="number" { "p" } th scope="col" class="number" { "log p" } }
                    }
                }
                tbody {
                    @for token in tokens {
                        @let left = probability(&looked.left.seen, token.id);
                        tr {
                            th scope="row" class="token" { (printed(&token.text)) }
                            td class="number" { (token.id) }
                            @if let Some(right) = &looked.right {
                                @let other = probability(&right.seen, token.id);
                                td class="number" { (cell(left)) }
                                td class="number" { @if let Some((a, b)) = left.zip(other) { (format!("{:+.4}", b - a).replace('-', "−")) } @else { "–" } }
                                td class="number" { (cell(other)) }
                            } @else {
                                td class="number" { (cell(left)) }
                                td class="number" { (format!("{:.3}", token.log_probability).replace('-', "−")) }
                            }
                        }
                    }
                }
            }
        }
        @if looked.right.is_some() { p class="legend" { "A dash: not among the ten likeliest of that side." } }
    }
}

/// Both streams, started from here.
fn continuing(name: &str, asked: &Look) -> Markup {
    html! {
        section aria-labelledby="continue" {
            h2 id="continue" { "Continue" }
            form class="job" data-post=(format!("/api/v1/models/{name}/generate")) data-streams="true" {
                input type="hidden" name="text" value=(asked.text);
                input type="hidden" name="edits" value=(given(&asked.edits).unwrap_or("[]")) data-type="json";
                input type="hidden" name="saved" value=(given(&asked.saved).unwrap_or_default());
                div class="fields" {
                    (form::number("tokens", "Tokens", 40, (1, 512)))
                    label { span { "Temperature" } input type="number" name="temperature" value="0" min="0" max="10" step="0.1" data-type="number"; }
                    (form::number("seed", "Seed", 0, (0, i64::from(u32::MAX))))
                }
                button type="submit" class="go" { "Continue the prompt" }
            }
            div class="outcome" aria-live="polite" {}
        }
    }
}

fn lens(side: &Side) -> Markup {
    let seen = &side.seen;
    // Half of the steps, so that letters on them stay legible.
    let class = |c: &Candidate| format!("q{}", (c.log_probability.exp() * 20.0).round() as usize);
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Logit lens" {
            table class="lens" {
                thead {
                    tr {
                        th scope="col" { "after" }
                        @for token in &seen.tokens { th scope="col" { (printed(&token.text)) } }
                    }
                }
                tbody {
                    @for (i, row) in seen.lens.iter().enumerate() {
                        tr {
                            th scope="row" title=(row.site) { @if i == 0 { "embedding" } @else { "block " (i - 1) } }
                            @for (j, best) in row.predictions.iter().enumerate() {
                                @let p = best.log_probability.exp();
                                @let token = seen.tokens.get(j).map(|t| t.text.as_str()).unwrap_or_default();
                                td class=(class(best)) title=(format!("after {}: {} with p {p:.3}", printed(token), printed(&best.text))) {
                                    (printed(&best.text))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The colours of values from 0 to 1, as far as the scale's step `last`.
fn ramp(last: usize, words: &str) -> Markup {
    html! {
        p class="ramp" {
            span class="label" { "0" }
            span class="steps" aria-hidden="true" { @for step in 0..=last { span class=(format!("q{step}")) {} } }
            span class="label" { "1 " (words) }
        }
    }
}

/// Thumbnails: a head's pattern in bytes, the lower triangle row by row, for a script to draw.
fn heads(side: &Side) -> Markup {
    let words: Vec<&str> = side.seen.tokens.iter().map(|t| t.text.as_str()).collect();
    let bytes = |pattern: &Vec<Vec<f32>>| {
        let bytes: Vec<u8> = pattern.iter().flatten().map(|x| (x.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        STANDARD.encode(bytes)
    };
    html! {
        div class="heads" data-words=(serde_json::to_string(&words).unwrap_or_default()) {
            @for (head, pattern) in side.seen.patterns.iter().enumerate() {
                figure {
                    figcaption { "Head " (head) }
                    canvas tabindex="0" role="slider" aria-valuemin="0" aria-valuemax=(words.len().saturating_sub(1)) aria-valuenow="0"
                        aria-orientation="vertical" data-head=(head) data-size=(words.len()) data-pattern=(bytes(pattern))
                        aria-label=(format!("Attention of head {head}, {} tokens; arrow keys move the query", words.len())) {}
                }
            }
            p class="reading" aria-live="polite" { "No head is held." }
        }
    }
}

fn units(model: &str, looked: &Looked) -> Reply<Markup> {
    let Some(units) = &looked.left.seen.units else { return Ok(html! { p { "This network has no such units." } }) };
    let chart = figure(&looked.left.seen.unit_chart(units))?;
    let right = match looked.right.as_ref().and_then(|r| Some((r, r.seen.units.as_ref()?))) {
        Some((right, units)) => Some(figure(&right.seen.unit_chart(units))?),
        None => None,
    };
    let paged = matches!(units.axis.as_deref(), Some("neuron" | "head" | "d_model"));
    Ok(html! {
        (chart)
        @if let Some(right) = right { (right) }
        @if paged {
            p class="links" {
                "Pages: "
                @for number in &units.numbers { a href=(format!("/m/{model}/u/{}/{number}", units.site)) { (number) } " " }
            }
        }
    })
}

fn norms(looked: &Looked) -> Reply<Markup> {
    let left = &looked.left.seen;
    let Some(right) = looked.right.as_ref().map(|r| &r.seen) else { return figure(&left.norm_chart()) };
    let comparable = left.tokens.len() == right.tokens.len() && left.norms.len() == right.norms.len();
    let difference = comparable.then(|| {
        let rows = left.norms.iter().zip(&right.norms);
        let values = rows.map(|(a, b)| a.values.iter().zip(&b.values).map(|(a, b)| b - a).collect()).collect();
        let names = left.norm_chart();
        let Plot::Heat { rows, .. } = names.plot else { return names };
        Chart {
            title: "Norms, right less left".to_string(),
            caption: "Position by position.".to_string(),
            plot: Plot::Heat {
                rows,
                columns: Labels { name: "token".to_string(), items: right.places() },
                values,
                unit: "difference".to_string(),
                scale: Scale::Diverging,
            },
        }
    });
    let difference = difference.map(|chart| figure(&chart)).transpose()?;
    Ok(
        html! { (figure(&left.norm_chart())?) @if let Some(chart) = difference { (chart) } (figure(&right.norm_chart())?) },
    )
}
