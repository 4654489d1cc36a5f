//! A chain of links in a plane of still water, in f64: the Swimmer of the DeepMind control suite with MuJoCo's inertia-box
//! fluid.
//!
//! Coordinates q = (x, y, phi_0 .. phi_(n-1)): the free end of the head link and the absolute angles; joint angles are
//! theta_i = phi_(i+1) - phi_i. With u(phi) = (-sin phi, cos phi), which points to the tail, and e(phi) = (cos phi, sin phi)
//!
//! ```text
//! r_k = (x, y) + l sum_{j<k} u_j + l/2 u_k
//! M   = sum_k m J_k^T J_k + I on every phi + armature D^T D
//! Q   = sum_k J_k^T (F_k - m dJ_k qdot) + fluid torques + D^T tau
//! qdot += h M^-1 Q;  q += h qdot
//! ```
//!
//! The soft joint limits are a stand-in for the engine's constraint.

use nalgebra::{Cholesky, DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Length of a link, m.
const LENGTH: f64 = 0.1;
/// Mass of a link, kg.
const MASS: f64 = 0.01;
/// Inertia of a link about its centre, kg m^2: m/3 (0.001^2 + 0.05^2).
const INERTIA: f64 = MASS / 3.0 * (0.001 * 0.001 + 0.05 * 0.05);
/// Joint armature, kg m^2.
const ARMATURE: f64 = 1e-6;
/// Torque of a motor at 1, N m.
pub const GEAR: f64 = 5e-4;
/// Length of a physics step, s.
pub const STEP: f64 = 2e-3;

/// The body and the water.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Body {
    /// n: links.
    pub links: usize,
    /// Stiffness of a joint beyond its limit, N m/rad.
    pub limit_stiffness: f64,
    /// Damping of a joint beyond its limit, N m s/rad.
    pub limit_damping: f64,
    /// Drag across a link (N s^2/m^2), along it, and on its turning (N m s^2): F = -c |v| v.
    pub drag: [f64; 3],
}

impl Default for Body {
    /// Six links in water of density 3000: drag 0.5 rho b_y b_z = 3 across, 0.5 rho b_x b_z = 0.06 along, and
    /// rho b_z (b_x^4 + b_y^4)/64 = 9.375e-5, for the box (0.002, 0.1, 0.02).
    fn default() -> Self {
        Self { links: 6, limit_stiffness: 2e-3, limit_damping: 2e-5, drag: [3.0, 0.06, 9.375e-5] }
    }
}

/// Angles and rates of a body in one place.
struct Posture {
    /// (cos, sin) of every phi.
    turn: Vec<(f64, f64)>,
}

impl Posture {
    fn of(q: &[f64]) -> Self {
        Self { turn: q[2..].iter().map(|phi| (phi.cos(), phi.sin())).collect() }
    }

    /// Along the link, to the tail.
    fn u(&self, k: usize) -> (f64, f64) {
        (-self.turn[k].1, self.turn[k].0)
    }

    /// Across the link.
    fn e(&self, k: usize) -> (f64, f64) {
        self.turn[k]
    }

    /// How far phi_j moves the centre of link k.
    fn arm(j: usize, k: usize) -> f64 {
        match j.cmp(&k) {
            std::cmp::Ordering::Less => LENGTH,
            std::cmp::Ordering::Equal => LENGTH / 2.0,
            std::cmp::Ordering::Greater => 0.0,
        }
    }

    /// Velocity of the centre of link k.
    fn velocity(&self, k: usize, qd: &[f64]) -> (f64, f64) {
        (0..=k).fold((qd[0], qd[1]), |(x, y), j| {
            let (e, by) = (self.e(j), Self::arm(j, k) * qd[2 + j]);
            (x - by * e.0, y - by * e.1)
        })
    }
}

impl Body {
    /// The joint limit, rad: 2 pi / n.
    pub fn limit(&self) -> f64 {
        std::f64::consts::TAU / self.links as f64
    }

    /// Velocity of the centre of the head link along its axis, forward positive: the head swims towards -u.
    pub fn forward_speed(&self, q: &[f64], qd: &[f64]) -> f64 {
        let posture = Posture::of(q);
        let (v, u) = (posture.velocity(0, qd), posture.u(0));
        -(v.0 * u.0 + v.1 * u.1)
    }

    /// What the water does to every link in the link's own frame, `[links, 3]`: force across (N), along (N), torque (N m).
    pub fn fluid(&self, q: &[f64], qd: &[f64]) -> Vec<f64> {
        let posture = Posture::of(q);
        let mut force = Vec::with_capacity(3 * self.links);
        for k in 0..self.links {
            let (v, e, u) = (posture.velocity(k, qd), posture.e(k), posture.u(k));
            let own = [v.0 * e.0 + v.1 * e.1, v.0 * u.0 + v.1 * u.1, qd[2 + k]];
            force.extend(own.iter().zip(self.drag).map(|(v, c)| -c * v.abs() * v));
        }
        force
    }

    /// The mass matrix, `[n + 2, n + 2]`.
    pub fn mass_matrix(&self, q: &[f64]) -> DMatrix<f64> {
        let (n, posture) = (self.links, Posture::of(q));
        let mut m = DMatrix::zeros(n + 2, n + 2);
        for k in 0..n {
            let columns: Vec<(f64, f64)> = (0..n + 2).map(|c| column(&posture, c, k)).collect();
            for (i, a) in columns.iter().enumerate() {
                for (j, b) in columns.iter().enumerate() {
                    m[(i, j)] += MASS * (a.0 * b.0 + a.1 * b.1);
                }
            }
            m[(2 + k, 2 + k)] += INERTIA;
        }
        for i in 2..n + 1 {
            m[(i, i)] += ARMATURE;
            m[(i + 1, i + 1)] += ARMATURE;
            m[(i, i + 1)] -= ARMATURE;
            m[(i + 1, i)] -= ARMATURE;
        }
        m
    }

    /// One physics step under motor torques (N m, one per joint) and the water's forces; q and qdot change in place.
    ///
    /// # Errors
    /// A posture that is not finite.
    pub fn step(&self, q: &mut [f64], qd: &mut [f64], torques: &[f64], fluid: &[f64], h: f64) -> Result<()> {
        let (n, posture) = (self.links, Posture::of(q));
        let mut forces = DVector::zeros(n + 2);
        for k in 0..n {
            let (e, u) = (posture.e(k), posture.u(k));
            let own = &fluid[3 * k..3 * k + 3];
            // Centripetal terms: dJ_k qdot = -sum_j arm u_j phidot_j^2.
            let bias = (0..=k).fold((0.0, 0.0), |(x, y), j| {
                let (u, by) = (posture.u(j), Posture::arm(j, k) * qd[2 + j].powi(2));
                (x - by * u.0, y - by * u.1)
            });
            let f = (own[0] * e.0 + own[1] * u.0 - MASS * bias.0, own[0] * e.1 + own[1] * u.1 - MASS * bias.1);
            for c in 0..n + 2 {
                let column = column(&posture, c, k);
                forces[c] += column.0 * f.0 + column.1 * f.1;
            }
            forces[2 + k] += own[2];
        }
        for i in 0..n - 1 {
            let (theta, rate) = (q[3 + i] - q[2 + i], qd[3 + i] - qd[2 + i]);
            let torque = torques[i] + self.limit_torque(theta, rate);
            forces[2 + i] -= torque;
            forces[3 + i] += torque;
        }
        let factor = Cholesky::new(self.mass_matrix(q)).ok_or_else(|| {
            Error::invalid("the swimmer's posture is not finite", "weaken the edit: the body has blown up")
        })?;
        let acceleration = factor.solve(&forces);
        for (c, a) in acceleration.iter().enumerate() {
            qd[c] += h * a;
            q[c] += h * qd[c];
        }
        Ok(())
    }

    /// A one-sided spring with damping beyond the limit.
    fn limit_torque(&self, theta: f64, rate: f64) -> f64 {
        let excess = if theta > self.limit() {
            theta - self.limit()
        } else if theta < -self.limit() {
            theta + self.limit()
        } else {
            return 0.0;
        };
        -(self.limit_stiffness * excess + self.limit_damping * rate)
    }

    /// Kinetic energy, J.
    pub fn energy(&self, q: &[f64], qd: &[f64]) -> f64 {
        let qd = DVector::from_column_slice(qd);
        0.5 * (qd.transpose() * self.mass_matrix(q) * qd)[(0, 0)]
    }

    /// Linear momentum, kg m/s.
    pub fn momentum(&self, q: &[f64], qd: &[f64]) -> (f64, f64) {
        let posture = Posture::of(q);
        let v = |k| posture.velocity(k, qd);
        (0..self.links).map(v).fold((0.0, 0.0), |(x, y), v| (x + MASS * v.0, y + MASS * v.1))
    }
}

/// How coordinate c moves the centre of link k.
fn column(posture: &Posture, c: usize, k: usize) -> (f64, f64) {
    match c {
        0 => (1.0, 0.0),
        1 => (0.0, 1.0),
        _ => {
            let (e, by) = (posture.e(c - 2), Posture::arm(c - 2, k));
            (-by * e.0, -by * e.1)
        }
    }
}
