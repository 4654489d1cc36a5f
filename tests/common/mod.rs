//! The golden networks, and what tests of networks share.

pub mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use optrode::hook::{Edit, Pass, Plan, Record, Records, Registry, Run, Tap, Values, random};
use optrode::models::{Decoder, Input, Job, Network, Outcome, Side, State, Tokens, execute};
use serde_json::{Map, Value, json};

/// Two computations of one tensor agree to this part of its largest magnitude.
pub const AGREE: f32 = 1e-5;

pub fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

pub fn config(folder: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

pub fn weights(folder: &Path) -> BTreeMap<String, Tensor> {
    let file = folder.join("model.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu).unwrap().into_iter().collect()
}

pub fn load(folder: &Path) -> Decoder {
    Decoder::new(&config(folder), &weights(folder)).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
}

/// Every golden network with its name.
pub fn goldens() -> impl Iterator<Item = (String, Decoder)> {
    let named = |folder: &PathBuf| folder.file_name().unwrap().to_string_lossy().into_owned();
    folders().into_iter().map(move |folder| (named(&folder), load(&folder)))
}

/// True where the rotary frequencies depend on the length of the text.
pub fn stretches(net: &Decoder) -> bool {
    net.facts().ropes.iter().any(|r| r.scaling.depends_on_length())
}

pub fn rows(ids: &Tensor) -> Vec<Vec<u32>> {
    ids.to_dtype(DType::U32).unwrap().to_vec2::<u32>().unwrap()
}

pub fn floats(x: &Tensor) -> Vec<f32> {
    let x = x.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
    x.to_vec1().unwrap()
}

pub fn bits(x: &Tensor) -> Vec<u32> {
    floats(x).into_iter().map(f32::to_bits).collect()
}

/// Largest difference over the largest finite magnitude of `expected`; infinities and NaN must match.
pub fn relative(got: &Tensor, expected: &Tensor) -> f32 {
    if got.dims() != expected.dims() {
        return f32::INFINITY;
    }
    let (got, expected) = (floats(got), floats(expected));
    let finite = expected.iter().filter(|x| x.is_finite());
    let scale = finite.fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let error = |(a, b): (&f32, &f32)| match (a - b).abs() / scale {
        _ if a == b => 0.0,
        e if e.is_nan() => f32::INFINITY,
        e => e,
    };
    got.iter().zip(&expected).map(error).fold(0.0, f32::max)
}

#[track_caller]
pub fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    let error = relative(got, expected);
    let shapes = format!("{:?} {:?}", got.dims(), expected.dims());
    assert!(error <= tolerance, "{what}: {error:.1e} relative, shapes {shapes}");
}

/// Repeatable normal numbers.
pub fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let draw = |i| random::normal(random::key(seed, &[i])) as f32;
    let values: Vec<f32> = (0..count as u64).map(draw).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn text(seed: u64, length: usize) -> Vec<u32> {
    let draw = |i| 3 + (random::key(seed, &[i]) % 58) as u32;
    (0..length as u64).map(draw).collect()
}

pub fn batch(rows: &[Vec<u32>], side: Side) -> Tokens {
    Tokens::from_rows(rows, side, 60).unwrap()
}

pub fn edit(site: impl AsRef<str>, op: Value) -> Edit {
    let mut object = op.as_object().unwrap().clone();
    object.insert("site".into(), site.as_ref().into());
    serde_json::from_value(Value::Object(object)).unwrap()
}

pub fn pass(records: &[&str], edits: &[Edit]) -> Pass {
    Pass {
        records: records.iter().map(|s| Record::whole(s.parse().unwrap())).collect(),
        edits: edits.to_vec(),
        ..Pass::default()
    }
}

/// What a pass gave.
pub struct Seen {
    pub logits: Tensor,
    pub records: Records,
}

impl Seen {
    #[track_caller]
    pub fn at(&self, site: &str) -> &Tensor {
        self.records.get(site).unwrap()
    }

    /// The recorded site of a block.
    #[track_caller]
    pub fn block(&self, layer: usize, part: &str) -> &Tensor {
        self.at(&format!("blocks.{layer}.{part}"))
    }
}

pub fn values(stored: &BTreeMap<String, Tensor>) -> Values {
    let mut values = Values::default();
    values.stored = stored.clone();
    values
}

pub fn plan(net: &Decoder, pass: &Pass, stored: &BTreeMap<String, Tensor>) -> Plan {
    Plan::compile(net.sites(), pass, &Registry::elementary(), values(stored), &[]).unwrap()
}

/// One uncached call.
pub fn see(net: &Decoder, tokens: &Tokens, pass: &Pass) -> Seen {
    see_with(net, tokens, plan(net, pass, &BTreeMap::new()))
}

pub fn see_with(net: &Decoder, tokens: &Tokens, mut plan: Plan) -> Seen {
    let input = Input::Tokens(tokens.clone());
    let logits = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan)).unwrap();
    let records = plan.records(net.sites()).unwrap();
    Seen { logits, records }
}

/// Every site of one call, edited.
pub fn see_all(net: &Decoder, tokens: &Tokens, edits: &[Edit]) -> Seen {
    see(net, tokens, &pass(&["**"], edits))
}

/// A job of several passes, each with its input.
pub fn job(net: &Decoder, passes: Value, inputs: &[Tokens]) -> optrode::Result<Outcome> {
    let run: Run = serde_json::from_value(json!({ "passes": passes })).unwrap();
    let inputs: Vec<Input> = inputs.iter().cloned().map(Input::Tokens).collect();
    let registry = Registry::elementary();
    let job = Job { run: &run, inputs: &inputs, stored: BTreeMap::new(), registry: &registry };
    execute(net, job)
}
