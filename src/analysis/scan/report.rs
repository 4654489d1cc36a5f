//! What a scan looks like.

use super::{Kind, Scanned};
use crate::analysis::memory::readable;
use crate::report::{Block, Cell, Column, Report, Table};

impl Kind {
    /// In words.
    fn words(self) -> &'static str {
        match self {
            Self::Neuron => "MLP neurons",
            Self::Head => "attention heads",
            Self::Direction => "residual directions",
        }
    }
}

impl Report for Scanned {
    fn blocks(&self) -> Vec<Block> {
        let mut head = format!("{} tokens of {} documents in {} chunks", self.tokens, self.documents, self.chunks);
        if let Some(shard) = self.shard {
            head += &format!(", shard {shard}");
        }
        if let Some(chunks) = self.resumed {
            head += &format!("; resumed after {chunks} chunks");
        }
        head += match self.found {
            true => ". The atlas was there already.",
            false => ".",
        };
        let mut blocks = vec![Block::text(head)];
        if !self.found {
            let mut speed = format!("{:.1} s", self.seconds);
            if self.rate > 0.0 {
                speed += &format!(", {:.0} tokens/s", self.rate);
            }
            if let Some(peak) = self.peak {
                speed += &format!(", at most {} of memory", readable(peak));
            }
            blocks.push(Block::text(speed + "."));
        }
        let units = self.units.iter();
        let units = units.map(|u| vec![Cell::text(u.kind.words()), Cell::count(u.sites), Cell::count(u.units)]);
        blocks.push(table(&["units", "sites", "together"], units.collect()));
        let row = |(name, documents, tokens): &(String, u64, u64)| {
            vec![Cell::text(name), Cell::count(*documents), Cell::count(*tokens)]
        };
        blocks.push(table(&["group", "documents", "tokens"], self.groups.iter().map(row).collect()));
        blocks
    }
}

fn table(names: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: names.iter().copied().map(Column::new).collect(), rows })
}
