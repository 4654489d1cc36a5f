//! Skill unlearning without training: Neuron Adjust and Key Space Detection (Li, Sun and Weng, NAACL 2025,
//! arXiv 2503.21730), with what they are compared with.
//!
//! One pass over the texts of every group collects the [`Statistics`] of all methods; a [`Fit`] makes edits of them; and
//! [`unlearn()`] tries every setting, chooses one on validation data, and measures it on other data.
//!
//! Where the keys are looked at matters more than anything else: the paper's last layer works where a skill's prompts are
//! long and alike. On the organism, whose last layer prepares the next token and nothing else, one token of most English
//! paragraphs falls into the cube around addition; in the first layers, which see the form of a question, none does. The
//! layer is therefore chosen with alpha, on the same validation data, and [`Method::KsdLast`] stands beside it.
//!
//! What differs from the authors' code, which takes variances for deviations and mu for sigma, is kept as
//! [`Variant::Released`]. BOS and other special tokens enter no statistic. For a group of texts every token is looked at
//! as if it were the last one (a model that reads them token by token abstains at the first hit), and a text that is
//! abstained from has no token right.

mod attack;
mod checks;
mod choose;
mod group;
mod hidden;
mod key_space;
mod methods;
mod neuron_adjust;
mod probe;
mod reach;
mod relearn;
mod report;
mod result;
mod run;
mod score;
mod statistics;

pub use attack::Attack;
pub use choose::choose;
pub use group::{Group, Material, Parts, Question, Sizes, Split};
pub use key_space::{ABSTAIN, Cube, KeySpace};
pub use methods::{Fit, Fitted, Method, Setting, top_percent};
pub use neuron_adjust::{Densities, NeuronAdjust, Variant};
pub use probe::{Probed, Read};
pub use reach::{Reach, reaches};
pub use relearn::Relearned;
pub use result::{Attacked, Before, Chosen, Forgotten, Inside, Tried, Unlearning, Within};
pub use run::{Options, Unlearned, unlearn};
pub use score::{Unit, score};
pub use statistics::{Keys, Statistics, Text};
