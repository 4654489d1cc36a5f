//! Every screen in headless Chromium, through the binary, on the embedded organism.

use std::time::Duration;

use fantoccini::{Client, Locator};
use serde_json::{Value, json};

use super::server::Server;
use crate::browser::driver::{Driver, console, requests, tell};

/// Opens the dashboard in a browser of its own and hands both over.
fn with_browser<F: AsyncFnOnce(&Client, &Server)>(subjects: &[&str], test: F) {
    let Some(driver) = Driver::start() else { return };
    let server = Server::start(subjects);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        server.ready().await;
        let browser = driver.browser(folder.path()).await;
        browser.goto("about:blank").await.unwrap();
        console(&browser).await;
        requests(&browser).await;
        browser.goto(&format!("{}/?token={}", server.address, server.token)).await.unwrap();
        test(&browser, &server).await;
        assert_eq!(console(&browser).await, Vec::<Value>::new());
        let asked = requests(&browser).await;
        let own =
            |url: &String| url.starts_with(&server.address) || url.starts_with("data:") || url.starts_with("blob:");
        assert!(asked.iter().all(own), "{asked:?}");
        browser.close().await.unwrap();
    });
}

async fn text(browser: &Client, css: &str) -> String {
    browser.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
}

async fn wait(browser: &Client, css: &str) -> fantoccini::elements::Element {
    browser.wait().at_most(Duration::from_secs(120)).for_element(Locator::Css(css)).await.unwrap()
}

async fn click(browser: &Client, css: &str) {
    browser.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
}

/// Replaces what stands in a field.
async fn write(browser: &Client, css: &str, text: &str) {
    let field = browser.find(Locator::Css(css)).await.unwrap();
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

#[test]
fn a_prompt_is_typed_and_a_head_is_read() {
    with_browser(&["organism"], async |browser, server| {
        browser.goto(&format!("{}/m/organism/lab", server.address)).await.unwrap();
        write(browser, ".ask [name=text]", "The cat sat. The cat").await;
        click(browser, ".ask .go").await;
        wait(browser, ".strip li").await;
        assert!(
            browser.current_url().await.unwrap().query().unwrap().contains("cat+sat"),
            "the state is in the address"
        );
        let strip = "return [...document.querySelectorAll('.strip span')].map(s => s.textContent).join('')";
        let strip = browser.execute(strip, vec![]).await.unwrap();
        assert!(strip.as_str().unwrap().ends_with("The␣cat␣sat.␣The␣cat"), "{strip}");
        let words = text(browser, ".reading").await;
        // The pointer over the lower half of a head's pattern: a late query.
        let canvas = browser.find(Locator::Css(".heads canvas")).await.unwrap();
        browser
            .execute("arguments[0].scrollIntoView({block: 'center'})", vec![serde_json::to_value(&canvas).unwrap()])
            .await
            .unwrap();
        let (x, y, w, h) = canvas.rectangle().await.unwrap();
        let top = browser.execute("return window.scrollY", vec![]).await.unwrap().as_f64().unwrap();
        let at = |kind: &str| json!({ "type": kind, "x": x + w / 4.0, "y": y - top + h * 0.9, "button": "left", "clickCount": 1 });
        tell(browser, "Input.dispatchMouseEvent", at("mouseMoved")).await;
        let read = text(browser, ".reading").await;
        assert_ne!(read, words);
        assert!(read.contains("attends to"), "{read}");
        assert_eq!(browser.find_all(Locator::Css(".strip li.query")).await.unwrap().len(), 1);
        tell(browser, "Input.dispatchMouseEvent", at("mousePressed")).await;
        tell(browser, "Input.dispatchMouseEvent", at("mouseReleased")).await;
        assert!(text(browser, ".reading").await.contains("held"));
        // Thumbnails are really drawn: more than one colour each.
        let colours = "return [...document.querySelectorAll('.heads canvas')].map(c => new Set(c.getContext('2d')\
                       .getImageData(0, 0, c.width, c.height).data).size)";
        let colours = browser.execute(colours, vec![]).await.unwrap();
        assert!(colours.as_array().unwrap().iter().all(|n| n.as_u64().unwrap() > 4), "{colours}");
    });
}

#[test]
fn a_neuron_is_opened_and_clamped_and_the_text_changes() {
    with_browser(&["organism"], async |browser, server| {
        // The first page of a unit reads texts first, and then shows itself.
        browser.goto(&format!("{}/m/organism/u/blocks.5.mlp.hook_post/3", server.address)).await.unwrap();
        wait(browser, ".density rect").await;
        let mark = wait(browser, ".examples mark").await;
        let move_to = "arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))";
        browser.execute(move_to, vec![serde_json::to_value(&mark).unwrap()]).await.unwrap();
        assert_eq!(browser.find_all(Locator::Css(".density .lit")).await.unwrap().len(), 1);
        let slide = "const r = document.querySelector('[data-value][type=range]'); r.value = r.max; \
                     r.dispatchEvent(new Event('input', {bubbles: true}))";
        browser.execute(slide, vec![]).await.unwrap();
        wait(browser, ".outcome[data-status=done]").await;
        let (plain, edited) = (text(browser, "[data-side=plain] p").await, text(browser, "[data-side=edited] p").await);
        assert!(!plain.is_empty() && plain != edited, "`{plain}` and `{edited}`");
        write(browser, "[aria-labelledby=test] [name=text]", "The Queen").await;
        click(browser, "[aria-labelledby=test] .go").await;
        wait(browser, ".tested dd span").await;
        browser.goto(&format!("{}/m/organism/atlas?search=Alice", server.address)).await.unwrap();
        assert!(text(browser, "#list").await.contains("units"));
    });
}

#[test]
fn a_sweep_is_run_to_its_end_and_another_is_stopped() {
    with_browser(&["organism"], async |browser, server| {
        browser.goto(&format!("{}/m/organism/sweeps", server.address)).await.unwrap();
        click(browser, "[aria-labelledby=ablation] .go").await;
        let figure = wait(browser, "[aria-labelledby=ablation] .outcome figure svg").await;
        let (_, _, w, h) = figure.rectangle().await.unwrap();
        assert!(w > 200.0 && h > 80.0);
        write(browser, "[name=count]", "64").await;
        click(browser, "[aria-labelledby=patching] .go").await;
        wait(browser, "[aria-labelledby=patching] .stop").await;
        click(browser, "[aria-labelledby=patching] .stop").await;
        wait(browser, "[aria-labelledby=patching] .outcome[data-status=stopped]").await;
    });
}

#[test]
fn edits_are_composed_tried_saved_and_an_unlearning_edit_is_applied() {
    with_browser(&["organism"], async |browser, server| {
        browser.goto(&format!("{}/m/organism/edits", server.address)).await.unwrap();
        write(browser, "[data-compose] [name=site]", "blocks.2.mlp.hook_post[neuron=0..200]").await;
        click(browser, "[data-compose] .go").await;
        wait(browser, "ol.edits li").await;
        click(browser, "[aria-labelledby=try] .go").await;
        wait(browser, "[aria-labelledby=try] .outcome[data-status=done]").await;
        assert_ne!(text(browser, "[data-side=plain] p").await, text(browser, "[data-side=edited] p").await);
        click(browser, "[aria-labelledby=effect] .go").await;
        assert!(wait(browser, "[aria-labelledby=effect] table").await.text().await.unwrap().contains("KL"));
        write(browser, "[data-put] [name=name]", "mine").await;
        click(browser, "[data-put] .go").await;
        wait(browser, "a[href='?saved=mine'][aria-current]").await;

        // What `optrode unlearn` writes: neurons turned over where they follow the forgotten skill's distribution.
        let folder = server.folder().join("edits/no-sums");
        std::fs::create_dir_all(&folder).unwrap();
        let adjust = json!({ "version": 1, "edits": [{
            "site": "blocks.3.mlp.hook_post[neuron=1,2]", "op": "neuron_adjust",
            "forget_mean": [1.0, 1.0], "forget_std": [0.5, 0.5], "retain_mean": [0.0, 0.0], "retain_std": [0.5, 0.5],
        }] });
        std::fs::write(folder.join("edit.json"), adjust.to_string()).unwrap();
        browser.goto(&format!("{}/m/organism/edits?saved=no-sums", server.address)).await.unwrap();
        let list = text(browser, "ol.edits").await;
        assert!(list.contains("neuron_adjust"), "{list}");
        click(browser, "[aria-labelledby=try] .go").await;
        wait(browser, "[aria-labelledby=try] .outcome[data-status=done]").await;
    });
}

#[test]
fn a_network_is_run_and_clamped_from_the_page() {
    with_browser(&["izhikevich"], async |browser, server| {
        browser.goto(&format!("{}/n/izhikevich?steps=60", server.address)).await.unwrap();
        write(browser, "[data-compose] [name=site]", "inh.hook_spikes@t=30..").await;
        click(browser, "[data-compose] .go").await;
        write(browser, "[name=record]", "exc.hook_spikes").await;
        click(browser, "[aria-labelledby=run] .go").await;
        wait(browser, ".outcome figure svg").await;
        assert!(text(browser, ".outcome").await.contains("without edits"));
        assert!(browser.current_url().await.unwrap().query().unwrap().contains("inh.hook_spikes"));
    });
}

#[test]
fn every_page_is_quiet_fits_and_names_what_it_holds() {
    with_browser(&["organism", "izhikevich"], async |browser, server| {
        // Units have pages once there is an atlas.
        assert_eq!(server.job("/api/v1/models/organism/scan", json!({})).await["status"], "done");
        let pages = [
            "/m/organism/atlas",
            "/m/organism/u/blocks.2.mlp.hook_post/7",
            "/m/organism/u/blocks.2.attn.hook_result/1",
            "/n/izhikevich/u/exc.hook_mem/0",
            "/",
            "/m/organism",
            "/m/organism/lab",
            "/m/organism/edits",
            "/m/organism/sweeps",
            "/n/izhikevich",
            "/reports",
            "/jobs",
        ];
        for page in pages {
            browser.goto(&format!("{}{page}", server.address)).await.unwrap();
            for width in [768, 1280, 1920] {
                let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
                tell(browser, "Emulation.setDeviceMetricsOverride", size).await;
                let beyond = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(browser.execute(beyond, vec![]).await.unwrap(), json!(0), "{page} at {width}");
            }
            let nameless = "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]\
                            .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))\
                            .map(e => e.outerHTML)";
            assert_eq!(browser.execute(nameless, vec![]).await.unwrap(), json!([]), "{page}");
            assert_eq!(console(browser).await, Vec::<Value>::new(), "{page}");
        }
    });
}
