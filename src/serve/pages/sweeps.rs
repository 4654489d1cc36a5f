//! Heads and sweeps: started and watched here.

use maud::html;

use super::{Screen, View, form, quoted};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::{Names, Nothing};

pub async fn page(app: App, names: Names, _: Nothing) -> Reply<View> {
    let name = names.get("model")?;
    let reference = quoted(&app.model(name)?.reference);
    let at = |what: &str| format!("/api/v1/models/{name}/{what}");
    let pair = |value: &str, words: &str| (value.to_string(), words.to_string());
    let sets = [
        pair("repeated", "random tokens that repeat"),
        pair("indirect_object", "indirect object: Mary or John"),
        pair("greater_than", "greater than: later years"),
    ];
    let directions =
        [pair("denoise", "clean values into the corrupted run"), pair("noise", "corrupted values into the clean run")];
    let body = html! {
        section aria-labelledby="heads" {
            h2 id="heads" { "What heads do" }
            p { "Previous-token, duplicate-token, induction and copying scores on rows of random tokens that repeat." }
            (form::job(&at("heads"), "Score the heads", &html! {
                (form::number("rows", "Rows", 16, (1, 64))) (form::number("seed", "Seed", 0, (0, i64::from(u32::MAX))))
            }))
        }
        section aria-labelledby="ablation" {
            h2 id="ablation" { "Ablation map" }
            p { "Every head and every MLP switched off by itself: what the loss of a text rises by." }
            (form::job(&at("ablate"), "Ablate", &html! {
                (form::area("text", "Text", super::lab::PROMPT, 3))
            }))
        }
        section aria-labelledby="patching" {
            h2 id="patching" { "Activation patching" }
            p { "Which values carry the difference between two prompts. With a clean prompt the set is not used." }
            (form::job(&at("patch"), "Patch", &html! {
                (form::choice("set", "Set of prompts", &sets, "repeated"))
                (form::number("count", "Pairs of the set", 4, (1, 64)))
                (form::choice("direction", "Put", &directions, "denoise"))
                (form::line("clean", "Clean prompt", "", "When Mary and John went to the store, John gave a drink to"))
                (form::line("corrupted", "Corrupted prompt", "", "as many tokens"))
                (form::line("correct", "Answer after the clean one", "", "one token, with its space"))
                (form::line("wrong", "Answer after the corrupted one", "", "one token"))
            }))
        }
    };
    let command = format!("optrode patch {reference} --set repeated --count 4\noptrode heads {reference}");
    Ok(View::new(Screen::Sweeps, "Heads and sweeps", body).of(name).command(command))
}
