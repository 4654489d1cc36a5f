//! The atlas browser.

use maud::{Markup, html};
use serde::Deserialize;

use super::{Screen, View, escaped, figure, form, quoted};
use crate::report::visible;
use crate::serve::api::atlas::{Browse, Browsed, MapOf, browse, is_there, map, scan};
use crate::serve::app::App;
use crate::serve::failure::Reply;
use crate::serve::route::Names;
use crate::store::atlas::{Listed, Statistic};

/// What the page shows.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    site: Option<String>,
    #[serde(default)]
    sort: Statistic,
    #[serde(default)]
    ascending: bool,
    search: Option<String>,
    #[serde(default)]
    page: usize,
    /// The kind of units on the map.
    unit: Option<String>,
    /// The statistic on the map.
    map: Option<Statistic>,
}

impl Asked {
    fn query(&self, sort: Statistic, ascending: bool, page: usize) -> String {
        let mut parts = vec![format!("sort={}", sort.name()), format!("ascending={ascending}"), format!("page={page}")];
        let fields = [("site", &self.site), ("search", &self.search), ("unit", &self.unit)];
        let filled = fields.into_iter().filter_map(|(name, f)| Some((name, f.as_deref().filter(|t| !t.is_empty())?)));
        parts.extend(filled.map(|(name, text)| format!("{name}={}", escaped(text))));
        parts.extend(self.map.map(|s| format!("map={}", s.name())));
        parts.join("&")
    }
}

pub async fn page(app: App, names: Names, asked: Asked) -> Reply<View> {
    let name = names.get("model")?;
    let served = app.model(name)?;
    let wanted = Browse {
        site: asked.site.clone(),
        sort: asked.sort,
        ascending: asked.ascending,
        search: asked.search.clone(),
        page: asked.page,
    };
    if !is_there(&app, name).await? {
        let body = form::underway(scan(&app, name)?.id, "Reading texts, so that units have something to show…");
        return Ok(View::new(Screen::Atlas, "Atlas", body).of(name));
    }
    let found = browse(&app, name, &wanted).await?;
    let mapped = MapOf { statistic: asked.map.unwrap_or(Statistic::Max), unit: asked.unit.clone() };
    let chart = figure(&map(&app, name, &mapped).await?)?;
    let body = html! {
        p class="quiet" { (found.corpus.1) " tokens of " (found.corpus.0) " documents." }
        (asking(&asked, &found))
        section aria-labelledby="list" { h2 id="list" { (found.found) " units" } (table(name, &asked, &found)) (pages(&asked, &found)) }
        section aria-labelledby="map" { h2 id="map" { "Map" } (chart) }
    };
    let fields = [("site", &asked.site), ("search", &asked.search)];
    let filled = fields.into_iter().filter_map(|(name, f)| Some((name, f.as_deref().filter(|t| !t.is_empty())?)));
    let filter: String = filled.map(|(name, text)| format!("&{name}={}", escaped(text))).collect();
    let query = format!("sort={}&ascending={}&page={}{filter}", asked.sort.name(), asked.ascending, asked.page);
    Ok(View::new(Screen::Atlas, "Atlas", body)
        .of(name)
        .command(format!("optrode scan {} TEXTS --out ATLAS", quoted(&served.reference)))
        .api(format!("/api/v1/models/{name}/atlas?{query}")))
}

fn asking(asked: &Asked, found: &Browsed) -> Markup {
    let option = |value: &str, words: &str| (value.to_string(), words.to_string());
    let mut sites = vec![option("", "all sites")];
    sites.extend(found.sites.iter().map(|s| option(s, s)));
    let statistics: Vec<(String, String)> = Statistic::ALL.iter().map(|s| option(s.name(), s.name())).collect();
    let kinds = [option("neuron", "neurons"), option("head", "heads"), option("direction", "directions")];
    html! {
        form method="get" class="ask" {
            div class="fields" {
                (form::line("search", "Search labels and tokens", asked.search.as_deref().unwrap_or_default(), "rabbit"))
                (form::choice("site", "Site", &sites, asked.site.as_deref().unwrap_or_default()))
                (form::choice("sort", "Sort by", &statistics, asked.sort.name()))
                (form::choice("ascending", "Order", &[option("false", "largest first"), option("true", "smallest first")], if asked.ascending { "true" } else { "false" }))
                (form::choice("map", "Map of", &statistics, asked.map.unwrap_or(Statistic::Max).name()))
                (form::choice("unit", "over", &kinds, asked.unit.as_deref().unwrap_or("neuron")))
            }
            button type="submit" class="go" { "Show" }
        }
    }
}

fn table(model: &str, asked: &Asked, found: &Browsed) -> Markup {
    let columns = Statistic::ALL.iter().filter(|s| **s != Statistic::Number);
    let value = |unit: &Listed, statistic: Statistic| match statistic {
        Statistic::Number => None,
        Statistic::Mean => unit.mean,
        Statistic::Std => unit.std,
        Statistic::Skewness => unit.skewness,
        Statistic::Kurtosis => unit.kurtosis,
        Statistic::Min => unit.min,
        Statistic::Max => unit.max,
        Statistic::Rate => unit.rate,
    };
    let number = |x: Option<f64>| x.map_or("–".to_string(), |x| format!("{x:.3}").replace('-', "−"));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Units" {
            table {
                thead {
                    tr {
                        th scope="col" { "unit" }
                        @for statistic in columns.clone() {
                            @let sorted = asked.sort == *statistic;
                            th scope="col" class="number" aria-sort=[sorted.then_some(if asked.ascending { "ascending" } else { "descending" })] {
                                a href=(format!("?{}", asked.query(*statistic, sorted && !asked.ascending, 0))) { (statistic.name()) @if sorted { (if asked.ascending { " ↑" } else { " ↓" }) } }
                            }
                        }
                        th scope="col" { "tokens at its largest" } th scope="col" { "label" }
                    }
                }
                tbody {
                    @for unit in &found.units {
                        tr {
                            th scope="row" class="unit" { a href=(format!("/m/{model}/u/{}/{}", unit.site, unit.number)) { (unit.site) " " (unit.number) } }
                            @for statistic in columns.clone() { td class="number" { (number(value(unit, *statistic))) } }
                            td class="tokens-of" { @for token in &unit.tokens { span class="tag" { (visible(&token.replace('\n', "⏎"))) } " " } }
                            td { @if let Some(label) = &unit.label { (visible(label)) } }
                        }
                    }
                }
            }
        }
    }
}

fn pages(asked: &Asked, found: &Browsed) -> Markup {
    let last = found.found.saturating_sub(1) / found.per_page;
    let to = |page: usize| format!("?{}", asked.query(asked.sort, asked.ascending, page));
    html! {
        p class="links" {
            @let at = asked.page.min(last);
            @if at > 0 { a rel="prev" data-key="ArrowLeft" href=(to(at - 1)) { "← before" } " " }
            "page " (at + 1) " of " (last + 1)
            @if at < last { " " a rel="next" data-key="ArrowRight" href=(to(at + 1)) { "after →" } }
        }
    }
}
