//! `optrode unlearn`: remove a skill or a language, and what that costs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::common::{ModelArgs, print_json};
use super::one_line;
use crate::analysis::unlearn::{
    Fitted, Group, Method, Options, Question, Sizes, Unlearned, Unlearning, Variant, unlearn,
};
use crate::data::organism::{Skill, embedded};
use crate::data::{Docs, read_text_sets, read_texts};
use crate::models::{Model, OpenOptions};
use crate::report::figures::name_part;
use crate::report::html::{self, Page, Section};
use crate::report::{Block, Cell, Figure, Progress, Report, json, terminal};
use crate::store::{Bundle, EditFile, FileSet, HubOptions, bundle};
use crate::{Error, Result};

/// What the folder of a report holds.
const NAMES: &[&str] = &["report.html", "report.json"];

/// The word for everything that the organism can do.
const ORGANISM: &str = "organism";

/// Arguments of `optrode unlearn`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode unlearn ./stories260K --forget a.jsonl:story --retain b.jsonl:story --method na --percent 3 --out unlearned

  optrode unlearn ./stories260K --forget a.jsonl:story --retain b.jsonl:story --method ksd --out hidden --save bundles
  optrode generate ./stories260K --prompt 'Once' --edit bundles/a-ksd

A group is FILE.jsonl:FIELD (one text a row), a FILE.jsonl of rows with `prompt` and `answer`, or, of the organism, a skill
(addition) or a language (en). Half of a group is fitted to, a quarter chooses the setting, a quarter is reported.
--groups DIR forgets every file of texts in turn; --groups organism every skill and language of the organism.
Writes report.html and report.json.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What to forget.
    #[arg(long, value_name = "GROUP", required_unless_present = "groups", conflicts_with = "groups")]
    forget: Option<String>,
    /// What to keep (may be repeated).
    #[arg(long, value_name = "GROUP", required_unless_present = "groups", conflicts_with = "groups")]
    retain: Vec<String>,
    /// What is measured, but neither forgotten nor fitted to (may be repeated).
    #[arg(long, value_name = "GROUP")]
    general: Vec<String>,
    /// Forget each group of a folder in turn.
    #[arg(long, value_name = "DIR|organism")]
    groups: Option<String>,
    /// Compare these methods only (may be repeated).
    #[arg(long = "method", value_enum)]
    methods: Vec<MethodName>,
    /// Whose Neuron Adjust: the paper's, or that of the code released with it.
    #[arg(long, value_enum, default_value_t = VariantName::Paper)]
    variant: VariantName,
    /// Percentages of neurons to try.
    #[arg(long, value_delimiter = ',', value_name = "P,..", default_values_t = [0.5, 1.5, 3.0, 10.0])]
    percent: Vec<f64>,
    /// Settings of alpha to try; all that make a difference unless given.
    #[arg(long, value_delimiter = ',', value_name = "A,..")]
    alpha: Vec<f64>,
    /// Layers whose keys are looked at; up to eight of all, and the last one, unless given.
    #[arg(long = "key-layer", value_delimiter = ',', value_name = "L,..")]
    key_layers: Vec<usize>,
    /// Updates of a fine-tuning on what was forgotten, edits in force; 0 for none.
    #[arg(long, value_name = "UPDATES", default_value_t = 0)]
    relearn: u64,
    /// Largest relative drop of what is kept, for a setting to count as harmless.
    #[arg(long, default_value_t = 0.1)]
    tolerance: f64,
    /// Most items of a group to fit to.
    #[arg(long, default_value_t = 200)]
    fit: usize,
    /// Most items of a group to report on; half as many choose.
    #[arg(long, default_value_t = 100)]
    items: usize,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the report; replaced as a whole.
    #[arg(long, value_name = "DIR", default_value = "optrode-unlearning")]
    out: PathBuf,
    /// Save the chosen edits of every method as bundles in this folder, for `generate`, `audit`, `scan` and `edit`.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The methods that have controls of their own.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodName {
    /// Key Space Detection in the layer that serves best.
    Ksd,
    /// Key Space Detection in the last layer, where the paper has it.
    KsdLast,
    /// Neuron Adjust.
    Na,
    /// Selective pruning.
    Sp,
    /// Zero ablation of Neuron Adjust's neurons.
    Zero,
    /// Mean ablation of Neuron Adjust's neurons.
    Mean,
    /// Directional ablation.
    Directional,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VariantName {
    /// The paper's.
    Paper,
    /// That of the code released with it.
    Released,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Ksd => Self::Ksd,
            MethodName::KsdLast => Self::KsdLast,
            MethodName::Na => Self::Na,
            MethodName::Sp => Self::Sp,
            MethodName::Zero => Self::Zero,
            MethodName::Mean => Self::Mean,
            MethodName::Directional => Self::Directional,
        }
    }
}

impl Args {
    fn options(&self) -> Result<Options> {
        let defaults = Options::default();
        if !(0.0..1.0).contains(&self.tolerance) || self.alpha.iter().any(|a| !a.is_finite() || *a < 0.0) {
            return Err(Error::invalid(
                format!("a tolerance of {} with alphas {:?}", self.tolerance, self.alpha),
                "a tolerance is at least 0 and below 1, an alpha at least 0",
            ));
        }
        Ok(Options {
            methods: match self.methods.is_empty() {
                true => defaults.methods.clone(),
                false => self.methods.iter().map(|m| Method::from(*m)).collect(),
            },
            percents: self.percent.clone(),
            alphas: self.alpha.clone(),
            key_layers: self.key_layers.clone(),
            relearn: self.relearn,
            variant: match self.variant {
                VariantName::Paper => Variant::Paper,
                VariantName::Released => Variant::Released,
            },
            tolerance: self.tolerance,
            seed: self.seed,
            ..defaults
        })
    }

    /// The groups, and which of them are forgotten in turn.
    fn groups(&self) -> Result<(Vec<Group>, Vec<usize>)> {
        let sizes = Sizes { fit: self.fit, validation: self.items.div_ceil(2), test: self.items };
        let group = |spec: &String| group(spec, sizes, self.seed);
        let mut groups = match &self.groups {
            Some(word) if word == ORGANISM => {
                let names = Skill::ALL.into_iter().map(Skill::name).map(str::to_string);
                let languages = embedded::texts().into_iter().map(|t| t.name);
                names.chain(languages).map(|name| group(&name)).collect::<Result<Vec<_>>>()?
            }
            Some(folder) => {
                let sets = read_text_sets(folder, &HubOptions::from_env())?;
                sets.into_iter().map(|s| Group::texts(&s.name, s.texts, sizes, self.seed)).collect::<Result<_>>()?
            }
            None => self.forget.iter().chain(&self.retain).map(group).collect::<Result<Vec<_>>>()?,
        };
        let forget = if self.groups.is_some() { (0..groups.len()).collect() } else { vec![0] };
        for spec in &self.general {
            groups.push(group(spec)?.general());
        }
        for i in 1..groups.len() {
            if groups[..i].iter().any(|g| g.name == groups[i].name) {
                return Err(Error::invalid(
                    format!("two groups are named `{}`", groups[i].name),
                    "give files of different names",
                ));
            }
        }
        Ok((groups, forget))
    }
}

/// A group by its word: a skill or language of the organism, or a file.
fn group(spec: &str, sizes: Sizes, seed: u64) -> Result<Group> {
    if let Some(skill) = Skill::ALL.into_iter().find(|s| s.name() == spec) {
        return Group::skill(skill, sizes, seed);
    }
    if let Some(set) = embedded::texts().into_iter().find(|t| t.name == spec) {
        return Group::texts(spec, set.texts, sizes, seed);
    }
    let path = Path::new(spec);
    let stem = |path: &Path| path.file_stem().map_or_else(|| spec.to_string(), |s| s.to_string_lossy().into_owned());
    if path.is_file()
        && let Some(questions) = questions(path)?
    {
        return Group::questions(&stem(path), questions, sizes, seed);
    }
    let texts = read_texts(spec)?;
    Group::texts(&stem(crate::data::text_file(spec)), texts, sizes, seed)
}

/// The rows of a JSONL file if the first has a prompt and an answer.
fn questions(path: &Path) -> Result<Option<Vec<Question>>> {
    if path.extension().is_none_or(|e| e != "jsonl") {
        return Ok(None);
    }
    let columns = ["prompt", "answer", "paraphrase"].map(str::to_string);
    let mut out = Vec::new();
    for row in Docs::open(path, &columns)? {
        let (_, doc) = row?;
        let field = |name: &str| doc.get(name).and_then(|v| v.as_str()).map(str::to_string);
        match (field("prompt"), field("answer")) {
            (Some(prompt), Some(answer)) => out.push(Question { prompt, answer, paraphrase: field("paraphrase") }),
            _ => return Ok(None),
        }
    }
    Ok(Some(out))
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = args.options()?;
    let (groups, forget) = args.groups()?;
    let set = FileSet::prepare(&args.out, NAMES)?;
    let model = open(args)?;
    model.tokenizer()?;
    let progress = Progress::stderr();
    progress.task("unlearning");
    let mut last = 0;
    let done = unlearn(&model, &groups, &forget, &options, &mut |now, all| {
        if last == 0 {
            progress.begin(all as u64);
        }
        progress.advance(now.saturating_sub(last) as u64);
        last = now;
    });
    progress.finish();
    let Unlearned { result, edits } = done?;
    for warning in &result.warnings {
        eprintln!("warning: {}", one_line(warning));
    }
    let page = page(&model, args, &result)?;
    let value = json::whole(&result)?;
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    let written = set.write(&[("report.html", page.into_bytes()), ("report.json", bytes)]);
    // The numbers are shown even where they could not be written.
    if args.json {
        print_json(&value)?;
    } else {
        let mut blocks = result.blocks();
        if written.is_ok() {
            blocks.push(Block::text(format!("Report: {}", args.out.join("report.html").display())));
        }
        write!(io::stdout().lock(), "{}", terminal::render(&blocks, &terminal::Style::stdout()))?;
    }
    written?;
    if let Some(folder) = &args.save {
        save(&model, folder, &result, edits)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One bundle per forgotten group and method, controls left out: `FOLDER/GROUP-METHOD`.
fn save(model: &Model, folder: &Path, result: &Unlearning, edits: Vec<Vec<Fitted>>) -> Result<()> {
    let identity = model.folder.identity()?.sha256;
    for (forgotten, fits) in result.forgotten.iter().zip(edits) {
        for (chosen, fitted) in forgotten.chosen.iter().zip(fits) {
            let method = chosen.setting.method;
            if Method::ALL.into_iter().any(|m| m.control() == Some(method)) {
                continue;
            }
            let note = format!(
                "forgets {}: {} at {} {:.4}; `optrode unlearn` measured a drop of {:.3}, and of {:.3} at worst elsewhere",
                forgotten.group,
                method.word(),
                method.knob(),
                chosen.setting.knob,
                1.0 - chosen.kept[result.index(forgotten)].value,
                chosen.worst(result.index(forgotten)),
            );
            let file = EditFile {
                version: bundle::VERSION,
                edits: fitted.edits,
                model: Some(identity.clone()),
                note: Some(note),
            };
            let path = folder.join(format!("{}-{}", name_part(&forgotten.group), method.word()));
            Bundle { path: path.clone(), file, tensors: fitted.tensors }.write(&path)?;
        }
    }
    Ok(())
}

fn open(args: &Args) -> Result<Model> {
    let options: OpenOptions = args.model.options()?;
    match args.model.model == ORGANISM {
        true => Model::open(&embedded::folder()?.display().to_string(), &options),
        false => Model::open(&args.model.model, &options),
    }
}

fn page(model: &Model, args: &Args, result: &crate::analysis::unlearn::Unlearning) -> Result<String> {
    let fact = |name: &str, value: String| Figure::new(name, Cell::text(value));
    let facts = vec![
        fact("model", model.folder.name()),
        fact("sha256 of the model", model.folder.identity()?.sha256),
        Figure::new("seed", Cell::count(args.seed)),
        fact("optrode", env!("CARGO_PKG_VERSION").to_string()),
    ];
    html::page(&Page {
        title: "Unlearning".to_string(),
        subtitle: "what each method forgets, and what that costs".to_string(),
        facts,
        sections: Section::of_blocks(result.blocks()),
    })
}
