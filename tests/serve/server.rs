//! A server of our own: the binary on a free port, with a folder that goes away with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running `optrode serve`; it ends with this value.
pub struct Server {
    process: Child,
    folder: TempDir,
    pub token: String,
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    pub client: Client,
}

impl Server {
    /// Serves these subjects.
    pub fn start(subjects: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_optrode"))
            .args(["serve", "--port", "0", "--json", "--folder"])
            .arg(folder.path())
            .args(subjects)
            // What a server that is killed leaves behind goes away with the folder.
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut text = String::new();
        for line in lines.map_while(Result::ok) {
            text += &line;
            if line == "}" {
                break;
            }
        }
        let said: Value = serde_json::from_str(&text).unwrap();
        let url = said["url"].as_str().unwrap();
        let address = url.split("/?").next().unwrap().to_string();
        let token = said["token"].as_str().unwrap().to_string();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { process, folder, token, address, client }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Interrupts it, as Ctrl-C does, and waits for its end.
    pub fn interrupt(&mut self) -> std::process::ExitStatus {
        Command::new("kill").args(["-INT", &self.pid().to_string()]).status().unwrap();
        self.process.wait().unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A request with the token, and what came back: status and JSON (`null` if it is none).
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.address)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// A page's text.
    pub async fn page(&self, path: &str) -> (StatusCode, String) {
        let request = self.client.get(format!("{}{path}", self.address)).bearer_auth(&self.token);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Starts a job and waits for its end: its last snapshot.
    pub async fn job(&self, path: &str, body: Value) -> Value {
        let (status, job) = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {job}");
        self.ended(job["id"].as_u64().unwrap()).await
    }

    /// The snapshot of a job once it has ended.
    pub async fn ended(&self, id: u64) -> Value {
        loop {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await;
            if !["waiting", "running"].contains(&job["status"].as_str().unwrap()) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every model has been read.
    pub async fn ready(&self) {
        loop {
            let models = self.get("/api/v1/models").await;
            if models.as_array().unwrap().iter().all(|m| m["state"] != json!("loading")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test on a server.
pub fn with<F: AsyncFnOnce(&Server)>(subjects: &[&str], test: F) {
    let server = Server::start(subjects);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(&server));
}
