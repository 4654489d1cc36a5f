//! The jobs that are timed, by `parts` on weights made in memory and by `bench_jobs` beside other tools.

mod sweep;

use optrode::analysis::sweep::TOKENS;
use optrode::generate::{Generator, Options};
use optrode::hook::{Edit, Output, Pass, Record, Registry, Values};
use optrode::models::execute::observe;
use optrode::models::{Decoder, Input, Side, Tokens};
use optrode::{Error, Result};
use serde_json::json;

use sweep::{PROMPT, patches, prompt, sweep, token};

/// Rows and positions of a batch.
pub const BATCH: (usize, usize) = (8, 128);
/// Tokens that are generated after a prompt.
pub const GENERATED: usize = 64;

/// What TransformerLens's `run_with_cache` keeps, and then some.
const RECORDED: [&str; 11] = [
    "hook_embed",
    "blocks.*.hook_resid_*",
    "blocks.*.ln{1..3}.*",
    "blocks.*.attn.hook_{q,k,v,z,out}",
    "blocks.*.attn.hook_rot_*",
    "blocks.*.attn.hook_{attn_scores,pattern}",
    "blocks.*.hook_{attn_out,mlp_in,mlp_out}",
    "blocks.*.mlp.*",
    "ln_final.*",
    "unembed.hook_out",
    "logits",
];

/// One thing to do, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A batch, all logits.
    Forward,
    /// Mean and variance of every neuron over a batch, no logits.
    Statistics,
    /// Every site of a batch, whole, but for the tensors that would only be made for it (as TransformerLens does).
    Record,
    /// Greedy decoding of one row, one neuron of every layer scaled at every token.
    Decode,
    /// One forward of a short prompt, the stream patched at one place.
    Patch,
    /// A patched forward of a short prompt for every block and position of the stream, a logit difference of each.
    Sweep,
}

impl Job {
    /// Every job with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("forward", Self::Forward),
        ("statistics", Self::Statistics),
        ("record", Self::Record),
        ("decode", Self::Decode),
        ("patch", Self::Patch),
        ("sweep", Self::Sweep),
    ];

    /// Does it once; the number of tokens that it was done for.
    pub fn run(self, net: &Decoder) -> Result<usize> {
        let pass = self.pass()?;
        let registry = Registry::elementary();
        match self {
            Self::Decode => {
                let options = Options { max_new_tokens: GENERATED, stop_events: Vec::new(), ..Options::default() };
                let generator = Generator { net, pass: &pass, registry: &registry, values: Values::default() };
                let generated = generator.run(&rows(1, PROMPT)?, &options, &mut |_, _| {})?;
                Ok(generated.rows[0].len())
            }
            Self::Patch => {
                observe(net, &Input::Tokens(rows(1, PROMPT)?), &pass, &registry)?;
                Ok(PROMPT)
            }
            Self::Sweep => Ok(sweep(net, &prompt(0), &prompt(1), &patches(net)?, TOKENS)?.len()),
            _ => {
                observe(net, &Input::Tokens(rows(BATCH.0, BATCH.1)?), &pass, &registry)?;
                Ok(BATCH.0 * BATCH.1)
            }
        }
    }

    fn pass(self) -> Result<Pass> {
        let pass = Pass::default();
        Ok(match self {
            Self::Forward | Self::Sweep => pass,
            Self::Statistics => {
                let moments = serde_json::from_value(json!({ "kind": "moments" })).map_err(|e| defect(&e))?;
                let records = vec![Record::reduced("blocks.*.mlp.hook_pre".parse()?, moments)];
                Pass { records, output: Output::Unread, ..pass }
            }
            Self::Record => {
                let records = RECORDED.iter().map(|site| Ok(Record::whole(site.parse()?))).collect::<Result<_>>()?;
                Pass { records, ..pass }
            }
            Self::Decode => Pass { edits: vec![edit("blocks.*.mlp.hook_post[neuron=3]")?], ..pass },
            Self::Patch => Pass { edits: vec![edit("blocks.10.hook_resid_pre@7")?], ..pass },
        })
    }
}

fn edit(site: &str) -> Result<Edit> {
    serde_json::from_value(json!({ "site": site, "op": "scale", "factor": 0.5 })).map_err(|e| defect(&e))
}

fn defect(e: &dyn std::fmt::Display) -> Error {
    Error::invalid(e.to_string(), "mend the bench")
}

fn rows(rows: usize, pos: usize) -> Result<Tokens> {
    let ids: Vec<Vec<u32>> = (0..rows).map(|r| (0..pos).map(|p| token(r, p)).collect()).collect();
    Tokens::from_rows(&ids, Side::Right, 0)
}
