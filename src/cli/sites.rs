//! `optrode sites`: what can be recorded and edited.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::common::{ModelArgs, print_json};
use crate::analysis::bio;
use crate::hook::{Selector, Site, SiteTable};
use crate::models::Model;

/// Arguments of `optrode sites`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode sites ./stories260K
  optrode sites ./stories260K 'blocks.{0..2}.attn.*'
  optrode sites ./stories260K --json
  optrode sites izhikevich
  optrode sites fixtures/nir/small.nir")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Only the sites that this selector matches, one by one.
    selector: Option<Selector>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Accepted by every command; nothing here is random.
    #[arg(long, default_value_t = 0, hide = true)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = &args.model.model;
    let simulated = bio::is_graph(name) || (bio::is_named(name) && name != bio::SUBSTRATE);
    let network = if simulated { Some(bio::open(name, None)?.build(args.seed)?) } else { None };
    let table = match &network {
        Some(network) => network.sites().clone(),
        None => Model::sites(&args.model.model, &args.model.options()?)?,
    };
    let rules = network.map_or_else(Vec::new, |network| network.rules());
    let sites: Vec<&Site> = match &args.selector {
        Some(selector) => selector.resolve(&table)?.ids().map(|id| table.get(id)).collect(),
        None => table.iter().map(|(_, site)| site).collect(),
    };
    if args.json {
        let mut value = json!({ "model": args.model.model, "sites": sites });
        if !rules.is_empty() {
            value["rules"] = json!(rules);
        }
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows =
        if args.selector.is_some() { sites.iter().map(|s| (s.name.clone(), *s)).collect() } else { folded(&table) };
    print_table(&rows)?;
    if !rules.is_empty() {
        println!("\nEvery site is visited in every step (`@t=..`, `@every=..`).\n{}", rules.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// One row for a site that all (or several) layers have: `blocks.{0..4}.hook_resid_pre`.
fn folded(table: &SiteTable) -> Vec<(String, &Site)> {
    let mut rows: Vec<(String, Vec<usize>, &Site)> = Vec::new();
    for (_, site) in table.iter() {
        let Some(layer) = site.layer else {
            rows.push((site.name.clone(), Vec::new(), site));
            continue;
        };
        let rest = site.name.splitn(3, '.').nth(2).unwrap_or_default().to_string();
        match rows
            .iter_mut()
            .find(|(name, _, first)| first.layer.is_some() && *name == rest && first.sizes == site.sizes)
        {
            Some((_, layers, _)) => layers.push(layer),
            None => rows.push((rest, vec![layer], site)),
        }
    }
    let name = |rest: String, layers: &[usize]| match layers {
        [] => rest,
        [one] => format!("blocks.{one}.{rest}"),
        [first, .., last] if last - first + 1 == layers.len() => format!("blocks.{{{first}..{}}}.{rest}", last + 1),
        some => {
            let list: Vec<String> = some.iter().map(usize::to_string).collect();
            format!("blocks.{{{}}}.{rest}", list.join(","))
        }
    };
    rows.into_iter().map(|(rest, layers, site)| (name(rest, &layers), site)).collect()
}

fn print_table(rows: &[(String, &Site)]) -> anyhow::Result<()> {
    let shapes: Vec<String> = rows.iter().map(|(_, site)| shape(site)).collect();
    let name = rows.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
    let wide = shapes.iter().map(String::len).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for ((n, site), shape) in rows.iter().zip(&shapes) {
        let mark = if site.on_demand { "*" } else { " " };
        writeln!(out, "{n:name$} {mark} {shape:wide$}  {}", site.meaning)?;
    }
    if rows.iter().any(|(_, site)| site.on_demand) {
        writeln!(out, "\n* made only when somebody asks: recording it costs memory")?;
    }
    Ok(())
}

/// `batch, pos, head=8, d_head=8`.
fn shape(site: &Site) -> String {
    let axis = site.axes.iter().zip(&site.sizes).map(|(axis, size)| match size {
        Some(n) => format!("{}={n}", axis.name()),
        None => axis.name().to_string(),
    });
    axis.collect::<Vec<_>>().join(", ")
}
