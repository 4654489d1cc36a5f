//! What holds for every reducer: shards merge to one pass, threads and padding change nothing.

use super::*;

/// Equal but for f64 sums, which may differ by 1e-12 of the scale of what was summed.
fn assert_same(a: &State, b: &State) {
    assert_eq!(a.header, b.header);
    assert!(a.arrays.keys().eq(b.arrays.keys()));
    for (name, x) in &a.arrays {
        let y = &b.arrays[name];
        match (&x.data, &y.data) {
            (Data::F64(x), Data::F64(y)) => {
                assert_eq!(x.len(), y.len());
                match name.as_str() {
                    // Per unit [mean, M2, M3, M4]; odd moments cancel, so they are held to the even ones' scale.
                    "moments" => {
                        let count = match &a.arrays["count"].data {
                            Data::U64(n) => n.clone(),
                            other => panic!("{other:?}"),
                        };
                        for ((x, y), n) in x.chunks(4).zip(y.chunks(4)).zip(count) {
                            let n = n.max(1) as f64;
                            let std = (x[1] / n).sqrt();
                            let scale = [x[0].abs() + std, n * std * std, n.sqrt() * x[1] * std + x[3] / std, x[3]];
                            for p in 0..4 {
                                let close = (x[p] - y[p]).abs() <= 1e-12 * scale[p];
                                assert!(close || x[p] == y[p], "{name} {p}: {x:?} {y:?}");
                            }
                        }
                    }
                    _ => {
                        let scale = x.iter().fold(0f64, |m, x| m.max(x.abs()));
                        let worst = x.iter().zip(y).fold(0f64, |m, (x, y)| m.max((x - y).abs()));
                        assert!(worst <= 1e-12 * scale, "{name}: {worst} of {scale}");
                    }
                }
            }
            _ => assert_eq!(bits(x), bits(y), "{name}"),
        }
    }
}

/// An array whose equality is that of its bits.
pub fn bits(array: &Array) -> (Vec<usize>, Vec<u64>) {
    let bits = match &array.data {
        Data::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        Data::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
        Data::U32(v) => v.iter().map(|x| u64::from(*x)).collect(),
        Data::U64(v) => v.clone(),
    };
    (array.shape.clone(), bits)
}

pub fn assert_identical(a: &State, b: &State) {
    assert_eq!(a.header, b.header);
    assert!(a.arrays.keys().eq(b.arrays.keys()));
    a.arrays.iter().for_each(|(name, x)| assert_eq!(bits(x), bits(&b.arrays[name]), "{name}"));
}

/// A larger batch than the strategies make: several tasks and blocks per reducer.
pub fn large(width: usize, rows: usize, seed: u64) -> Batch {
    let pos = 40;
    let random = |i: usize| optrode::hook::random::uniform(optrode::hook::random::key(seed, &[i as u64])) as f32;
    Batch {
        values: (0..rows * pos * width).map(|i| (random(i) - 0.4) * 8.0).collect(),
        rows,
        pos,
        width,
        keep: (0..rows * pos).map(|i| i % 7 != 3).collect(),
        tokens: (0..rows * pos).map(|i| i as u32).collect(),
        documents: (0..rows as u64).map(|r| r + 100 * seed).collect(),
        positions: (0..rows * pos).map(|i| (i % pos) as u32).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn merged_shards_equal_one_pass(batches in batches(), cuts in prop::collection::vec(any::<bool>(), 7)) {
        for spec in specs() {
            let whole = pass(&spec, &batches).to_state();
            let mut merged = spec.build(batches[0].width).unwrap();
            let mut shard = merged.clone();
            for (batch, cut) in batches.iter().zip(&cuts) {
                shard.observe(&batch.observation()).unwrap();
                if *cut {
                    merged.merge(std::mem::replace(&mut shard, spec.build(batch.width).unwrap())).unwrap();
                }
            }
            merged.merge(shard).unwrap();
            assert_same(&whole, &merged.to_state());
        }
    }

    #[test]
    fn top_lists_and_samples_do_not_depend_on_the_order_of_shards(batches in batches()) {
        for spec in specs().into_iter().filter(|s| matches!(s, ReducerSpec::Top(_) | ReducerSpec::Sample(_))) {
            let mut backwards = spec.build(batches[0].width).unwrap();
            let mut merged = backwards.clone();
            for batch in batches.iter().rev() {
                backwards.observe(&batch.observation()).unwrap();
                merged.merge(pass(&spec, std::slice::from_ref(batch))).unwrap();
            }
            let forwards = pass(&spec, &batches).to_state();
            assert_identical(&forwards, &backwards.to_state());
            assert_identical(&forwards, &merged.to_state());
        }
    }

    #[test]
    fn positions_that_are_not_kept_leave_no_trace(batches in batches()) {
        let mut changed = batches.clone();
        for batch in &mut changed {
            for i in (0..batch.keep.len()).filter(|i| !batch.keep[*i]).collect::<Vec<_>>() {
                batch.values[i * batch.width..][..batch.width].fill(if i % 2 == 0 { f32::NAN } else { 1e9 });
                if batch.positions[i] == PADDING {
                    batch.tokens[i] = 77_777_777;
                }
            }
        }
        for spec in specs() {
            assert_identical(&pass(&spec, &batches).to_state(), &pass(&spec, &changed).to_state());
        }
    }
}

/// Candle reads the number of threads once per process, so each number gets a process: this test, run again.
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    const FOLDER: &str = "OPTRODE_TEST_STATES";
    let batches = [large(600, 5, 1), large(600, 20, 2)];
    if let Some(folder) = std::env::var_os(FOLDER) {
        for (i, spec) in specs().iter().enumerate() {
            let bytes = pass(spec, &batches).to_state().to_bytes().unwrap();
            std::fs::write(std::path::Path::new(&folder).join(i.to_string()), bytes).unwrap();
        }
        return;
    }
    let folders = ["1", "2", "5"].map(|threads| {
        let folder = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reduce::laws::results_do_not_depend_on_the_number_of_threads"])
            .env("RAYON_NUM_THREADS", threads)
            .env(FOLDER, folder.path())
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        folder
    });
    for (i, spec) in specs().iter().enumerate() {
        let [one, two, five] = folders.each_ref().map(|f| std::fs::read(f.path().join(i.to_string())).unwrap());
        assert!(one == two && one == five, "{spec}");
    }
}

#[test]
fn shards_of_many_blocks_merge_to_one_pass() {
    let batches = [large(530, 30, 1), large(530, 1, 2), large(530, 17, 3)];
    for spec in specs() {
        let mut merged = spec.build(530).unwrap();
        for batch in &batches {
            merged.merge(pass(&spec, std::slice::from_ref(batch))).unwrap();
        }
        assert_same(&pass(&spec, &batches).to_state(), &merged.to_state());
    }
}

#[test]
fn other_kinds_parameters_and_widths_are_refused() {
    let all = specs();
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            let merged = a.build(3).unwrap().merge(b.build(3).unwrap());
            assert_eq!(merged.is_ok(), i == j);
        }
        let error = a.build(3).unwrap().merge(a.build(4).unwrap()).unwrap_err().to_string();
        assert!(error.contains("width 4") && error.contains("width 3"), "{error}");
    }
}

#[test]
fn observations_that_contradict_themselves_are_refused() {
    let good = large(4, 2, 1);
    for spec in specs() {
        let mut reducer = spec.build(4).unwrap();
        let mut refuse = |change: fn(&mut Batch)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(reducer.observe(&bad.observation()).is_err());
        };
        refuse(|b| b.values.truncate(5));
        refuse(|b| b.keep.push(true));
        refuse(|b| b.tokens.clear());
        refuse(|b| b.documents.truncate(1));
        refuse(|b| b.positions.push(0));
        refuse(|b| b.width = 2);
        refuse(|b| b.rows = usize::MAX);
        refuse(|b| b.positions.fill(3));
        assert_identical(&reducer.to_state(), &spec.build(4).unwrap().to_state());
    }
}

#[test]
fn documents_that_are_counted_apart_have_numbers_below_how_many_they_are() {
    let spec: ReducerSpec = serde_json::from_str(r#"{"kind":"firing","documents":101}"#).unwrap();
    let mut reducer = spec.build(4).unwrap();
    let before = reducer.to_state();
    // Documents 100 and 101.
    let error = reducer.observe(&large(4, 2, 1).observation()).unwrap_err().to_string();
    assert!(error.contains("document 101") && error.contains("only 101 documents"), "{error}");
    assert_identical(&reducer.to_state(), &before);
    reducer.observe(&large(4, 1, 1).observation()).unwrap();
    // What is not counted apart is saved as before there was a choice.
    let plain: ReducerSpec = serde_json::from_str(r#"{"kind":"firing","documents":0}"#).unwrap();
    assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"kind":"firing","threshold":0.0}"#);
    let mut state = reducer.to_state();
    let Data::U64(seen) = &mut state.arrays.get_mut("document_seen").unwrap().data else { panic!() };
    seen[3] += 1;
    assert!(Reducer::from_state(state).unwrap_err().to_string().contains("do not add up"));
}

#[test]
fn impossible_parameters_and_too_much_memory_are_refused() {
    for text in [
        r#"{"kind":"top","k":0}"#,
        r#"{"kind":"top","k":1001}"#,
        r#"{"kind":"top","context":[2000,0]}"#,
        r#"{"kind":"histogram","octaves":[3,3]}"#,
        r#"{"kind":"histogram","octaves":[-200,3]}"#,
        r#"{"kind":"histogram","divisions":12}"#,
        r#"{"kind":"histogram","divisions":0}"#,
        r#"{"kind":"sample","k":0}"#,
    ] {
        let spec: ReducerSpec = serde_json::from_str(text).unwrap();
        assert!(spec.build(8).is_err(), "{text}");
    }
    for text in [r#"{"kind":"moments","x":1}"#, r#"{"kind":"firing","treshold":1}"#, r#"{"kind":"mean"}"#] {
        assert!(serde_json::from_str::<ReducerSpec>(text).is_err(), "{text}");
    }
    for spec in specs() {
        assert!(spec.build(0).is_err());
        assert!(spec.build_within(64, spec.bytes(64)).is_ok());
        assert!(spec.build_within(64, spec.bytes(64) - 1).is_err());
        assert!(spec.build(usize::MAX).is_err());
    }
    let error = ReducerSpec::Covariance(CovarianceSpec::default()).build(100_000).unwrap_err().to_string();
    assert!(error.contains("needs 38.") && error.contains("GiB"), "{error}");
}
