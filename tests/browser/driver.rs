//! Headless Chromium through chromedriver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};

/// A chromedriver of our own; it ends with this value.
pub struct Driver {
    process: Child,
    address: String,
}

impl Driver {
    /// Starts one on a free port. `None`, loudly, if there is none to start; a failure if there must be one.
    pub fn start() -> Option<Self> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(e) if std::env::var_os("OPTRODE_REQUIRE_BROWSER").is_some() => panic!("no chromedriver in PATH: {e}"),
            Err(e) => {
                eprintln!("SKIPPED: no chromedriver in PATH ({e}); OPTRODE_REQUIRE_BROWSER=1 makes this a failure");
                return None;
            }
        };
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = |line: String| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok();
        let port = lines.map_while(Result::ok).find_map(port).expect("chromedriver says no port");
        Some(Self { process, address: format!("http://127.0.0.1:{port}") })
    }

    /// A fresh browser with its profile in `folder`, its console and its requests logged.
    pub async fn browser(&self, folder: &Path) -> Client {
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let mut arguments = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        arguments.extend(["--disable-background-networking", "--no-first-run", "--window-size=1200,900", &profile]);
        let mut wishes = Map::new();
        wishes.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        wishes.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL", "performance": "ALL" }));
        ClientBuilder::new(HttpConnector::new()).capabilities(wishes).connect(&self.address).await.unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command of chromedriver's own: a path below the session, and a body.
#[derive(Debug)]
struct Post(&'static str, Value);

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

/// What the console said since the last call.
pub async fn console(browser: &Client) -> Vec<Value> {
    log(browser, "browser").await
}

/// The addresses that the page asked for since the last call.
pub async fn requests(browser: &Client) -> Vec<String> {
    let message = |entry: &Value| serde_json::from_str::<Value>(entry["message"].as_str().unwrap()).unwrap();
    let entries: Vec<Value> = log(browser, "performance").await.iter().map(message).collect();
    let sent = entries.iter().filter(|e| e["message"]["method"] == "Network.requestWillBeSent");
    sent.map(|e| e["message"]["params"]["request"]["url"].as_str().unwrap().to_string()).collect()
}

async fn log(browser: &Client, kind: &str) -> Vec<Value> {
    let entries = browser.issue_cmd(Post("se/log", json!({ "type": kind }))).await.unwrap();
    entries.as_array().unwrap().clone()
}

/// A command of Chrome's developer tools.
pub async fn tell(browser: &Client, command: &str, parameters: Value) {
    browser.issue_cmd(Post("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))).await.unwrap();
}

/// Shows the page as to a reader who prefers `scheme` (`light` or `dark`), on `media` (`screen` or `print`).
pub async fn show(browser: &Client, scheme: &str, media: &str) {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    tell(browser, "Emulation.setEmulatedMedia", json!({ "media": media, "features": features })).await;
}
