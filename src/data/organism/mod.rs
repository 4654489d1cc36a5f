//! What the model organism learns: exact skills with generated items, made-up facts, repeated random sequences, and
//! books in several languages.
//!
//! Every skill has a stated domain, and a fixed share of it is held out: whether an item is held out is a hash of the
//! item alone, so training and evaluation can never disagree.

pub mod books;
pub mod embedded;
pub mod facts;
pub mod rows;
pub mod skills;
pub mod vocabulary;

pub use books::{Book, Books, LANGUAGES};
pub use rows::{Mixture, Packer};
pub use skills::{Item, Skill};
