//! The registry of reproduced papers: its entries, an experiment of one's own, and the command.

mod registry;
