//! The same numbers however the work is cut, and the same bits at any number of threads.

use super::{apart, swept};
use crate::common::{AGREE, goldens, text};

#[test]
fn the_size_of_batches_changes_nothing() {
    for (name, net) in goldens() {
        let (base, source) = (vec![text(1, 7), text(3, 5)], vec![text(2, 7), text(4, 5)]);
        let layers = 0..net.facts().layers.len();
        let patches: Vec<String> = layers
            .flat_map(|l| {
                (0..5).flat_map(move |p| ["hook_resid_pre", "hook_attn_out"].map(|s| format!("blocks.{l}.{s}@{p}")))
            })
            .collect();
        let (whole, work) = swept(&net, [&base, &source], &patches, 10_000);
        for tokens in [1, 20, 64] {
            let (parts, again) = swept(&net, [&base, &source], &patches, tokens);
            assert_eq!(work, again, "{name}");
            for (patch, (whole, parts)) in patches.iter().zip(whole.iter().zip(&parts)) {
                for (a, b) in whole.iter().zip(parts) {
                    assert!(apart(b, a) <= AGREE, "{name}: {patch} in batches of {tokens}");
                }
            }
        }
    }
}

fn fingerprint() -> Vec<u8> {
    let mut all = Vec::new();
    for (_, net) in goldens().take(6) {
        let (base, source) = (vec![text(1, 40)], vec![text(2, 40)]);
        let patches: Vec<String> =
            (0..40).flat_map(|p| (0..2).map(move |l| format!("blocks.{l}.attn.hook_v@{p}"))).collect();
        let (got, _) = swept(&net, [&base, &source], &patches, 1024);
        all.extend(got.iter().flatten().flatten().flat_map(|x| x.to_bits().to_le_bytes()));
    }
    all
}

/// The number of threads is read once per process, so each number gets a process: this test, run again.
#[test]
fn a_sweep_gives_the_same_bits_at_any_number_of_threads() {
    const FILE: &str = "OPTRODE_TEST_SWEEP_FINGERPRINT";
    if let Some(file) = std::env::var_os(FILE) {
        return std::fs::write(file, fingerprint()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let files = ["1", "2", "3"].map(|threads| {
        let file = folder.path().join(threads);
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sweep::repeatable::a_sweep_gives_the_same_bits_at_any_number_of_threads"])
            .env("RAYON_NUM_THREADS", threads)
            .env(FILE, &file)
            .output()
            .unwrap();
        assert!(output.status.success());
        std::fs::read(file).unwrap()
    });
    assert!(files[0].len() > 1 << 15);
    assert!(files[0] == files[1], "one thread and two differ");
    assert!(files[0] == files[2], "one thread and three differ");
}
