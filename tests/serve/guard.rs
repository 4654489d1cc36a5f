//! Who is let in, and what a bad request gets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::server::with;

#[test]
fn a_request_needs_the_token_the_host_and_the_origin() {
    with(&["organism"], async |server| {
        let models = format!("{}/api/v1/models", server.address);
        let plain = || server.client.get(&models);
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
        assert_eq!(status(plain()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(plain().bearer_auth("0".repeat(48))).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(plain().bearer_auth(&server.token)).await, StatusCode::OK);
        let known = || plain().bearer_auth(&server.token);
        assert_eq!(status(known().header("host", "attacker.example")).await, StatusCode::FORBIDDEN);
        assert_eq!(status(known().header("host", "127.0.0.1:1")).await, StatusCode::FORBIDDEN);
        for origin in ["http://attacker.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
            assert_eq!(status(known().header("origin", origin)).await, StatusCode::FORBIDDEN, "{origin}");
        }
        assert_eq!(status(known().header("origin", &server.address)).await, StatusCode::OK);
    });
}

#[test]
fn the_first_page_takes_the_token_out_of_the_address() {
    with(&["organism"], async |server| {
        let opened = server.client.get(format!("{}/?token={}", server.address, server.token)).send().await.unwrap();
        assert_eq!(opened.status(), StatusCode::SEE_OTHER);
        assert_eq!(opened.headers()["location"], "/");
        let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_string();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let page = server.client.get(format!("{}/", server.address)).header("cookie", pair).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK);
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_string();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        // Not even with two slashes can the redirect lead elsewhere.
        let sly = server.client.get(format!("{}//evil.example/?token={}", server.address, server.token));
        assert_eq!(sly.send().await.unwrap().headers()["location"], "/evil.example/");
        // Who is not let in learns nothing of what is served.
        let shut = server.client.get(format!("{}/", server.address)).send().await.unwrap();
        assert_eq!(shut.status(), StatusCode::UNAUTHORIZED);
        assert!(!shut.text().await.unwrap().contains("organism"));
    });
}

#[test]
fn what_is_wrong_is_said_and_breaks_nothing() {
    with(&["organism"], async |server| {
        server.ready().await;
        let generate = "/api/v1/models/organism/generate";
        let cases: [(Method, &str, Option<Value>, u16, &str); 16] = [
            (Method::GET, "/api/v1/models/nobody/sites", None, 404, "organism"),
            (Method::GET, "/api/v1/nothing", None, 404, "nothing"),
            (Method::GET, "/api/v1/models/organism/inspect?text=a&layer=99", None, 422, "blocks count"),
            (Method::GET, "/api/v1/models/organism/inspect?text=a&colour=red", None, 400, "colour"),
            (Method::GET, "/api/v1/models/organism/inspect?text=a&layer=x", None, 400, "layer"),
            (Method::GET, "/api/v1/models/organism/inspect?text=a&site=blocks.0.nothing", None, 404, "no site"),
            (Method::GET, "/api/v1/models/organism/inspect?text=a&edits=%5B1%5D", None, 400, "no edits"),
            (Method::GET, "/api/v1/models/organism/units/blocks.0.mlp.hook_post/99999", None, 404, "count to 512"),
            (Method::GET, "/api/v1/models/organism/units/logits/0", None, 404, "page"),
            (Method::GET, "/api/v1/models/organism/atlas", None, 409, "no atlas"),
            (Method::POST, generate, Some(json!({ "text": "a", "tokens": "many" })), 400, "does not fit"),
            (Method::POST, generate, Some(json!({ "texts": "a" })), 400, "texts"),
            (Method::GET, "/api/v1/edits/..%2F..%2Fetc%2Fpasswd", None, 422, "no name"),
            (Method::PUT, "/api/v1/edits/.hidden", Some(json!({ "edits": [] })), 422, "no name"),
            (Method::GET, "/api/v1/reports/%2Fetc", None, 422, "no name"),
            (Method::GET, "/api/v1/jobs/99999", None, 404, "no job"),
        ];
        for (method, path, body, expected, words) in cases {
            let (status, told) = server.ask(method, path, body).await;
            assert_eq!(status.as_u16(), expected, "{path}: {told}");
            assert!(told["error"].as_str().unwrap().contains(words), "{path}: {told}");
        }
        let bare = server.client.post(format!("{}{generate}", server.address)).bearer_auth(&server.token);
        assert_eq!(bare.body("{}").send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let post = || {
            let request = server.client.post(format!("{}{generate}", server.address)).bearer_auth(&server.token);
            request.header("content-type", "application/json")
        };
        assert_eq!(post().body("{\"text\": ").send().await.unwrap().status(), StatusCode::BAD_REQUEST);
        assert_eq!(post().body("x".repeat(2 << 20)).send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
        let long = json!({ "text": "a".repeat(20_000) }).to_string();
        assert_eq!(post().body(long).send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
        server.get("/api/v1/models").await;
    });
}

#[test]
fn half_a_request_harms_nobody() {
    with(&["organism"], async |server| {
        let at = server.address.trim_start_matches("http://");
        let mut half = TcpStream::connect(at).unwrap();
        half.write_all(b"POST /api/v1/models/organism/generate HTTP/1.1\r\nHost: ").unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        let _ = half.read_to_string(&mut rest);
        assert!(!rest.contains(" 5"), "{rest}");
        let mut noise = TcpStream::connect(at).unwrap();
        noise.write_all(b"\x16\x03\x01 what is this\r\n\r\n").unwrap();
        rest.clear();
        let _ = noise.read_to_string(&mut rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
        server.get("/api/v1/models").await;
    });
}

#[test]
fn an_address_open_to_others_needs_a_token_of_the_users() {
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_optrode")).args(["serve", "--host", "0.0.0.0"]).output();
    let said = said.unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("--token"));
    let weak = ["serve", "--host", "0.0.0.0", "--token", "short"];
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_optrode")).args(weak).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("16 letters"));
}
