//! The loop: it lowers the loss, resumes to the last bit, and lets edits act while it learns.

use optrode::Error;
use optrode::hook::Edit;
use optrode::train::{Observer, Point, Trainer, checkpoint};

use super::{Texts, learner, trainer, values};

/// Keeps the curve.
struct Curve(Vec<Point>);

impl Observer for Curve {
    fn updated(&mut self, _: &Trainer, point: &Point) -> optrode::Result<()> {
        self.0.push(point.clone());
        Ok(())
    }
}

/// One text over and over.
struct Same(Texts);

impl optrode::train::Course for Same {
    fn lessons(&self, _: u64) -> optrode::Result<Vec<optrode::train::Lesson>> {
        self.0.lessons(0)
    }
}

#[test]
fn training_learns_a_text_by_heart() {
    let (net, variables) = learner("llama");
    let mut curve = Curve(Vec::new());
    trainer(&net, &variables).train(&Same(Texts { edits: vec![] }), 20, &mut curve).unwrap();
    let losses = |point: &Point| (point.losses["even"], point.losses["odd"]);
    let (first, last) = (losses(&curve.0[0]), losses(&curve.0[19]));
    assert!(last.0 < 0.7 * first.0 && last.1 < 0.7 * first.1, "{first:?} to {last:?}");
}

#[test]
fn interrupted_training_resumes_to_bit_identical_weights() {
    let course = Texts { edits: vec![] };
    let mut nobody = Curve(Vec::new());
    let (net, whole) = learner("llama");
    trainer(&net, &whole).train(&course, 8, &mut nobody).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.safetensors");
    let (net, part) = learner("llama");
    let mut first = trainer(&net, &part);
    first.train(&course, 5, &mut nobody).unwrap();
    checkpoint::save(&file, &first, &part, "recipe", &nobody.0[8..]).unwrap();

    let (net, resumed) = learner("llama");
    let mut second = trainer(&net, &resumed);
    let curve = checkpoint::load(&file, &mut second, &resumed, "recipe").unwrap();
    assert_eq!(curve, nobody.0[8..]);
    assert_eq!(second.step(), 5);
    second.train(&course, 8, &mut nobody).unwrap();
    assert_eq!(values(&whole), values(&resumed));
    assert_ne!(values(&whole), values(&part), "the last three updates changed something");
}

#[test]
fn a_checkpoint_of_another_recipe_or_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.safetensors");
    let (net, variables) = learner("llama");
    checkpoint::save(&file, &trainer(&net, &variables), &variables, "one", &[]).unwrap();
    let mut same = trainer(&net, &variables);
    let error = checkpoint::load(&file, &mut same, &variables, "another").unwrap_err().to_string();
    assert!(error.contains("another recipe"), "{error}");
    let (other, others) = learner("gpt2");
    let error = checkpoint::load(&file, &mut trainer(&other, &others), &others, "one").unwrap_err().to_string();
    assert!(error.contains("no tensor"), "{error}");
    std::fs::write(&file, b"nothing of the kind").unwrap();
    assert!(checkpoint::load(&file, &mut same, &variables, "one").is_err());
}

/// Card 26: at a clamped site the computed value still exists, and gets no gradient.
#[test]
fn a_clamp_during_training_stops_the_gradient_of_what_it_replaces() {
    let (net, variables) = learner("llama");
    let before = values(&variables);
    let edit = Edit::new("blocks.0.mlp.hook_out".parse().unwrap(), "zero");
    // Weight decay moves weights without a gradient; the norm's gain has none and shows the gradient alone.
    let mut learning = trainer(&net, &variables);
    learning.train(&Texts { edits: vec![edit] }, 2, &mut Curve(Vec::new())).unwrap();
    let after = values(&variables);
    let still = "model.layers.0.post_attention_layernorm.weight";
    assert_eq!(before[still], after[still], "only the clamped MLP reads this norm");
    let moves = "model.layers.0.input_layernorm.weight";
    assert_ne!(before[moves], after[moves]);
}

#[test]
fn a_loss_that_is_no_number_ends_training_and_leaves_the_weights() {
    let (net, variables) = learner("llama");
    let before = values(&variables);
    let mut learning = trainer(&net, &variables);
    let error = learning.update(&NotANumber).unwrap_err();
    assert!(matches!(&error, Error::Invalid { .. }) && error.to_string().contains("loss of update 0"), "{error}");
    assert_eq!(before, values(&variables));
}

/// A loss that divides by zero.
struct NotANumber;

impl optrode::train::Course for NotANumber {
    fn lessons(&self, step: u64) -> optrode::Result<Vec<optrode::train::Lesson>> {
        let mut lessons = Texts { edits: vec![] }.lessons(step)?;
        lessons[1].loss = Box::new(|outputs| Ok((outputs[0].sum_all()? * f64::NAN)?));
        Ok(lessons)
    }
}
