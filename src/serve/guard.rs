//! Who may ask: a local server is within reach of every page that its user opens.
//!
//! Every request must name a host that the server goes by (else another name could be pointed at it), must not come
//! from another origin, and must know the token: as `Authorization: Bearer`, or in the cookie that the first page sets
//! when it is opened with `?token=`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::StreamExt;

use super::BODY;
use super::app::App;
use super::failure::Failure;
use super::pages;

/// Bytes of a body that is too long that are read before it is refused.
const POLITE: usize = 64 * BODY;

/// Pages run the server's own scripts, and load nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Lets pass who may ask.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let wants_page = !request.uri().path().starts_with("/api/");
    let mut response = match admit(&app, &request) {
        Ok(Admitted::Inside) if declared(request.headers()) > BODY => refuse(request.into_body()).await.into_response(),
        Ok(Admitted::Inside) => next.run(request).await,
        Ok(Admitted::WithCookie(response)) => response,
        Err(failure) if wants_page => pages::failure(&app, &failure),
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

enum Admitted {
    Inside,
    WithCookie(Response),
}

fn admit(app: &App, request: &Request) -> Result<Admitted, Failure> {
    let headers = request.headers();
    let host = text(headers, header::HOST).or_else(|| request.uri().authority().map(|a| a.as_str()));
    let host = host.ok_or_else(|| Failure::malformed("the request names no host"))?;
    if app.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|known| known.eq_ignore_ascii_case(host))) {
        let message = "this server does not go by that name; open the address that `optrode serve` printed";
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    if let Some(origin) = text(headers, header::ORIGIN)
        && !origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    {
        return Err(Failure::new(StatusCode::FORBIDDEN, "requests of other sites' pages are refused"));
    }
    if text(headers, HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "cross-site")
        && request.method() != axum::http::Method::GET
    {
        return Err(Failure::new(StatusCode::FORBIDDEN, "requests of other sites' pages are refused"));
    }
    // Scripts and styles are the same for everybody; the page that says "no" wears them too.
    if request.uri().path().starts_with("/assets/") {
        return Ok(Admitted::Inside);
    }
    let bearer = text(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if bearer.is_some_and(|token| same(token, &app.token)) || cookie(app, headers).is_some_and(|t| same(t, &app.token))
    {
        return match in_query(request) {
            // The token need not stay in the address.
            Some(_) => Ok(Admitted::WithCookie(Redirect::to(&without_token(request)).into_response())),
            None => Ok(Admitted::Inside),
        };
    }
    if let Some(token) = in_query(request)
        && same(token, &app.token)
        && request.method() == axum::http::Method::GET
    {
        let mut response = Redirect::to(&without_token(request)).into_response();
        let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", app.cookie, app.token);
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, value);
        }
        return Ok(Admitted::WithCookie(response));
    }
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "the token is missing or wrong: open the address that `optrode serve` printed, or send it as a bearer token",
    ))
}

/// How long a body says it is.
fn declared(headers: &HeaderMap) -> usize {
    text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// Reads what is too long, if it ends soon: a client that is still writing when the connection closes hears no answer.
async fn refuse(body: Body) -> Failure {
    let mut rest = body.into_data_stream();
    let mut read = 0;
    while read < POLITE
        && let Some(Ok(part)) = rest.next().await
    {
        read += part.len();
    }
    let message = format!("the body is longer than {BODY} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn cookie<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == app.cookie).map(|(_, value)| value)
}

fn in_query(request: &Request) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// The address without its token.
fn without_token(request: &Request) -> String {
    let rest: Vec<&str> =
        request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("token=")).collect();
    // Two slashes at the beginning would name another host.
    let path = format!("/{}", request.uri().path().trim_start_matches('/'));
    if rest.is_empty() { path } else { format!("{path}?{}", rest.join("&")) }
}

/// Whether two tokens are the same, in a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
