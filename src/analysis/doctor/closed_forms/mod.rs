//! The closed forms of the bio-inspired substrate ([`crate::nn::spiking`], [`crate::nn::readout`], [`crate::analysis::dynamics`]): what
//! each part must give, known without it.
//!
//! Spike counts of Izhikevich's neuron are golden numbers computed in f64 from the published equations.

mod neurons;
mod plasticity;
mod readouts;

use super::Finding;
use crate::Result;
use crate::report::Verdict;

/// One closed form.
struct ClosedForm {
    name: &'static str,
    meaning: &'static str,
    /// The largest error that counts as holding: absolute, or a count of wrong numbers.
    tolerance: f64,
    error: fn() -> Result<f64>,
}

/// Examines the substrate: one finding per closed form, always in the same order.
///
/// # Errors
/// None but defects: what does not hold is a finding.
pub fn closed_forms() -> Result<Vec<Finding>> {
    FORMS
        .iter()
        .map(|form| {
            let error = (form.error)()?;
            let holds = error <= form.tolerance;
            Ok(Finding {
                name: form.name.to_string(),
                meaning: form.meaning.to_string(),
                verdict: if holds { Verdict::Passed } else { Verdict::Failed },
                reason: None,
                tolerance: form.tolerance,
                relative: error,
                absolute: error,
                place: None,
                compared: 1,
            })
        })
        .collect()
}

const FORMS: &[ClosedForm] = &[
    ClosedForm {
        name: "sub-threshold decay",
        meaning: "V(t) = V0 e^(-t/tau) at any dt, to 1e-12",
        tolerance: 1e-12,
        error: neurons::decay,
    },
    ClosedForm {
        name: "f-I curve",
        meaning: "spikes in 1 s at dt 0.1: 26, 41, 63, 98 for I = 1.2, 1.5, 2, 3, and none for I <= threshold",
        tolerance: 0.0,
        error: neurons::f_i_curve,
    },
    ClosedForm {
        name: "f-I formula",
        meaning: "f = 1/(t_ref + tau ln(..)) is 26.43, 41.71, 63.04, 98.92 Hz",
        tolerance: 5e-3,
        error: neurons::f_i_formula,
    },
    ClosedForm {
        name: "exponential synapse",
        meaning: "halving dt leaves V at shared times unchanged (exact propagator, also at tau_s = tau_m)",
        tolerance: 1e-12,
        error: neurons::propagator,
    },
    ClosedForm {
        name: "potential's peak",
        meaning: "one spike's potential peaks at tau_m tau_s/(tau_m - tau_s) ln(tau_m/tau_s), within a step of 0.01 ms",
        tolerance: 0.0101,
        error: neurons::psp_peak,
    },
    ClosedForm {
        name: "Euler differs",
        meaning: "Euler's decay is 1 - dt/tau, the exact one less its error of (dt/tau)^2/2 to third order",
        tolerance: 5e-4,
        error: neurons::euler,
    },
    ClosedForm {
        name: "conductances bound V",
        meaning: "without a current V stays between the reversal potentials, for dt from 0.01 to 1000 ms",
        tolerance: 1e-9,
        error: neurons::conductance,
    },
    ClosedForm {
        name: "adaptation",
        meaning: "the LSNN's b tends to the rate of a regular train; a spike every k steps gives (1-rho)/(1-rho^k) after it",
        tolerance: 1e-12,
        error: neurons::adaptation,
    },
    ClosedForm {
        name: "Izhikevich counts",
        meaning: "spikes in 1 s at I = 10 of RS, IB, CH, FS, LTS, TC, RZ under half steps and Euler 0.5, 0.1, 0.01",
        tolerance: 0.0,
        error: neurons::izhikevich_counts,
    },
    ClosedForm {
        name: "Izhikevich currents",
        meaning: "regular spiking, spikes in 1 s by current (3.5 to 20) at Euler 0.5 and 0.01",
        tolerance: 0.0,
        error: neurons::izhikevich_currents,
    },
    ClosedForm {
        name: "Izhikevich rheobase",
        meaning: "saddle-node at 4.0 for b 0.2 and 1.0156 for b 0.25; rest at -70 without a current",
        tolerance: 1e-3,
        error: neurons::izhikevich_rest,
    },
    ClosedForm {
        name: "surrogates",
        meaning: "gradients through a spike are the published formulas on a grid; forward is the step",
        tolerance: 1e-12,
        error: neurons::surrogates,
    },
    ClosedForm {
        name: "surrogates' mass",
        meaning: "arctan, sigmoid, piecewise exponential, triangle and erf integrate to 1 (the step's height)",
        tolerance: 1e-2,
        error: neurons::surrogate_mass,
    },
    ClosedForm {
        name: "STDP window",
        meaning: "a pair at lag D changes w by A+ e^(-D/tau+) or -A- e^(-D/tau-), one in the same step by nothing",
        tolerance: 1e-12,
        error: plasticity::stdp_window,
    },
    ClosedForm {
        name: "STDP drift",
        meaning: "Poisson pairs: E dw/dt = nu nu (A+ tau+ - A- tau-) in the limit of short steps; at 1 ms within 3 % on 4000 s",
        tolerance: 0.03,
        error: plasticity::stdp_drift,
    },
    ClosedForm {
        name: "triplets",
        meaning: "post-pre-post adds r1 (A2+ + A3+ o2), o2 without the last spike's own jump",
        tolerance: 1e-15,
        error: plasticity::triplet,
    },
    ClosedForm {
        name: "eligibility",
        meaning: "a reward T after a pair changes w by eta M e^(-T/tau) times the pair's term",
        tolerance: 1e-12,
        error: plasticity::eligibility,
    },
    ClosedForm {
        name: "rate unit",
        meaning: "constant input: 1 - r/r_inf = (1 - leak)^t",
        tolerance: 1e-12,
        error: neurons::rate_unit,
    },
    ClosedForm {
        name: "Poisson rate",
        meaning: "trains have the rates asked for, within four standard errors",
        tolerance: 4.0,
        error: plasticity::poisson,
    },
    ClosedForm {
        name: "RLS = ridge",
        meaning: "with mu = 1 both give the same weights, and P = (alpha I + X^T X)^-1",
        tolerance: 1e-8,
        error: readouts::rls_is_ridge,
    },
    ClosedForm {
        name: "RLS errors",
        meaning: "the error after an update is the one before it over 1 + x^T P x",
        tolerance: 1e-10,
        error: readouts::rls_error,
    },
    ClosedForm {
        name: "capacity of a delay line",
        meaning: "N delayed copies remember N steps and no more",
        tolerance: 1e-6,
        error: readouts::delay_line,
    },
    ClosedForm {
        name: "capacity of a leaky unit",
        meaning: "x' = a x + u has the lag curve (1 - a^2) a^(2k), within 0.02",
        tolerance: 0.02,
        error: readouts::leaky_unit,
    },
    ClosedForm {
        name: "branching",
        meaning: "a process with m = 0.9 is estimated at 0.9 (one lag and several), a quarter of it seen at 0.9 (several)",
        tolerance: 0.02,
        error: readouts::branching,
    },
    ClosedForm {
        name: "branching of a ring",
        meaning: "one spike that runs around a ring has a branching factor of 1",
        tolerance: 1e-12,
        error: readouts::branching_ring,
    },
    ClosedForm {
        name: "Lyapunov",
        meaning: "the logistic map at r = 4 has ln 2",
        tolerance: 2e-3,
        error: readouts::logistic_map,
    },
];

fn worst(errors: impl IntoIterator<Item = f64>) -> f64 {
    errors.into_iter().fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { worst.max(e.abs()) })
}
