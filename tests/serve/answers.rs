//! What the API gives is what the library gives.

use optrode::analysis::inspect::{self, Inspection};
use optrode::data::organism::embedded;
use optrode::models::{Model, OpenOptions};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::server::with;

fn organism() -> Model {
    Model::open(&embedded::folder().unwrap().display().to_string(), &OpenOptions::default()).unwrap()
}

fn seen(model: &Model, text: &str, edits: &Value) -> Inspection {
    let edits: Vec<optrode::hook::Edit> = serde_json::from_value(edits.clone()).unwrap();
    let ids = model.encode(text).unwrap();
    inspect::inspect(model, &ids, &edits, &BTreeMap::new(), &inspect::Options::default()).unwrap()
}

#[test]
fn both_sides_of_a_comparison_are_the_librarys() {
    let model = organism();
    let edits = json!([{ "site": "blocks.1.hook_mlp_out", "op": "zero" }]);
    with(&["organism"], async |server| {
        let query = format!("text=The+Queen&edits={}", edits.to_string().replace('"', "%22"));
        let found = server.get(&format!("/api/v1/models/organism/inspect?{query}")).await;
        let side = |name: &str| -> Inspection { serde_json::from_value(found[name]["seen"].clone()).unwrap() };
        assert_eq!(side("left"), seen(&model, "The Queen", &json!([])));
        assert_eq!(side("right"), seen(&model, "The Queen", &edits));
        assert_ne!(side("left").next, side("right").next);
    });
}

#[test]
fn an_inspection_agrees_with_itself() {
    let model = organism();
    let seen = seen(&model, "The Queen looked at Alice", &json!([]));
    // The last row of the lens is the network's own prediction.
    assert_eq!(seen.lens.last().unwrap().predictions.last().unwrap().id, seen.next[0].id);
    let total: f64 = seen.next.iter().map(|c| c.log_probability.exp()).sum();
    assert!(total > 0.2 && total <= 1.0, "{total}");
    for pattern in &seen.patterns {
        for (query, row) in pattern.iter().enumerate() {
            assert_eq!(row.len(), query + 1);
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
    assert_eq!(seen.tokens[0].loss, None);
    assert!(seen.tokens[1..].iter().all(|t| t.loss.unwrap() > 0.0));
    let units = seen.units.unwrap();
    let reach = |row: &Vec<f64>| row.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(units.values.windows(2).all(|two| reach(&two[0]) >= reach(&two[1])));
}

#[test]
fn an_edit_is_saved_measured_compared_and_exported() {
    with(&["organism"], async |server| {
        let edits = json!([{ "site": "blocks.2.mlp.hook_post[neuron=0..40]", "op": "zero" }]);
        let body = json!({ "edits": edits, "note": "forty neurons" });
        let (status, saved) = server.ask(Method::PUT, "/api/v1/edits/forty", Some(body)).await;
        assert_eq!((status, &saved["edits"]), (StatusCode::OK, &json!(1)), "{saved}");
        assert!(server.folder().join("edits/forty/edit.json").is_file());
        assert_eq!(server.get("/api/v1/edits").await[0]["note"], "forty neurons");
        assert_eq!(server.get("/api/v1/edits/forty").await["edits"][0]["op"], "zero");

        let texts =
            json!({ "saved": "forty", "forget": ["The Queen looked at Alice, and Alice looked at the Queen."] });
        let job = server.job("/api/v1/models/organism/effect", texts).await;
        assert_eq!(job["status"], "done", "{job}");
        let answer = server.get(&format!("/api/v1/jobs/{}/answer", job["id"])).await;
        let set = &answer["result"]["sets"][0];
        assert!(set["kl"]["value"].as_f64().unwrap() > 0.0, "{set}");
        assert!(set["kl_control"]["value"].as_f64().unwrap() > 0.0, "{set}");

        let job = server.job("/api/v1/models/organism/export", json!({ "saved": "forty", "name": "baked" })).await;
        assert_eq!(job["status"], "done", "{job}");
        assert!(server.folder().join("models/baked/model.safetensors").is_file());
        let again = json!({ "saved": "forty", "name": "baked" });
        assert_eq!(
            server.ask(Method::POST, "/api/v1/models/organism/export", Some(again)).await.0,
            StatusCode::CONFLICT
        );

        // Nothing is replaced, and what comes before is kept.
        let more = json!({ "edits": [{ "site": "blocks.1.hook_mlp_out", "op": "zero" }], "saved": "forty" });
        assert_eq!(server.ask(Method::PUT, "/api/v1/edits/forty", Some(more.clone())).await.0, StatusCode::CONFLICT);
        assert_eq!(server.ask(Method::PUT, "/api/v1/edits/both", Some(more)).await.1["edits"], 2);

        let (status, _) = server.ask(Method::DELETE, "/api/v1/edits/forty", None).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(server.ask(Method::GET, "/api/v1/edits/forty", None).await.0, StatusCode::NOT_FOUND);
        let unknown = json!({ "edits": [{ "site": "logits", "op": "explode" }] });
        let (status, told) = server.ask(Method::PUT, "/api/v1/edits/x", Some(unknown)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
    });
}

#[test]
fn a_unit_has_a_page_once_there_is_an_atlas() {
    with(&["organism"], async |server| {
        let job = server.job("/api/v1/models/organism/scan", json!({})).await;
        assert_eq!(job["status"], "done", "{job}");
        let unit = server.get("/api/v1/models/organism/units/blocks.2.mlp.hook_post/7").await;
        assert_eq!(unit["result"]["name"], "blocks.2.mlp.hook_post[neuron=7]");
        let values = server.get("/api/v1/models/organism/units/blocks.2.mlp.hook_post/7/values?text=The+Queen").await;
        assert_eq!(values["tokens"].as_array().unwrap().len(), values["values"].as_array().unwrap().len());

        let sorted = server.get("/api/v1/models/organism/atlas?site=blocks.2.mlp.hook_post&sort=max").await;
        assert_eq!(sorted["found"], 512);
        let largest: Vec<f64> =
            sorted["units"].as_array().unwrap().iter().map(|u| u["max"].as_f64().unwrap()).collect();
        assert!(largest.windows(2).all(|two| two[0] >= two[1]), "{largest:?}");
        let token = sorted["units"][0]["tokens"][0].as_str().unwrap().trim().to_string();
        let found =
            server.get(&format!("/api/v1/models/organism/atlas?search={}&sort=max", token.replace(' ', "+"))).await;
        let count = found["found"].as_u64().unwrap();
        assert!(count > 0 && count < 6 * 512 + 6 * 6 + 6 * 192, "`{token}`: {count}");
        assert_eq!(server.get("/api/v1/models/organism/atlas?search=%25%25%25").await["found"], 0);
    });
}

#[test]
fn a_generation_streams_what_the_command_line_gives() {
    with(&["organism"], async |server| {
        server.ready().await;
        let body =
            json!({ "text": "The Queen", "tokens": 12, "edits": [{ "site": "blocks.3.hook_mlp_out", "op": "zero" }] });
        let (_, job) = server.ask(Method::POST, "/api/v1/models/organism/generate", Some(body)).await;
        let id = job["id"].as_u64().unwrap();
        let (_, events) = server.page(&format!("/api/v1/jobs/{id}/events")).await;
        assert!(events.trim_end().ends_with('}') && events.contains("event: end"), "{events}");
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        for piece in events.lines().filter_map(|l| l.strip_prefix("data: [")) {
            let pieces: Vec<Value> = serde_json::from_str(&format!("[{piece}")).unwrap();
            for piece in pieces {
                *said.entry(piece["side"].as_str().unwrap().to_string()).or_default() +=
                    piece["text"].as_str().unwrap();
            }
        }
        let answer = server.get(&format!("/api/v1/jobs/{id}/answer")).await;
        for (i, side) in ["plain", "edited"].into_iter().enumerate() {
            assert_eq!(answer["result"][i]["text"].as_str().unwrap(), said[side], "{side}");
        }
        assert_ne!(said["plain"], said["edited"]);
        let folder = embedded::folder().unwrap();
        let command =
            ["generate", folder.to_str().unwrap(), "--prompt", "The Queen", "--max-new-tokens", "12", "--greedy"];
        let cli = std::process::Command::new(env!("CARGO_BIN_EXE_optrode")).args(command).output().unwrap();
        let text = String::from_utf8(cli.stdout).unwrap();
        assert_eq!(text.trim_end().strip_prefix("The Queen").unwrap(), said["plain"].trim_end());
    });
}

#[test]
fn a_job_is_stopped_while_it_runs_and_the_model_answers_meanwhile() {
    with(&["organism"], async |server| {
        server.ready().await;
        let body = json!({ "set": "repeated", "count": 64, "components": ["pattern", "z", "q", "k", "v"] });
        let (_, job) = server.ask(Method::POST, "/api/v1/models/organism/patch", Some(body)).await;
        let id = job["id"].as_u64().unwrap();
        server.get("/api/v1/models/organism/inspect?text=The").await;
        let (status, _) = server.ask(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(server.ended(id).await["status"], "stopped");
        assert_eq!(server.ask(Method::GET, &format!("/api/v1/jobs/{id}/answer"), None).await.0, StatusCode::CONFLICT);
        // The next one runs.
        let job = server.job("/api/v1/models/organism/ablate", json!({ "text": "The Queen looked at Alice" })).await;
        assert_eq!(job["status"], "done", "{job}");
    });
}

#[test]
fn a_simulation_is_stopped_while_it_runs() {
    with(&["izhikevich"], async |server| {
        let body = json!({ "steps": 20_000 });
        let (_, job) = server.ask(Method::POST, "/api/v1/networks/izhikevich/run", Some(body)).await;
        let id = job["id"].as_u64().unwrap();
        while server.get(&format!("/api/v1/jobs/{id}")).await["done"].as_u64().unwrap() < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        server.ask(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
        let ended = server.ended(id).await;
        assert_eq!(ended["status"], "stopped", "{ended}");
        assert!(ended["done"].as_u64().unwrap() < 20_000, "{ended}");
    });
}

#[test]
fn a_script_is_run_and_its_report_is_read_and_compared() {
    with(&["organism"], async |server| {
        let job = server.job("/api/v1/models/organism/reports", json!({ "script": "induction" })).await;
        assert_eq!(job["status"], "done", "{job}");
        let all = server.get("/api/v1/reports").await;
        assert_eq!(all[0]["name"], "induction-organism");
        assert_eq!(all[0]["outcome"], "passed");
        assert!(all[0]["held"][1].as_u64().unwrap() >= 6, "{all}");
        let (status, page) = server.page("/reports/induction-organism").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("heads.induction.max_copying") && page.contains("✓ passed"));
        let compared = server.get("/api/v1/compare?a=induction-organism&b=induction-organism").await;
        let words = compared["blocks"][0]["text"].as_str().unwrap();
        assert!(words.ends_with(" 0 of them differ."), "{words}");
        assert!(compared["result"].as_array().unwrap().len() > 20);
    });
}

#[test]
fn an_interrupted_server_leaves_no_temporary_folder() {
    let mut server = super::server::Server::start(&["organism"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let left = |server: &super::server::Server| {
        let entries = std::fs::read_dir(server.folder()).unwrap().map(|e| e.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with(".tmp")).count()
    };
    runtime.block_on(async {
        server.ready().await;
        assert_eq!(server.job("/api/v1/models/organism/scan", json!({})).await["status"], "done");
    });
    assert_eq!(left(&server), 1, "the atlas of the quick scan");
    assert!(server.interrupt().success());
    assert_eq!(left(&server), 0);
}

#[test]
fn a_network_is_run_recorded_and_clamped() {
    with(&["izhikevich"], async |server| {
        let sites = server.get("/api/v1/networks/izhikevich/sites").await;
        assert!(sites.as_array().unwrap().iter().any(|s| s["name"] == "exc.hook_spikes"), "{sites}");
        let edits = json!([{ "site": "inh.hook_spikes@t=50..", "op": "zero" }]);
        let body = json!({ "steps": 100, "record": ["exc.hook_spikes", "inh.hook_spikes"], "edits": edits });
        let job = server.job("/api/v1/networks/izhikevich/run", body).await;
        assert_eq!(job["status"], "done", "{job}");
        let answer = server.get(&format!("/api/v1/jobs/{}/answer", job["id"])).await;
        let sites = answer["result"]["sites"].as_array().unwrap();
        let silenced = sites.iter().find(|s| s["name"] == "inh.hook_spikes").unwrap();
        assert!(silenced["mean"].as_f64().unwrap() < silenced["unedited"].as_f64().unwrap(), "{silenced}");
        let (status, _) =
            server.ask(Method::POST, "/api/v1/networks/izhikevich/run", Some(json!({ "steps": 10_000_000 }))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    });
}
