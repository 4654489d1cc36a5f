//! A small Hub on this machine: repositories in memory, the three addresses that a download uses, byte ranges,
//! a log of what was asked, and mistakes on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Commit of every repository of the stub.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct Shared {
    /// `org/name`, or `datasets/org/name`, to its files.
    repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// `METHOD path range` of every request.
    log: Vec<String>,
    /// Ranges that are still served; then connections break. `None`: all.
    ranges_left: Option<usize>,
    /// Whether the listing says the sha256 of large files (the real Hub gives it under a name that the client
    /// drops; other hubs differ).
    tell_sha256: bool,
}

/// A running stub; it ends with the test process.
#[derive(Clone)]
pub struct Stub {
    pub endpoint: String,
    shared: Arc<Mutex<Shared>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Stub {
    pub fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared { tell_sha256: true, ..Default::default() }));
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { endpoint, shared }
    }

    pub fn add(&self, id: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        self.shared.lock().unwrap().repos.insert(id.to_string(), files);
    }

    pub fn break_after(&self, ranges: Option<usize>) {
        self.shared.lock().unwrap().ranges_left = ranges;
    }

    pub fn hide_sha256(&self) {
        self.shared.lock().unwrap().tell_sha256 = false;
    }

    /// The requests since the last call.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().log)
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, [("x-error-code", code)], "no").into_response()
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let path = request.uri().path().to_string();
    let range = request.headers().get("range").map(|r| r.to_str().unwrap().to_string());
    let mut shared = shared.lock().unwrap();
    shared.log.push(format!("{} {path} {}", request.method(), range.as_deref().unwrap_or("-")));
    if path.contains("/gated") {
        return error(StatusCode::UNAUTHORIZED, "GatedRepo");
    }
    if path.contains("/private") && request.headers().get("authorization").is_none_or(|t| t != "Bearer good") {
        return error(StatusCode::UNAUTHORIZED, "RepoNotFound");
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (id, kind, rest) = match parts[..] {
        ["api", "models", org, name, kind, ref rest @ ..] => (format!("{org}/{name}"), kind, rest.join("/")),
        ["api", "datasets", org, name, kind, ref rest @ ..] => (format!("datasets/{org}/{name}"), kind, rest.join("/")),
        ["datasets", org, name, "resolve", ref rest @ ..] => {
            (format!("datasets/{org}/{name}"), "resolve", rest.join("/"))
        }
        [org, name, "resolve", ref rest @ ..] => (format!("{org}/{name}"), "resolve", rest.join("/")),
        _ => return error(StatusCode::NOT_FOUND, ""),
    };
    let Some(files) = shared.repos.get(&id) else {
        return error(StatusCode::NOT_FOUND, "RepoNotFound");
    };
    match kind {
        "revision" if rest == "main" || rest == COMMIT => {
            let siblings: Vec<_> = files.keys().map(|name| json!({"rfilename": name})).collect();
            axum::Json(json!({"id": id, "sha": COMMIT, "siblings": siblings})).into_response()
        }
        "tree" if rest == COMMIT => {
            let entries: Vec<_> = files
                .iter()
                .map(|(name, bytes)| {
                    let mut entry =
                        json!({"type": "file", "path": name, "size": bytes.len(), "oid": sha256(bytes)[..40]});
                    if name.ends_with(".safetensors") {
                        let key = if shared.tell_sha256 { "sha256" } else { "oid" };
                        entry["lfs"] = json!({key: sha256(bytes), "size": bytes.len(), "pointerSize": 134});
                    }
                    entry
                })
                .collect();
            axum::Json(entries).into_response()
        }
        "resolve" => {
            let name = rest.strip_prefix(&format!("{COMMIT}/")).unwrap_or("");
            let Some(bytes) = files.get(name).cloned() else {
                return error(StatusCode::NOT_FOUND, "EntryNotFound");
            };
            if request.method() == Method::GET && name.ends_with(".safetensors") {
                match &mut shared.ranges_left {
                    // Unwinding without a message: the connection drops in the middle of the answer.
                    Some(0) => {
                        drop(shared);
                        std::panic::resume_unwind(Box::new("cut"));
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
            }
            drop(shared);
            file(&bytes, request.method(), range.as_deref())
        }
        _ => error(StatusCode::NOT_FOUND, "RevisionNotFound"),
    }
}

fn file(bytes: &[u8], method: &Method, range: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("etag", format!("\"{}\"", sha256(bytes)).parse().unwrap());
    headers.insert("x-repo-commit", COMMIT.parse().unwrap());
    let (status, part) = match range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-')) {
        Some((from, to)) => {
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            headers.insert("content-range", format!("bytes {from}-{to}/{}", bytes.len()).parse().unwrap());
            (StatusCode::PARTIAL_CONTENT, &bytes[from..=to])
        }
        None => (StatusCode::OK, bytes),
    };
    headers.insert("content-length", part.len().to_string().parse().unwrap());
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(part.to_vec()) };
    (status, headers, body).into_response()
}
