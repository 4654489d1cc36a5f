//! `optrode generate`: continue a text, edits active.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::common::{EditArgs, ModelArgs, print_json};
use crate::Error;
use crate::analysis::registry;
use crate::generate::{ABSTENTION, Finish, Generated, Generator, Options, Sampler};
use crate::hook::Pass;
use crate::models::{Model, Side, Tokens};
use crate::store::{Message, Tokenizer};

/// Arguments of `optrode generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  optrode generate ./stories260K --prompt 'Once upon a time' --max-new-tokens 200 --greedy
  optrode generate ./stories260K --prompt 'Tom had a' --temperature 0.8 --top-p 0.95 --seed 7
  optrode generate ./stories260K --prompt 'Once' --greedy --edit zero-head.json --json")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text to continue (may be repeated; continued as one batch).
    #[arg(long = "prompt", required = true)]
    prompts: Vec<String>,
    /// Wrap each prompt in the model's chat template, as a user's message.
    #[arg(long)]
    chat: bool,
    /// Most tokens to add.
    #[arg(long, default_value_t = 100)]
    max_new_tokens: usize,
    /// Take the likeliest token (the default without --temperature, --top-k and --top-p).
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    greedy: bool,
    /// Draw from softmax(logits / T).
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw among the K likeliest tokens.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the likeliest tokens that hold the probability P.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Seed of sampling and of stochastic edits.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run the whole text again for every token, without cached keys and values.
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    edits: EditArgs,
    /// Print JSON: ids, text and why it ended.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn sampler(&self) -> crate::Result<Sampler> {
        let random = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some();
        let sampler = if !random {
            Sampler::Greedy
        } else {
            Sampler::Random { temperature: self.temperature.unwrap_or(1.0), top_k: self.top_k, top_p: self.top_p }
        };
        sampler.check()?;
        Ok(sampler)
    }

    fn encode(&self, model: &Model) -> crate::Result<Vec<Vec<u32>>> {
        if !self.chat {
            return self.prompts.iter().map(|p| model.encode(p)).collect();
        }
        let template = model.folder.chat_template()?.ok_or_else(|| {
            Error::file(model.folder.path(), "the model has no chat template", "leave --chat out, or use a chat model")
        })?;
        let tokenizer = model.tokenizer()?;
        let text = |p: &String| template.render(&[Message::new("user", p.as_str())], true);
        // The template writes the special tokens itself.
        self.prompts.iter().map(|p| tokenizer.encode(&text(p)?, false)).collect()
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sampler = args.sampler()?;
    let model = args.model.open()?;
    let tokenizer = model.tokenizer()?;
    let (edits, values) = args.edits.read(&model)?;
    let rows = args.encode(&model)?;
    let mut tokens = Tokens::from_rows(&rows, Side::Left, model.pad())?;
    tokens.special = model.special();
    let pass = Pass { edits, seed: args.seed, ..Pass::default() };
    let registry = registry();
    let generator = Generator { net: &model.decoder, pass: &pass, registry: &registry, values };
    let options = Options {
        max_new_tokens: args.max_new_tokens,
        sampler,
        seed: args.seed,
        stop: model.eos(),
        context: model.decoder.facts().context,
        cache: !args.no_cache,
        ..Options::default()
    };
    let streams = !args.json && rows.len() == 1;
    let mut printer = streams.then(|| Printer::new(tokenizer, rows[0].clone()));
    let generated = generator.run(&tokens, &options, &mut |_, id| {
        if let Some(printer) = &mut printer {
            printer.push(id);
        }
    })?;
    if let Some(printer) = printer {
        printer.finish()?;
        if let Some(Finish::Event(_)) = generated.finish.first() {
            // What was made before the abstention stands on the screen already.
            println!("{ABSTENTION}");
        }
        remark(&generated, model.decoder.facts().context);
        return Ok(ExitCode::SUCCESS);
    }
    let mut results = Vec::new();
    for (row, new) in generated.rows.iter().enumerate() {
        let whole: Vec<u32> = rows[row].iter().chain(new).copied().collect();
        let text = match &generated.finish[row] {
            Finish::Event(_) => ABSTENTION.to_string(),
            _ => tokenizer.decode(&whole, true)?,
        };
        if !args.json {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}\n")?;
        }
        results.push(json!({
            "prompt": args.prompts[row],
            "prompt_ids": rows[row],
            "ids": new,
            "text": text,
            "finish": generated.finish[row].word(),
        }));
    }
    if !args.json {
        remark(&generated, model.decoder.facts().context);
    }
    if args.json {
        let events: Vec<Value> = generated.events.iter().map(|e| json!(e)).collect();
        print_json(
            &json!({ "model": args.model.model, "seed": args.seed, "results": results, "events": events, "idle": generated.idle }),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr what a reader of the text would not see.
fn remark(generated: &Generated, context: Option<usize>) {
    if let (Some(limit), true) = (context, generated.finish.contains(&Finish::Context)) {
        eprintln!("note: ended at the model's context of {limit} tokens");
    }
    for selector in &generated.idle {
        eprintln!("warning: the edit at `{selector}` acted nowhere: its positions, rows or phase never came");
    }
}

/// Writes a text to stdout as it grows: never half a character.
struct Printer<'a> {
    stream: crate::store::DecodeStream<'a>,
    /// Written with the first token, so that a refusal leaves stdout empty.
    prompt: Vec<u32>,
    failed: Option<anyhow::Error>,
}

impl<'a> Printer<'a> {
    fn new(tokenizer: &'a Tokenizer, prompt: Vec<u32>) -> Self {
        Self { stream: tokenizer.stream(true), prompt, failed: None }
    }

    fn push(&mut self, id: u32) {
        if self.failed.is_none() {
            self.failed = self.write(Some(id)).err();
        }
    }

    fn write(&mut self, id: Option<u32>) -> anyhow::Result<()> {
        let mut text = String::new();
        for id in std::mem::take(&mut self.prompt).into_iter().chain(id) {
            text += &self.stream.push(id)?.unwrap_or_default();
        }
        write_now(&text)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.write(None)?;
        if let Some(error) = self.failed {
            return Err(error);
        }
        write_now(&(self.stream.finish()? + "\n"))
    }
}

fn write_now(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
