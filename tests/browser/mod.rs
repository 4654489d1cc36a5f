//! Report pages in a real browser: Debian's `chromium` and `chromium-driver`.

pub mod driver;

use std::path::{Path, PathBuf};

use fantoccini::Client;
use optrode::report::html;
use serde_json::{Value, json};

use crate::report::sample;
use driver::{Driver, console, requests, show, tell};

fn write(folder: &Path, html: &str) -> String {
    let path: PathBuf = folder.join("report.html");
    std::fs::write(&path, html).unwrap();
    format!("file://{}", path.display())
}

async fn measure(browser: &Client, name: &str) -> Value {
    browser.execute(include_str!("page.js"), vec![json!(name)]).await.unwrap()
}

/// Opens the sample page in a browser of its own and hands both over.
fn with_page<F: AsyncFnOnce(&Client, &str)>(test: F) {
    let Some(driver) = Driver::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let address = write(folder.path(), &html::page(&sample::page()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = driver.browser(folder.path()).await;
        // A fresh browser shows a page of its own, which speaks and loads.
        browser.goto("about:blank").await.unwrap();
        console(&browser).await;
        requests(&browser).await;
        browser.goto(&address).await.unwrap();
        test(&browser, &address).await;
        browser.close().await.unwrap();
    });
}

#[test]
fn a_page_opens_without_a_word_on_the_console_and_without_a_request() {
    with_page(async |browser, address| {
        assert_eq!(browser.title().await.unwrap(), "Audit of organism-3M");
        assert_eq!(console(browser).await, Vec::<Value>::new());
        assert_eq!(requests(browser).await, [address], "the page itself and nothing else");

        // The control: what a hostile page tries is refused, and these checks see it.
        let page = html::page(&sample::page()).unwrap();
        let tries =
            "<script>document.title = 'owned'</script><p style=\"color:red\">x</p><img src=\"http://127.0.0.1:9/x\">";
        let hostile =
            write(Path::new(address.trim_start_matches("file://")).parent().unwrap(), &page.replace("</main>", tries));
        browser.goto(&hostile).await.unwrap();
        assert_eq!(browser.title().await.unwrap(), "Audit of organism-3M", "no script runs");
        let words: Vec<String> = console(browser).await.iter().map(|e| e["message"].to_string()).collect();
        for directive in ["script-src", "style-src", "img-src"] {
            assert!(words.iter().any(|w| w.contains(directive) && w.contains("violates")), "{directive}: {words:?}");
        }
    });
}

#[test]
fn every_chart_is_really_drawn() {
    with_page(async |browser, _| {
        let charts = measure(browser, "charts").await;
        let charts = charts.as_array().unwrap();
        assert_eq!(charts.len(), 6);
        for chart in charts {
            assert!(chart["marks"].as_u64().unwrap() > 20, "{chart}");
            assert_eq!(chart["unpainted"], 0, "{chart}");
            assert_eq!(chart["sticking_out"], json!([]), "{chart}");
            assert_eq!(chart["clashing"], json!([]), "{chart}");
            let heat = chart["name"].as_str().unwrap().contains("heat map");
            assert!(chart["colours"].as_u64().unwrap() > if heat { 20 } else { 0 }, "{chart}");
        }
        assert_eq!(measure(browser, "unreachable").await, json!([]), "values under the pointer");
    });
}

#[test]
fn every_text_is_legible_in_the_light_in_the_dark_and_on_paper() {
    with_page(async |browser, _| {
        for (scheme, media, bright) in [("light", "screen", true), ("dark", "screen", false), ("dark", "print", true)] {
            show(browser, scheme, media).await;
            let contrast = measure(browser, "contrast").await;
            assert_eq!(contrast["faint"], json!([]), "{scheme} on {media}");
            assert!(contrast["seen"].as_u64().unwrap() > 200, "{contrast}");
            let page = contrast["page"].as_f64().unwrap();
            assert!(if bright { page > 0.9 } else { page < 0.05 }, "{scheme} on {media}: ground {page}");
        }
    });
}

#[test]
fn the_page_fits_every_window() {
    with_page(async |browser, _| {
        for width in [360, 500, 800, 1280, 2000] {
            let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
            tell(browser, "Emulation.setDeviceMetricsOverride", size).await;
            assert_eq!(measure(browser, "overflow").await, json!(0), "{width} pixels");
        }
    });
}
