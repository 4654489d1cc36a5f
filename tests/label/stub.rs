//! A small chat server on this machine, with mistakes on demand.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What it does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers.
    Good,
    /// Answers so many questions, then fails.
    GoodFor(usize),
    /// Says something that is no JSON.
    NoJson,
    /// JSON of another form.
    OtherJson,
    /// A status of 500 with a reason.
    Fails,
    /// Never answers.
    Hangs,
    /// Sends the caller elsewhere.
    Redirects,
}

/// Its mood, and the bodies of all requests.
type Shared = Arc<Mutex<(Mood, Vec<Value>)>>;

#[derive(Clone)]
pub struct Stub {
    pub base: String,
    shared: Shared,
}

impl Stub {
    pub fn start(mood: Mood) -> Self {
        let shared = Arc::new(Mutex::new((mood, Vec::new())));
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { base, shared }
    }

    pub fn set(&self, mood: Mood) {
        self.shared.lock().unwrap().0 = mood;
    }

    /// The bodies of all requests so far.
    pub fn asked(&self) -> Vec<Value> {
        self.shared.lock().unwrap().1.clone()
    }
}

async fn answer(State(shared): State<Shared>, body: axum::body::Bytes) -> Response {
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mood = {
        let mut shared = shared.lock().unwrap();
        shared.1.push(question.clone());
        shared.0
    };
    let asked = shared.lock().unwrap().1.len();
    match mood {
        Mood::GoodFor(n) if asked > n => (StatusCode::INTERNAL_SERVER_ERROR, "out of memory").into_response(),
        Mood::Good | Mood::GoodFor(_) => {
            let text = question["messages"][0]["content"].as_str().unwrap_or_default();
            let content = if text.contains("yes or no") { "Yes." } else { "\n\"words of the corpus\".\nMore." };
            json_response(&json!({"choices": [{"message": {"role": "assistant", "content": content}}]}))
        }
        Mood::NoJson => "certainly! here is".into_response(),
        Mood::OtherJson => json_response(&json!({"choices": []})),
        Mood::Fails => (StatusCode::INTERNAL_SERVER_ERROR, "out of\nmemory").into_response(),
        Mood::Hangs => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "late".into_response()
        }
        Mood::Redirects => (StatusCode::FOUND, [("location", "http://example.invalid/")], "").into_response(),
    }
}

fn json_response(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// The base address of a server whose answer never ends.
pub fn endless() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
            while stream.write_all(&[b' '; 1 << 14]).is_ok() {}
        }
    });
    base
}
