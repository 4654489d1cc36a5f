//! `optrode steer`: a direction between two texts, added while the model runs.

use std::process::ExitCode;

use super::common::{ModelArgs, OutputArgs};
use crate::analysis::prompts::answer;
use crate::analysis::steering::{Question, act_add, caa, steering};
use crate::data::read_texts;
use crate::{Error, Result};

/// Arguments of `optrode steer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode steer ./stories260K --layer 2 --positive 'A dog' --negative 'A cat' --prompt 'It was' --answers ' a' ' the'

By default the difference of the last tokens' streams after the layer, mean over pairs of texts (CAA; repeat --positive and
--negative), added at every position. --act-add takes one pair token by token and adds it at the first positions.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text of the kind that is wanted (may be repeated).
    #[arg(long, required = true, value_name = "TEXT")]
    positive: Vec<String>,
    /// Its counterpart of the other kind.
    #[arg(long, required = true, value_name = "TEXT")]
    negative: Vec<String>,
    /// The block.
    #[arg(long)]
    layer: usize,
    /// ActAdd: one pair of texts, token by token, before the block.
    #[arg(long)]
    act_add: bool,
    /// The prompt at whose end the answers are compared.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// The positive and the negative answer, one token each.
    #[arg(long, num_args = 2, required = true, value_name = "TOKEN")]
    answers: Vec<String>,
    /// Coefficients.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, default_values_t = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])]
    coefficients: Vec<f64>,
    /// Neutral texts whose loss shows the cost: a file, FILE.jsonl:FIELD or hub:org/name.
    #[arg(long, value_name = "FILE")]
    neutral: Option<String>,
    /// Seed of the random vector.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    let model = args.model.open()?;
    let net = &model.decoder;
    if args.positive.len() != args.negative.len() {
        let what =
            format!("{} positive and {} negative texts do not pair up", args.positive.len(), args.negative.len());
        return Err(Error::invalid(what, "give one of each for every pair").into());
    }
    let pair = |(up, down): (&String, &String)| Ok((model.encode(up)?, model.encode(down)?));
    let pairs: Vec<(Vec<u32>, Vec<u32>)> = args.positive.iter().zip(&args.negative).map(pair).collect::<Result<_>>()?;
    let vector = match (args.act_add, pairs.as_slice()) {
        (true, [(up, down)]) => act_add(net, up, down, args.layer)?,
        (true, _) => return Err(Error::invalid("--act-add takes one pair of texts", "leave the others out").into()),
        (false, _) => caa(net, &pairs, args.layer)?,
    };
    let question = Question {
        prompt: model.encode(&args.prompt)?,
        positive: answer(&model, "positive", &args.answers[0])?,
        negative: answer(&model, "negative", &args.answers[1])?,
    };
    let neutral = args.neutral.as_ref().map_or(Ok(Vec::new()), |spec| read_texts(spec))?;
    let found = steering(&model, &question, &vector, &args.coefficients, &neutral, args.seed)?;
    args.output.show("Steering", &args.model.model, args.seed, &found)?;
    Ok(ExitCode::SUCCESS)
}
