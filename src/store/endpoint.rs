//! A chat model behind an OpenAI-compatible address (llama.cpp, vLLM, Ollama, ...): one question, one answer.
//!
//! What comes back is a stranger's: it is read up to a bound of bytes and of time, whatever its length claims, and no
//! redirection is followed. `OPTRODE_EXPLAINER_KEY` is sent as the bearer token if it is set; no other key ever is.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{Error, Result};

/// Bytes of an answer.
const LARGEST: usize = 1 << 20;
/// Attempts at a question.
const ATTEMPTS: usize = 2;

/// A chat model.
#[derive(Debug)]
pub struct Endpoint {
    address: String,
    model: String,
    key: Option<String>,
    client: Client,
    runtime: Runtime,
    timeout: Duration,
}

impl Endpoint {
    /// The model called `model` at a base address such as `http://127.0.0.1:8080/v1`; nothing is asked yet. An answer must
    /// have come, whole, within `timeout`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(base: &str, model: &str, timeout: Duration) -> Result<Self> {
        let wrong = |why: String| {
            let what = format!("`{base}` is no address of an explainer: {why}");
            Error::invalid(what, "give the base address of a server, such as http://127.0.0.1:8080/v1")
        };
        let url = reqwest::Url::parse(base).map_err(|e| wrong(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("expected http:// or https:// and a host".to_string()));
        }
        let client = Client::builder().timeout(timeout).redirect(Policy::none()).build();
        let client = client.map_err(|e| wrong(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| wrong(e.to_string()))?;
        let key = std::env::var("OPTRODE_EXPLAINER_KEY").ok().filter(|k| !k.is_empty());
        let address = format!("{}/chat/completions", base.trim_end_matches('/'));
        Ok(Self { address, model: model.to_string(), key, client, runtime, timeout })
    }

    /// What the model is called.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Asks a question and gives the answer, of at most so many tokens.
    ///
    /// # Errors
    /// No connection, no answer in time, an answer that is an error, too long, or not of the form of the API; all after a
    /// second attempt.
    pub fn ask(&self, question: &str, tokens: usize) -> Result<String> {
        let body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": false,
        });
        let mut failure = String::new();
        for attempt in 1..=ATTEMPTS {
            match self.runtime.block_on(self.post(&body)) {
                Ok(answer) => return Ok(answer),
                Err(why) => {
                    tracing::warn!(attempt, why, "the explainer did not answer");
                    failure = why;
                }
            }
        }
        Err(Error::invalid(
            format!("the explainer at {} did not answer: {failure}", self.address),
            "check that the server runs and speaks the chat API; the same command goes on where it stopped",
        ))
    }

    async fn post(&self, body: &Value) -> std::result::Result<String, String> {
        let mut request = self.client.post(&self.address).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.body(body.to_string()).send().await.map_err(|e| self.words(&e))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        let text = String::from_utf8_lossy(&bytes);
        if !status.is_success() {
            let start: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(format!("status {}: {start}", status.as_u16()));
        }
        let value: Value = serde_json::from_str(&text).map_err(|e| format!("its answer is not JSON: {e}"))?;
        let content = value.pointer("/choices/0/message/content").and_then(Value::as_str);
        content.map(str::to_string).ok_or_else(|| "its answer lacks choices[0].message.content".to_string())
    }

    /// The bytes of an answer, as many as are allowed.
    async fn read(&self, mut response: Response) -> std::result::Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.words(&e))? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(format!("its answer is longer than {LARGEST} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn words(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no whole answer within {} s", self.timeout.as_secs_f64());
        }
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            words = format!("{words}: {inner}");
            cause = inner.source();
        }
        words
    }
}
