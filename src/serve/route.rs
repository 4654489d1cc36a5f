//! Routes: each is registered once, with its types, and that is both what the server does and what its OpenAPI document says.

use std::future::Future;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Query, RawPathParams, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, delete, get, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::app::App;
use super::failure::{Failure, Reply, Told};

/// The parts of an address that a route leaves open.
pub struct Names(Vec<(String, String)>);

impl Names {
    /// Of the parameters of a path.
    pub fn of(params: &RawPathParams) -> Self {
        Self(params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// The part of this name.
    ///
    /// # Errors
    /// A route without it.
    pub fn get(&self, name: &str) -> Reply<&str> {
        let found = self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| Failure::missing(format!("the address has no {name}")))
    }

    /// The part of this name, as a number.
    ///
    /// # Errors
    /// What is no number.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Reply<N> {
        let text = self.get(name)?;
        text.parse().map_err(|_| Failure::missing(format!("`{}` is no number of a {name}", super::app::short(text))))
    }
}

/// What a request with a body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Begins something.
    Post,
    /// Puts something in its place.
    Put,
}

/// No parameters.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The parameters in an address.
///
/// # Errors
/// Unknown ones, and values of the wrong kind.
pub fn query<Q: DeserializeOwned>(uri: &Uri) -> Reply<Q> {
    Query::<Q>::try_from_uri(uri).map(|Query(q)| q).map_err(|e| Failure::malformed(e.body_text()))
}

/// The routes of the API.
pub struct Api {
    router: Router<App>,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
}

impl Default for Api {
    fn default() -> Self {
        let place = |s: &mut SchemaSettings| s.definitions_path = "/components/schemas".into();
        let schemas = SchemaSettings::draft2020_12().with(place).into_generator();
        Self { router: Router::new(), paths: Map::new(), schemas }
    }
}

impl Api {
    /// Answers `GET path` with parameters of type `Q`.
    pub fn get<Q, R, F, Fut>(&mut self, path: &'static str, summary: &str, handler: F)
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + 'static,
        F: Fn(App, Names, Q) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Reply<R>> + Send,
    {
        let parameters = self.parameters::<Q>();
        self.describe::<R>(path, "get", summary, parameters, None);
        let route = get(move |State(app): State<App>, params: RawPathParams, uri: Uri| async move {
            let reply = async { handler(app, Names::of(&params), query(&uri)?).await };
            answer(reply.await)
        });
        self.add(path, route);
    }

    /// Answers `POST path` or `PUT path` with a body of type `B`.
    pub fn send<B, R, F, Fut>(&mut self, verb: Verb, path: &'static str, summary: &str, handler: F)
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema + 'static,
        F: Fn(App, Names, B) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Reply<R>> + Send,
    {
        let body = self.schemas.subschema_for::<B>().to_value();
        let (word, filter) = match verb {
            Verb::Post => ("post", MethodFilter::POST),
            Verb::Put => ("put", MethodFilter::PUT),
        };
        self.describe::<R>(path, word, summary, Vec::new(), Some(body));
        self.add(path, on(filter, sent(handler)));
    }

    /// Answers `DELETE path`.
    pub fn delete<R, F, Fut>(&mut self, path: &'static str, summary: &str, handler: F)
    where
        R: Serialize + JsonSchema + 'static,
        F: Fn(App, Names) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Reply<R>> + Send,
    {
        self.describe::<R>(path, "delete", summary, Vec::new(), None);
        let route = delete(move |State(app): State<App>, params: RawPathParams| async move {
            answer(handler(app, Names::of(&params)).await)
        });
        self.add(path, route);
    }

    /// Answers `GET path` with a stream of events, which the document describes in words.
    pub fn events(&mut self, path: &'static str, summary: &str, route: MethodRouter<App>) {
        self.describe::<String>(path, "get", summary, Vec::new(), None);
        if let Some(content) = self.paths.get_mut(path).and_then(|p| p.pointer_mut("/get/responses/200/content")) {
            *content = json!({ "text/event-stream": { "schema": { "type": "string" } } });
        }
        self.add(path, route);
    }

    fn add(&mut self, path: &'static str, route: MethodRouter<App>) {
        let router = std::mem::take(&mut self.router);
        self.router = router.route(&format!("/api/v1{path}"), route);
    }

    /// The parameters of an address, from the properties of their type.
    fn parameters<Q: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = Q::json_schema(&mut self.schemas).to_value();
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let parameter = |(name, schema): (String, Value)| {
            let needed = required.iter().any(|r| *r == name.as_str());
            let meaning = schema.get("description").cloned().unwrap_or_default();
            json!({ "name": name, "in": "query", "required": needed, "description": meaning, "schema": schema })
        };
        properties.into_iter().map(parameter).collect()
    }

    fn describe<R: JsonSchema>(
        &mut self,
        path: &'static str,
        method: &str,
        summary: &str,
        mut parameters: Vec<Value>,
        body: Option<Value>,
    ) {
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
        let reply = self.schemas.subschema_for::<R>().to_value();
        let told = self.schemas.subschema_for::<Told>().to_value();
        let mut operation = json!({
            "summary": summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": "The answer.", "content": { "application/json": { "schema": reply } } },
                "4XX": { "description": "Why there is none.", "content": { "application/json": { "schema": told } } },
            },
        });
        if let Some(schema) = body {
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
        let entry = self.paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }

    /// The router, with the document under `/api/v1/openapi.json`.
    pub fn finish(mut self) -> Router<App> {
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": "optrode", "version": env!("CARGO_PKG_VERSION"),
                      "description": "The API of `optrode serve`. Requests carry the token as a bearer token." },
            "servers": [{ "url": "/api/v1" }],
            "security": [{ "token": [] }],
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.take_definitions(true),
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            },
        });
        let document = document.to_string();
        let route = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) });
        self.router.route("/api/v1/openapi.json", route)
    }
}

fn answer<R: Serialize>(reply: Reply<R>) -> Response {
    match reply {
        Ok(value) => Json(value).into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// A handler of requests with a body.
#[expect(clippy::type_complexity, reason = "what axum takes as a handler")]
fn sent<B, R, F, Fut>(
    handler: F,
) -> impl Fn(
    State<App>,
    RawPathParams,
    HeaderMap,
    Result<Bytes, BytesRejection>,
) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>>
+ Clone
+ Send
+ Sync
+ 'static
where
    B: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    F: Fn(App, Names, B) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply<R>> + Send,
{
    move |State(app), params, headers, body| {
        let handler = handler.clone();
        Box::pin(async move {
            let reply = async { handler(app, Names::of(&params), parsed(&headers, body)?).await };
            answer(reply.await)
        })
    }
}

/// The body of a request as JSON.
fn parsed<B: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Reply<B> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // A form of another site's page cannot say so.
    if kind.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON, as application/json"));
    }
    let body = body.map_err(|e| Failure::new(e.status(), e.body_text()))?;
    serde_json::from_slice(&body).map_err(|e| Failure::malformed(format!("the body does not fit: {e}")))
}
