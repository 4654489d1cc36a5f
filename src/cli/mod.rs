//! The command line: raw arguments to validated jobs, jobs to printed results. No science here.
//!
//! Results go to stdout (a table for people, JSON with `--json`), progress and warnings to stderr. Exit codes: 0 done,
//! 1 an expectation failed, 2 the request was wrong.

mod ablate;
mod attribute;
mod audit;
mod audit_labels;
mod bio;
mod common;
mod doctor;
mod edit;
mod generate;
mod heads;
mod hub;
mod label;
mod label_images;
mod languages;
mod lens;
mod merge;
mod neuron;
mod patch;
mod record;
mod replay;
mod reproduce;
mod run;
mod scan;
mod serve;
mod sites;
mod steer;
mod train;
mod unlearn;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Record and steer every neuron of a language model.
#[derive(Debug, Parser)]
#[command(name = "optrode", version, about, long_about = None, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a model's sites: what can be recorded and edited.
    Sites(sites::Args),
    /// Edits as files: list, show, apply, export into weights, verify.
    Edit(edit::Args),
    /// Continue a text, with edits active if asked.
    Generate(generate::Args),
    /// Run texts and save activations to a file.
    Record(record::Args),
    /// Find previous-token, duplicate-token and induction heads; what heads copy and which ones compose.
    Heads(heads::Args),
    /// The logit lens: what each layer would predict.
    Lens(lens::Args),
    /// Attribution: which components, heads, neurons and paths an answer comes from.
    Attribute(attribute::Args),
    /// Ablate heads, by default the strongest induction heads, and see what is lost.
    Ablate(ablate::Args),
    /// Steering vectors: add the difference of two kinds of text while the model runs.
    Steer(steer::Args),
    /// Activation patching: which values carry the difference between two prompts.
    Patch(patch::Args),
    /// Prove a checkpoint on this machine: a table of invariants with their largest errors.
    Doctor(doctor::Args),
    /// Scan a corpus: statistics and examples of every unit, as an atlas.
    Scan(scan::Args),
    /// Put the shards of a scan together.
    Merge(merge::Args),
    /// Show one neuron, head or direction: its values, examples and weights.
    Neuron(neuron::Args),
    /// Label the units of an atlas; every label has a held-out score.
    Label(label::Args),
    /// Find units whose labels or examples hold a term of a list.
    AuditLabels(audit_labels::Args),
    /// Label the channels of a convolutional network on images.
    LabelImages(label_images::Args),
    /// Language neurons: which fire for one language, for some, for all; and what they do.
    Languages(languages::Args),
    /// Audit a model: the whole examination in one command, with a report.
    Audit(audit::Args),
    /// Run a script of steps and expectations; exits with 1 if one fails.
    Run(run::Args),
    /// Repeat a run from its manifest and compare the numbers.
    Replay(replay::Args),
    /// Remove a skill or a language without training, and see what that costs.
    Unlearn(unlearn::Args),
    /// Bio-inspired networks: simulate them with the same records and edits.
    Bio(bio::Args),
    /// Test the claims of papers; exits with 1 if one does not hold.
    Reproduce(reproduce::Args),
    /// Train the embedded model organism anew.
    Train(train::Args),
    /// The local dashboard: a debugger for neurons in the browser.
    Serve(serve::Args),
    /// Find models on the Hub and in its cache.
    Hub(hub::Args),
}

impl Cli {
    /// Whether it trains, with a thread per processor of its own.
    pub fn trains(&self) -> bool {
        matches!(self.command, Command::Train(_) | Command::Reproduce(_))
    }
}

/// Text as one line: what others wrote into it (names, texts, system messages) may hold line breaks and worse.
pub fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control()).map(str::trim).collect();
    words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Answers a command line that does not parse: help and version as they are, everything else as one line.
pub fn refuse(refusal: &clap::Error) -> ExitCode {
    let helps = matches!(
        refusal.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if helps {
        // Only a closed stdout can fail here, and then nobody reads.
        let _ = refusal.print();
        return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
    }
    let text = refusal.to_string();
    let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let tip = rest.lines().find_map(|l| l.trim().strip_prefix("tip: "));
    let hint = tip.unwrap_or("see --help");
    eprintln!("{}; {hint}", one_line(what));
    ExitCode::from(2)
}

/// Runs a parsed command line.
///
/// # Errors
/// Whatever is wrong with the request; the program prints it and exits with 2.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("OPTRODE_LOG").unwrap_or_else(|_| "warn".into());
    // A second call in one process (tests) finds the subscriber set already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    match cli.command {
        Command::Sites(args) => sites::run(&args),
        Command::Edit(args) => edit::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Heads(args) => heads::run(&args),
        Command::Lens(args) => lens::run(&args),
        Command::Attribute(args) => attribute::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Steer(args) => steer::run(&args),
        Command::Patch(args) => patch::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Neuron(args) => neuron::run(&args),
        Command::Label(args) => label::run(&args),
        Command::AuditLabels(args) => audit_labels::run(&args),
        Command::LabelImages(args) => label_images::run(&args),
        Command::Languages(args) => languages::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Unlearn(args) => unlearn::run(&args),
        Command::Bio(args) => bio::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Hub(args) => hub::run(&args),
    }
}
