//! The swimmer: mechanics of the body, the circuit, and both in closed loop.

use optrode::analysis::Figures;
use optrode::analysis::swimmer::{Kind, Plan, experiment};
use optrode::hook::random::Stream;
use optrode::models::swimmer::Weights;
use optrode::models::swimmer::body::{Body, STEP};
use optrode::models::{Input, Series, Swimmer, SwimmerConfig};
use serde_json::json;

use super::run;
use crate::common::{bits, edit, floats};

/// A posture with rates.
fn moving(links: usize, seed: u64, fast: f64) -> (Vec<f64>, Vec<f64>) {
    let mut draw = Stream::new(seed, &[]);
    let mut random = |size: f64| -> Vec<f64> { (0..links + 2).map(|_| size * (2.0 * draw.uniform() - 1.0)).collect() };
    (random(0.4), random(fast))
}

fn dry() -> Body {
    Body { drag: [0.0; 3], limit_stiffness: 0.0, limit_damping: 0.0, ..Body::default() }
}

#[test]
fn without_water_and_motors_momentum_and_energy_are_kept() {
    let body = dry();
    let drift = |h: f64| {
        let (mut q, mut qd) = moving(6, 1, 2.0);
        let (energy, momentum) = (body.energy(&q, &qd), body.momentum(&q, &qd));
        for _ in 0..(0.2 / h).round() as usize {
            let fluid = body.fluid(&q, &qd);
            body.step(&mut q, &mut qd, &[0.0; 5], &fluid, h).unwrap();
        }
        let after = body.momentum(&q, &qd);
        ((body.energy(&q, &qd) / energy - 1.0).abs(), (after.0 - momentum.0).hypot(after.1 - momentum.1))
    };
    let (coarse, fine) = (drift(1e-3), drift(1e-4));
    assert!(fine.0 < 2e-3 && fine.0 < 0.3 * coarse.0, "{coarse:?} {fine:?}");
    assert!(fine.1 < 0.3 * coarse.1 || coarse.1 < 1e-9, "{coarse:?} {fine:?}");
}

#[test]
fn water_takes_energy_and_the_mass_matrix_is_positive() {
    let body = Body { limit_stiffness: 0.0, limit_damping: 0.0, ..Body::default() };
    for seed in 0..20 {
        let (mut q, mut qd) = moving(6, seed, 1.0);
        let m = body.mass_matrix(&q);
        assert!((m.clone() - m.transpose()).norm() < 1e-15 && m.cholesky().is_some());
        // Power of the water, sum F v + torque w, is the energy's rate of change.
        let fluid = body.fluid(&q, &qd);
        let power: f64 =
            fluid.chunks(3).flat_map(|f| f.iter().zip(body.drag)).map(|(f, c)| -f.abs() * (f.abs() / c).sqrt()).sum();
        let before = body.energy(&q, &qd);
        let h = 1e-7;
        body.step(&mut q, &mut qd, &[0.0; 5], &fluid, h).unwrap();
        let rate = (body.energy(&q, &qd) - before) / h;
        assert!(power < 0.0 && (rate / power - 1.0).abs() < 1e-3, "{rate} {power}");
    }
}

#[test]
fn a_straight_body_coasts_as_its_closed_form() {
    let body = Body::default();
    let (mut q, mut qd) = (vec![0.0; 8], vec![0.0; 8]);
    qd[1] = -0.3; // along u, head first
    let start = qd.clone();
    assert!((body.forward_speed(&q, &start) - 0.3).abs() < 1e-12);
    for _ in 0..20_000 {
        let fluid = body.fluid(&q, &qd);
        body.step(&mut q, &mut qd, &[0.0; 5], &fluid, 1e-4).unwrap();
    }
    let expected = 0.3 / (1.0 + 0.06 / 0.01 * 0.3 * 2.0);
    assert!((body.forward_speed(&q, &qd) / expected - 1.0).abs() < 1e-3);
    // At equal speed water resists fifty times more across than along.
    let across = body.fluid(&q, &[0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let along = body.fluid(&[0.0; 8], &[0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!((across[0] / along[1] - 50.0).abs() < 1e-9);
}

#[test]
fn the_place_and_the_direction_of_the_world_do_not_matter() {
    let body = Body::default();
    let swim = |x: f64, turn: f64| {
        let (mut q, qd) = moving(6, 3, 0.5);
        let (mut q0, mut v) = (q.clone(), qd.clone());
        (q0[0], q0[1]) = (x, -2.0 * x);
        q0[2..].iter_mut().for_each(|phi| *phi += turn);
        (v[0], v[1]) = (qd[0] * turn.cos() - qd[1] * turn.sin(), qd[0] * turn.sin() + qd[1] * turn.cos());
        q = q0;
        for _ in 0..100 {
            let fluid = body.fluid(&q, &v);
            body.step(&mut q, &mut v, &[1e-4, -2e-4, 3e-4, 0.0, 1e-4], &fluid, STEP).unwrap();
        }
        body.forward_speed(&q, &v)
    };
    assert!((swim(0.0, 0.0) - swim(3.0, 1.1)).abs() < 1e-9);
}

fn swimmer(weights: Weights) -> Swimmer {
    Swimmer::new(SwimmerConfig { weights, ..SwimmerConfig::default() }).unwrap()
}

#[test]
fn the_inhibitory_weight_does_nothing_without_commands_and_is_projected_where_it_is_used() {
    let input = Input::None { rows: 1, steps: 900 };
    let of = |contra: f64| bits(&run(&swimmer(Weights { contra, ..Weights::default() }), &input, &[], &[]).output);
    assert!(of(-1.0) == of(0.0) && of(-1.0) == of(0.7));
    let free = |contra: f64| {
        let weights = Weights { contra, ..Weights::default() };
        let net = Swimmer::new(SwimmerConfig { weights, constrained: false, ..SwimmerConfig::default() }).unwrap();
        bits(&run(&net, &input, &[], &[]).output)
    };
    assert!(free(-1.0) == of(-1.0) && free(0.7) != of(0.7));
}

#[test]
fn mirrored_bends_and_oscillator_mirror_the_action() {
    let net = swimmer(Weights::default());
    let input = Input::None { rows: 1, steps: 1 };
    let bends: Vec<f32> = vec![0.3, -0.8, 1.4, -0.1, 0.6];
    let torques = |sign: f32, osc: [f32; 2]| {
        let bends: Vec<f32> = bends.iter().map(|q| sign * q).collect();
        let edits = [
            edit("ncap.hook_joint_pos", json!({"op": "set", "value": bends})),
            edit("ncap.hook_osc", json!({"op": "set", "value": osc})),
        ];
        floats(run(&net, &input, &["ncap.hook_torque"], &edits).records.get("ncap.hook_torque").unwrap())
    };
    let (one, other) = (torques(1.0, [1.0, 0.0]), torques(-1.0, [0.0, 1.0]));
    assert!(one.iter().zip(&other).all(|(a, b)| *a == -b));
    assert!(one.iter().any(|t| *t > 0.0) && one.iter().any(|t| *t < 0.0));
    // A joint's muscles follow the joint in front: the bend's size over its limit of 60 degrees, cut at 1.
    let expected = 5e-4 * 0.8 / (std::f64::consts::TAU / 6.0);
    assert!((f64::from(one[2]) + expected).abs() < 1e-9);
    assert_eq!(one[3], 5e-4);
}

#[test]
fn commands_brake_and_turn() {
    let net = swimmer(Weights::default());
    let heading = |command: [f32; 3]| {
        let values = command.repeat(3000);
        let input = Input::Series(Series { rows: 1, steps: 3000, channels: 3, values });
        let ran = run(&net, &input, &["body.hook_qpos[width=2]@t=-1", "ncap.hook_muscle"], &[]);
        let muscles: f32 = floats(ran.records.get("ncap.hook_muscle").unwrap()).iter().sum();
        (floats(ran.records.get("body.hook_qpos").unwrap())[0], muscles)
    };
    let (straight, right, left) = (heading([0.0, 0.0, 1.0]), heading([1.0, 0.0, 1.0]), heading([0.0, 1.0, 1.0]));
    assert!((right.0 - straight.0) * (left.0 - straight.0) < 0.0, "{straight:?} {right:?} {left:?}");
    assert!(heading([0.0, 0.0, 0.0]).1 == 0.0 && straight.1 > 0.0);
}

#[test]
fn the_experiment_shows_what_it_must() {
    let plan = Plan {
        control_steps: 260,
        starts: 3,
        periods: vec![20, 60],
        links: vec![6, 9],
        stiffness: vec![2e-3],
        ..Plan::quick(0)
    };
    let found = experiment(&plan, &|| ()).unwrap();
    let speed = |kind: Kind| found.arms.iter().find(|a| a.kind == kind).unwrap().estimate(|s| s.speed).value;
    // Independent simulations of these equations give 0.079, -0.02 and 0.01 m/s.
    assert!((0.06..0.1).contains(&speed(Kind::Intact)), "{}", speed(Kind::Intact));
    assert!(speed(Kind::NoProprioception) < 0.02 && speed(Kind::NoOscillator) < 0.02);
    assert!(speed(Kind::Period(20)) < 0.5 * speed(Kind::Period(60)));
    assert_eq!(speed(Kind::Intact), speed(Kind::Signs(0)));
    assert_eq!(speed(Kind::Intact), speed(Kind::Links(6)));
    assert_eq!(experiment(&plan, &|| ()).unwrap().figures(), found.figures());
    assert!(Swimmer::new(SwimmerConfig { period: 1, ..SwimmerConfig::default() }).is_err());
}
