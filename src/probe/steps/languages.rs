//! Language neurons, and what languages lose without them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::texts;
use crate::Result;
use crate::analysis::languages::{Agenda, Asking, Helm, Options, Reading, Silence, Tests, Texts, study};
use crate::models::Model;
use crate::probe::step::{Context, StepKind, StepOutput, needs_tokenizer};

/// Finds the neurons of each language among the texts, one set per language.
pub struct Languages;

/// How they are found and tested.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Share of all neurons that is selected.
    share: f64,
    /// Shuffles of the languages' names for the null.
    permutations: usize,
    /// Share of the documents that is held out for tests.
    held_out: f64,
    /// Most documents of each language that are tested on.
    documents: usize,
    /// Set neurons to their mean where they are silenced, rather than to zero.
    mean: bool,
    /// Draws of each control.
    draws: usize,
    /// Steer between languages too, raising neurons to this many times their mean; 0 for not.
    steer: f64,
    /// Longest piece of text that the network reads at once, in tokens.
    window: usize,
}

impl Default for Params {
    fn default() -> Self {
        let (reading, options, asking) = (Reading::default(), Options::default(), Asking::default());
        Self {
            share: options.share,
            permutations: options.permutations,
            held_out: reading.held_out,
            documents: Agenda::default().tests,
            mean: false,
            draws: asking.draws,
            steer: 0.0,
            window: reading.window,
        }
    }
}

impl StepKind for Languages {
    const NAME: &'static str = "languages";
    const SUMMARY: &'static str = "Language neurons by layer, and what each language loses without its own.";
    const FIGURES: &'static [(&'static str, &'static str)] = &[
        ("specific", "selected neurons that fire for one language"),
        ("related", "selected neurons that fire for several languages, but not all"),
        ("threshold", "a neuron belongs to a language where it fires at more than this share of its tokens"),
        ("lambda", "weight of the largest probability in the score"),
        ("lape.*", "`specific` and `related` by the baseline, LAPE"),
        ("null.*.*", "effect sizes against shuffled names: `specific.z`, `selectivity.z`, `selectivity.p`"),
        ("null.certain", "selected neurons that shuffled names explain in no neuron"),
        ("*.neurons", "neurons of a language, such as `en.neurons`"),
        ("deactivation.diagonal", "mean ln ratio of a language's perplexity without its own neurons"),
        ("deactivation.off_diagonal", "mean size of the same without another language's neurons"),
        ("deactivation.random.*", "the control, random neurons: `same_layers`, `same_rates`"),
        ("deactivation.everything", "mean ln ratio without any MLP neuron: what there is to lose"),
        ("*.own_loss", "ln ratio of a language without its own neurons, such as `en.own_loss`"),
        (
            "steering.*.*",
            "`free`, `steered` and `random` shares in the `wanted` language and `nats` per token; `gain.wanted`: steered less random, `gain.least`: the lower end of its interval",
        ),
        ("*.steered_into", "share of steered texts in a language when it is wanted"),
    ];
    type Params = Params;

    fn applies_to(&self, model: &Model) -> std::result::Result<(), String> {
        needs_tokenizer(model)
    }

    fn run(&self, context: &Context, params: &Params) -> Result<StepOutput> {
        let (seed, window) = (context.seed, params.window);
        let silence = if params.mean { Silence::Mean } else { Silence::Zero };
        let agenda = Agenda {
            reading: Reading { held_out: params.held_out, window, seed, ..Reading::default() },
            options: Options { share: params.share, permutations: params.permutations, seed, ..Options::default() },
            tests: params.documents,
            asking: Some(Asking { silence, draws: params.draws, window, seed }),
            helm: (params.steer != 0.0).then(|| Helm { factor: params.steer, window, seed, ..Helm::default() }),
            ..Agenda::default()
        };
        let sets = texts(context);
        let mut stage = String::new();
        let mut watch = |name: &str, _, all: usize| {
            if stage != name {
                context.progress.begin(all as u64);
                stage = name.to_string();
            }
            context.progress.advance(1);
        };
        let (study, _) = study(context.model, Texts::Sets(&sets), &Tests::default(), &agenda, &mut watch)?;
        StepOutput::of(&study)
    }
}
