//! `optrode record`: run texts and save activations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{D, DType, Tensor};
use serde_json::json;

use super::common::{EditArgs, ModelArgs, print_json};
use crate::analysis::registry;
use crate::data::{read_id_rows, read_mask, read_texts};
use crate::hook::{Pass, Plan, Record, Records, Selector, Tap};
use crate::models::{Input, Model, Network, Side, State, Tokens};
use crate::store::{Source, write_npz, write_safetensors};
use crate::{Error, Result};

/// Arguments of `optrode record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode record ./stories260K --text 'Once upon a time' --sites 'blocks.*.mlp.hook_post' --out acts.safetensors
  optrode record ./stories260K --file prompts.jsonl:question --sites 'blocks.2.attn.hook_pattern' --out acts.npz
  optrode record ./stories260K --token-ids ids.json --sites logits --edit edit.json --out acts.safetensors

The file holds one f32 tensor per full site name (NAME@raw for values before the edits), `logits`, `input_ids` and
`attention_mask`, batch first. The metadata of a safetensors file says what it holds: axes, selectors, edits, seed and
the model's sha256. Texts are right-padded; masked scores are -inf. With positions in the selector, rows that lack some
of them end in NaN. The file can serve as the `tensors.safetensors` of an edit bundle: its mask goes with it. `.npz` has no metadata.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// 0 for padding: a list of lists as long as those of --token-ids.
    #[arg(long, value_name = "MASK.json")]
    attention_mask: Option<PathBuf>,
    /// What to record (see `optrode sites`); may be repeated.
    #[arg(long, value_name = "SELECTOR", num_args = 1.., required = true)]
    sites: Vec<Selector>,
    #[command(flatten)]
    edits: EditArgs,
    /// Do not keep keys and values: the same numbers, with less memory.
    #[arg(long)]
    no_cache: bool,
    /// Where to write: `.safetensors` or `.npz`.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Seed of stochastic edits.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON: what was written, with shapes.
    #[arg(long)]
    json: bool,
}

/// Exactly one source of tokens.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SourceArgs {
    /// A text (may be repeated).
    #[arg(long = "text")]
    texts: Vec<String>,
    /// Texts from `F.txt` (one) or `F.jsonl[:field]` (one per line).
    #[arg(long)]
    file: Option<String>,
    /// Token ids: a JSON list of equally long lists.
    #[arg(long, value_name = "IDS.json")]
    token_ids: Option<PathBuf>,
}

impl Args {
    fn tokens(&self, model: &Model) -> Result<Tokens> {
        if self.attention_mask.is_some() && self.source.token_ids.is_none() {
            return Err(Error::invalid(
                "--attention-mask is given without --token-ids",
                "texts are padded here; give a mask only for token ids of your own",
            ));
        }
        let mut tokens = match (&self.source.token_ids, &self.source.file) {
            (Some(path), _) => {
                let rows = read_id_rows(path)?;
                match &self.attention_mask {
                    Some(mask) => Tokens::from_mask(&rows, &read_mask(mask)?)?,
                    None => Tokens::from_rows(&rows, Side::Right, 0)?,
                }
            }
            (None, file) => {
                let texts = match file {
                    Some(spec) => read_texts(spec)?,
                    None => self.source.texts.clone(),
                };
                if let Some(empty) = texts.iter().position(String::is_empty) {
                    return Err(Error::invalid(
                        format!("text {empty} (counted from 0) is empty"),
                        "leave it out: there is no token to record at",
                    ));
                }
                let rows = texts.iter().map(|t| model.encode(t)).collect::<Result<Vec<_>>>()?;
                Tokens::from_rows(&rows, Side::Right, model.pad())?
            }
        };
        tokens.special = model.special();
        Ok(tokens)
    }

    /// The pass: what was asked for, and the logits.
    fn pass(&self, model: &Model, edits: Vec<crate::hook::Edit>) -> Result<Pass> {
        let table = model.decoder.sites();
        let logits = table.id("logits")?;
        let mut records: Vec<Record> = self.sites.iter().cloned().map(Record::whole).collect();
        let mut has_logits = false;
        for selector in self.sites.iter().filter(|s| !s.raw()) {
            has_logits |= selector.resolve(table)?.ids().any(|id| id == logits);
        }
        if !has_logits {
            records.push(Record::whole("logits".parse()?));
        }
        Ok(Pass { records, edits, seed: self.seed, ..Pass::default() })
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let write = writer(&args.out)?;
    let model = args.model.open()?;
    spare_the_model(&args.out, &model)?;
    let (edits, values) = args.edits.read(&model)?;
    let tokens = args.tokens(&model)?;
    let pass = args.pass(&model, edits)?;
    let net = &model.decoder;
    let mut plan = Plan::compile(net.sites(), &pass, &registry(), values, &[])?;
    let mut state = if args.no_cache { State::none() } else { State::cached() };
    net.forward(&Input::Tokens(tokens.clone()), &mut state, &mut Tap::new(&mut plan))?;
    if let Some(idle) = plan.idle().first() {
        return Err(Error::invalid(
            format!("the edit at `{idle}` acted nowhere in these texts"),
            "its positions, rows or phase never come; nothing is generated here",
        )
        .into());
    }
    let records = plan.records(net.sites())?;
    check_logits(&records, &tokens)?;
    let tensors = named(&records, &tokens)?;
    write(&args.out, &tensors, &metadata(args, &pass, &records, &model)?)?;
    let shapes: BTreeMap<&str, &[usize]> = tensors.iter().map(|(n, t)| (n.as_str(), t.dims())).collect();
    if args.json {
        print_json(&json!({ "out": args.out, "model": args.model.model, "tensors": shapes }))?;
    } else {
        println!("{}: {} tensors, {} rows of {} tokens", args.out.display(), tensors.len(), tokens.rows, tokens.pos);
    }
    Ok(ExitCode::SUCCESS)
}

type Write = fn(&Path, &[(String, Tensor)], &BTreeMap<String, String>) -> Result<()>;

/// The writer that the file's extension asks for; settled, with its folder, before any work is done.
fn writer(out: &Path) -> Result<Write> {
    let folder = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::file(out, "its folder does not exist", "make the folder, or write elsewhere"));
    }
    if out.is_dir() {
        return Err(Error::file(out, "this is a folder, expected a file to write", "name a file in it"));
    }
    match out.extension().and_then(|e| e.to_str()) {
        Some("safetensors") => Ok(|out, tensors, metadata| {
            let sources = tensors.iter().map(|(n, t)| (n.clone(), Source::Tensor(t.clone())));
            write_safetensors(out, &sources.collect::<Vec<_>>(), metadata)
        }),
        Some("npz") => Ok(|out, tensors, _| write_npz(out, tensors)),
        _ => Err(Error::file(out, "the extension is neither .safetensors nor .npz", "name the file accordingly")),
    }
}

/// Recording must not overwrite what it reads.
fn spare_the_model(out: &Path, model: &Model) -> Result<()> {
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let same = folder.canonicalize().ok().zip(model.folder.path().canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same {
        return Err(Error::file(out, "this is the model's own folder", "write the activations elsewhere"));
    }
    Ok(())
}

/// Refuses logits that are not numbers: what is recorded beside them is worth nothing.
fn check_logits(records: &Records, tokens: &Tokens) -> Result<()> {
    let logits = records.get("logits")?;
    if logits.dims()[..2] != [tokens.rows, tokens.pos] {
        return Ok(());
    }
    let largest = logits.abs()?.max(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?; // [rows * pos]
    let sums = logits.sum(D::Minus1)?.flatten_all()?.to_vec1::<f32>()?; // a maximum may pass over NaN
    let bad = |i: &usize| tokens.real[*i] && (!largest[*i].is_finite() || sums[*i].is_nan());
    match (0..tokens.real.len()).find(bad) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!("the logits of row {}, column {} are not finite", at / tokens.pos, at % tokens.pos),
            "an edit or the weights blow up: run `doctor`, or weaken the edit",
        )),
    }
}

/// What the file holds and how it came about.
fn metadata(args: &Args, pass: &Pass, records: &Records, model: &Model) -> Result<BTreeMap<String, String>> {
    let axes: BTreeMap<&String, Vec<&str>> =
        records.tensors.iter().map(|(n, r)| (n, r.axes.iter().map(|a| a.name()).collect())).collect();
    Ok(BTreeMap::from([
        ("axes".to_string(), json!(axes).to_string()),
        ("sites".to_string(), json!(args.sites).to_string()),
        ("edits".to_string(), json!(pass.edits).to_string()),
        ("seed".to_string(), args.seed.to_string()),
        ("model".to_string(), args.model.model.clone()),
        ("model_sha256".to_string(), model.folder.identity()?.sha256),
        ("optrode".to_string(), env!("CARGO_PKG_VERSION").to_string()),
    ]))
}

/// The records with the tokens that they belong to.
fn named(records: &Records, tokens: &Tokens) -> Result<Vec<(String, Tensor)>> {
    let device = candle_core::Device::Cpu;
    let shape = (tokens.rows, tokens.pos);
    let ids: Vec<i64> = tokens.ids.iter().map(|id| i64::from(*id)).collect();
    let mask: Vec<i64> = tokens.real.iter().map(|real| i64::from(*real)).collect();
    let mut all = Vec::with_capacity(records.tensors.len() + 2);
    for (name, recorded) in &records.tensors {
        all.push((name.clone(), recorded.tensor.to_device(&device)?.to_dtype(DType::F32)?.contiguous()?));
    }
    all.push(("input_ids".to_string(), Tensor::from_vec(ids, shape, &device)?));
    all.push(("attention_mask".to_string(), Tensor::from_vec(mask, shape, &device)?));
    Ok(all)
}
