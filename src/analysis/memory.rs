//! How much memory a job will need, part by part, and whether it is there.

use serde::{Deserialize, Serialize};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::hook::{Axis, SiteTable};
use crate::models::{Model, OpenOptions};
use crate::report::{Block, Cell, Column, Table};
use crate::store::{ModelFolder, Storage, resolve};
use crate::{Error, Result};

/// Bytes that the program and its libraries take before they do anything.
pub const PROGRAM: u64 = 64 << 20;

/// An upper estimate, by what the memory is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Name and bytes of each part.
    pub parts: Vec<(String, u64)>,
}

impl Needs {
    /// With one more part.
    pub fn and(mut self, name: &str, bytes: u64) -> Self {
        self.parts.push((name.to_string(), bytes));
        self
    }

    /// All parts together.
    pub fn total(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// In a line.
    pub fn line(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(name, bytes)| format!("{name} {}", readable(*bytes))).collect();
        format!("at most about {} of memory: {}", readable(self.total()), parts.join(", "))
    }

    /// Refuses a job that needs more than there is.
    ///
    /// # Errors
    /// [`Error::Invalid`] with `advice`.
    pub fn check(&self, available: Option<u64>, advice: &str) -> Result<()> {
        match available {
            Some(available) if self.total() > available => {
                Err(Error::invalid(format!("this needs {}, but {} are free", self.line(), readable(available)), advice))
            }
            _ => Ok(()),
        }
    }

    /// As a table.
    pub fn block(&self) -> Block {
        let mut rows: Vec<Vec<Cell>> =
            self.parts.iter().map(|(name, bytes)| vec![Cell::text(name), Cell::text(readable(*bytes))]).collect();
        rows.push(vec![Cell::text("together"), Cell::text(readable(self.total()))]);
        Block::Table(Table { columns: vec![Column::new("memory for"), Column::new("at most about")], rows })
    }
}

/// The bytes of a model's weights as they are held, from the headers of its files.
///
/// # Errors
/// Files that are missing or damaged.
pub fn weights(folder: &ModelFolder, storage: Storage) -> Result<u64> {
    Ok(folder.weights()?.elements().saturating_mul(storage.dtype().size_in_bytes() as u64))
}

/// The bytes of activations that live at once when a batch of `cells` tokens in rows of `window` runs: those of one
/// block, what a product repacks, and the logits.
pub fn activations(table: &SiteTable, cells: u64, window: u64) -> u64 {
    let mut layers: std::collections::BTreeMap<Option<usize>, u64> = std::collections::BTreeMap::new();
    for (_, site) in table.iter().filter(|(_, site)| !site.on_demand) {
        let sizes = site.axes.iter().zip(&site.sizes);
        // A key axis is as long as the row.
        let open = site.dim(Axis::Key).map_or(1, |_| window);
        let width: u64 = sizes.filter_map(|(_, size)| size.map(|n| n as u64)).product::<u64>() * open;
        *layers.entry(site.layer).or_default() += width;
    }
    let outside = layers.remove(&None).unwrap_or(0);
    let block = layers.values().copied().max().unwrap_or(0);
    cells.saturating_mul(4 * (2 * block + outside))
}

/// Memory that the system, or the container, has left; `None` where it does not say.
pub fn available() -> Option<u64> {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind);
    let free = Some(system.available_memory()).filter(|bytes| *bytes > 0)?;
    Some(system.cgroup_limits().map_or(free, |limits| free.min(limits.free_memory)))
}

/// The most memory that this process has held so far; `None` where the system does not say.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// `63 MiB`.
pub fn readable(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

/// Opens a model, if its weights fit into memory.
///
/// # Errors
/// As [`Model::open`]; weights that do not fit.
pub fn open(reference: &str, options: &OpenOptions) -> Result<Model> {
    let weights = weights(&resolve(reference, &options.hub)?, options.storage)?;
    let needs = Needs::default().and("weights", weights).and("program and libraries", PROGRAM);
    needs.check(available(), "keep the weights as --dtype bf16, or run on a larger machine")?;
    Model::open(reference, options)
}
