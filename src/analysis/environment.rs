//! The machine that a job runs on: what its numbers may depend on, for manifests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Environment variables that change where things are found or how many threads run. None of them holds a secret.
const VARIABLES: [&str; 5] = ["RAYON_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"];

/// Where a run ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub arch: String,
    /// The processor's abilities that arithmetic may depend on.
    pub cpu: Vec<String>,
    /// Threads; the numbers do not depend on them.
    pub threads: usize,
    /// Environment variables that were set.
    pub variables: BTreeMap<String, String>,
}

impl Environment {
    /// This machine.
    pub fn here() -> Self {
        let set = |name: &str| Some((name.to_string(), std::env::var(name).ok()?));
        Self {
            os: std::env::consts::OS.to_string(),
            arch: std::env::consts::ARCH.to_string(),
            cpu: cpu_features(),
            threads: rayon::current_num_threads(),
            variables: VARIABLES.iter().filter_map(|name| set(name)).collect(),
        }
    }

    /// Whether arithmetic here is that of the other machine, to the last bit.
    pub fn computes_as(&self, other: &Self) -> bool {
        self.os == other.os && self.arch == other.arch && self.cpu == other.cpu
    }
}

/// The abilities that matrix products and the crate's own kernels are chosen by.
fn cpu_features() -> Vec<String> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let found = {
        use std::arch::is_x86_feature_detected as has;
        [
            ("sse4.2", has!("sse4.2")),
            ("avx", has!("avx")),
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("f16c", has!("f16c")),
            ("avx512f", has!("avx512f")),
            ("avx512dq", has!("avx512dq")),
            ("avx512bw", has!("avx512bw")),
            ("avx512vl", has!("avx512vl")),
            ("avx512bf16", has!("avx512bf16")),
            ("avx512fp16", has!("avx512fp16")),
        ]
    };
    #[cfg(target_arch = "aarch64")]
    let found = {
        use std::arch::is_aarch64_feature_detected as has;
        [
            ("neon", has!("neon")),
            ("fp16", has!("fp16")),
            ("fhm", has!("fhm")),
            ("bf16", has!("bf16")),
            ("sve", has!("sve")),
        ]
    };
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    found.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_string()).collect()
}
