//! Many requests and many clients.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::server::{Server, with};

/// Resident memory of the server, in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_stays_flat_over_ten_thousand_requests() {
    with(&["organism"], async |server| {
        server.ready().await;
        let paths = ["/api/v1/models", "/api/v1/edits", "/api/v1/jobs", "/api/v1/operations"];
        let round = async |n: usize| {
            for i in 0..n {
                // Every fiftieth asks the model.
                let path = if i % 50 == 0 { "/api/v1/models/organism/inspect?text=The%20Queen" } else { paths[i % 4] };
                let (status, _) = server.ask(Method::GET, path, None).await;
                assert_eq!(status, StatusCode::OK);
            }
        };
        round(1000).await;
        let before = resident(server);
        round(10_000).await;
        let after = resident(server);
        assert!(after < before + before / 4 + 32 * 1024, "{before} KiB before, {after} KiB after");
    });
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    with(&["organism"], async |server| {
        server.ready().await;
        for _ in 0..300 {
            let path = format!("{}/api/v1/models/organism/inspect?text=The+Queen", server.address);
            let request = server.client.get(path).bearer_auth(&server.token);
            // Long enough to be asked, too short to be answered.
            let _ = request.timeout(std::time::Duration::from_millis(3)).send().await;
        }
        let (status, told) = server.ask(Method::GET, "/api/v1/models/organism/inspect?text=The", None).await;
        assert_eq!(status, StatusCode::OK, "{told}");
    });
}

#[test]
fn sixty_four_clients_are_all_answered_while_a_job_runs() {
    with(&["organism"], async |server| {
        server.ready().await;
        let text = "The Queen looked at Alice, and Alice looked at the Queen. ".repeat(2);
        let long = json!({ "set": "repeated", "count": 64 });
        let (_, job) = server.ask(Method::POST, "/api/v1/models/organism/patch", Some(long)).await;
        let ask = async |i: usize| {
            let path = format!("/api/v1/models/organism/inspect?text={}&layer={}", text.replace(' ', "+"), i % 6);
            let (status, seen) = server.ask(Method::GET, &path, None).await;
            (status, seen["left"]["seen"]["layer"].as_u64())
        };
        let all = futures_util::future::join_all((0..64).map(ask)).await;
        for (i, (status, layer)) in all.into_iter().enumerate() {
            assert_eq!((status, layer), (StatusCode::OK, Some(i as u64 % 6)), "client {i}");
        }
        let id = job["id"].as_u64().unwrap();
        server.ask(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
        let ended = server.ended(id).await;
        assert!(["stopped", "done"].contains(&ended["status"].as_str().unwrap()), "{ended}");
    });
}
