//! Safetensors files: round trips, conversions, and a collection of damaged files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use optrode::store::{ElementType, Source, Storage, WeightFile, Weights, write_safetensors};
use proptest::prelude::*;

use super::{message, shared};

fn write(path: &Path, tensors: &[(&str, Tensor)]) {
    let tensors: Vec<(String, Source)> =
        tensors.iter().map(|(n, t)| (n.to_string(), Source::Tensor(t.clone()))).collect();
    write_safetensors(path, &tensors, &BTreeMap::new()).unwrap();
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// A file made by hand: the header as text, then data bytes.
fn raw(folder: &Path, header: &str, data: &[u8]) -> PathBuf {
    let path = folder.join("raw.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(&path, bytes).unwrap();
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_written_is_read_back(
        tensors in prop::collection::btree_map("[a-z.\u{e4}\"]{1,12}", (0usize..4, 1usize..9, any::<u64>()), 0..6)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let made: Vec<(String, Tensor)> = tensors
            .iter()
            .map(|(name, (rows, columns, seed))| {
                let values: Vec<f32> =
                    (0..rows * columns).map(|i| ((seed % 1000) as f32 - 500.0) * (i as f32 + 0.1)).collect();
                (name.clone(), Tensor::from_vec(values, (*rows, *columns), &Device::Cpu).unwrap())
            })
            .collect();
        let refs: Vec<(&str, Tensor)> = made.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        write(&path, &refs);
        let weights = Weights::open(&path).unwrap();
        prop_assert_eq!(weights.names().count(), made.len());
        for (name, tensor) in &made {
            let back = weights.tensor(name, tensor.dims(), Storage::F32).unwrap();
            prop_assert_eq!(back.to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), small in 0u64..64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let _ = WeightFile::open(&path);
        let mut framed = small.to_le_bytes().to_vec();
        framed.extend(&bytes);
        std::fs::write(&path, &framed).unwrap();
        let _ = WeightFile::open(&path);
    }
}

#[test]
fn every_float_type_is_read_into_every_storage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    // More elements than one chunk holds, so that pieces are put together.
    let values: Vec<f32> = (0..700_001).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
    let source = Tensor::from_vec(values, 700_001, &Device::Cpu).unwrap();
    for from in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let stored = source.to_dtype(from).unwrap();
        write(&path, &[("w", stored.clone())]);
        let weights = Weights::open(&path).unwrap();
        for storage in [Storage::F32, Storage::BF16, Storage::F16] {
            let read = weights.tensor("w", &[700_001], storage).unwrap();
            assert_eq!(read.dtype(), storage.dtype());
            let want = stored.to_dtype(DType::F32).unwrap().to_dtype(storage.dtype()).unwrap();
            let pair = [read, want].map(|t| t.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap());
            assert_eq!(pair[0], pair[1], "{from:?} as {storage:?}");
        }
    }
}

#[test]
fn rounding_to_bf16_is_to_the_nearest_even() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let tie = f32::from_bits(0x3f80_8000);
    write(&path, &[("w", floats(&[tie, 1.0 + 2.0f32.powi(-7), 3.0e-39]))]);
    let read = Weights::open(&path).unwrap().tensor("w", &[3], Storage::BF16).unwrap();
    let read: Vec<u16> = read.to_vec1::<bf16>().unwrap().iter().map(|v| v.to_bits()).collect();
    assert_eq!(read[..2], [0x3f80, 0x3f81]);
    assert_eq!(read[2], bf16::from_f32(3.0e-39).to_bits());
}

#[test]
fn integers_keep_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let device = &Device::Cpu;
    let tensors = [
        ("i64", Tensor::new(&[i64::MIN, -1, i64::MAX], device).unwrap()),
        ("u32", Tensor::new(&[0u32, u32::MAX], device).unwrap()),
        ("u8", Tensor::new(&[[0u8, 255]], device).unwrap()),
        ("scalar", Tensor::new(2.5f32, device).unwrap()),
    ];
    write(&path, &tensors);
    let weights = Weights::open(&path).unwrap();
    let read = |name: &str, shape: &[usize]| weights.tensor(name, shape, Storage::BF16).unwrap();
    assert_eq!(read("i64", &[3]).to_vec1::<i64>().unwrap(), [i64::MIN, -1, i64::MAX]);
    assert_eq!(read("u32", &[2]).to_vec1::<u32>().unwrap(), [0, u32::MAX]);
    assert_eq!(read("u8", &[1, 2]).to_vec2::<u8>().unwrap(), [[0, 255]]);
    assert_eq!(read("scalar", &[]).to_scalar::<bf16>().unwrap().to_f32(), 2.5);
    assert_eq!(weights.dtype("u8"), Some(ElementType::U8));
    assert_eq!(weights.elements(), 8);
}

#[test]
fn the_same_tensors_give_the_same_bytes_with_the_metadata_that_transformers_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let (x, y) = (floats(&[1.0]), Tensor::new(&[7u8, 8, 9], &Device::Cpu).unwrap());
    write(&a, &[("x", x.clone()), ("y", y.clone())]);
    write(&b, &[("y", y), ("x", x)]);
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    let file = WeightFile::open(&a).unwrap();
    assert_eq!(file.metadata()["format"], "pt");
    // The reference reader accepts it too.
    let bytes = std::fs::read(&a).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("y").unwrap().data(), [7, 8, 9]);
}

#[test]
fn unknown_tensors_are_copied_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"f8":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}"#;
    let from = WeightFile::open(raw(folder.path(), header, &[1, 2, 255])).unwrap();
    let to = folder.path().join("copy.safetensors");
    let entries = [("f8".to_string(), Source::Copy(&from, "f8")), ("w".to_string(), Source::Tensor(floats(&[1.0])))];
    write_safetensors(&to, &entries, &BTreeMap::new()).unwrap();
    let mut bytes = Vec::new();
    let copy = WeightFile::open(&to).unwrap();
    copy.bytes("f8", |b| {
        bytes.extend_from_slice(b);
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes, [1, 2, 255]);
    assert!(message(copy.tensor("f8", &Device::Cpu, Storage::F32)).contains("F8E4M3"));
}

#[test]
fn two_tensors_of_one_name_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let entries = ["w", "w"].map(|n| (n.to_string(), Source::Tensor(floats(&[1.0]))));
    assert!(message(write_safetensors(&path, &entries, &BTreeMap::new())).contains("named `w`"));
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no temporary file is left");
}

#[test]
fn damaged_files_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let one = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let tensor =
        |shape: &str, offsets: &str| format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let pair = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    let cases: Vec<(String, usize, &str)> = vec![
        (one.to_string(), 7, "but the file has 7 bytes of data"),
        (one.to_string(), 9, "take 8 bytes, but the file has 9"),
        ("{".to_string(), 0, "header cannot be read"),
        ("[]".to_string(), 0, "expected an object of tensors"),
        (String::new(), 0, "header cannot be read"),
        (tensor("[3]", "[0,8]"), 8, "needs 12 bytes, but the header gives it 8"),
        (tensor("[2]", "[8,0]"), 8, "lies at bytes 8..0"),
        (tensor("[18446744073709551615,2]", "[0,8]"), 8, "needs too many bytes"),
        (tensor("[4611686018427387905]", "[0,8]"), 8, "needs too many bytes"),
        (tensor("[-1]", "[0,8]"), 8, "header cannot be read"),
        (tensor("[2]", "[0,8]").replace("F32", "F33"), 8, "unknown variant"),
        (pair("[0,4]", "[2,6]"), 6, "overlaps"),
        (pair("[0,4]", "[0,4]"), 4, "overlaps"),
        (pair("[0,4]", "[6,10]"), 10, "leaves a gap"),
        (pair("[4,8]", "[8,12]"), 12, "leaves a gap"),
        (pair("[0,4]", "[4,8]").replace("\"b\":", "\"a\":"), 8, "`a` twice"),
        (r#"{"__metadata__":{"format":1}}"#.to_string(), 0, "header cannot be read"),
        (one.replace("\"shape\"", "\"shade\""), 8, "unknown field"),
    ];
    for (header, data, reason) in cases {
        let path = raw(folder.path(), &header, &vec![0; data]);
        let text = message(WeightFile::open(&path));
        assert!(text.contains(reason), "{header}: {text}");
        assert!(text.contains("raw.safetensors"), "{text}");
    }
}

#[test]
fn a_header_longer_than_the_file_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    for (length, reason) in [(1000u64, "only 2 after its length"), (u64::MAX, "at most 100000000")] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        std::fs::write(&path, bytes).unwrap();
        assert!(message(WeightFile::open(&path)).contains(reason));
    }
    std::fs::write(&path, b"abc").unwrap();
    assert!(message(WeightFile::open(&path)).contains("has 3 bytes, expected at least 8"));
}

#[test]
fn a_file_cut_short_after_it_was_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    write(&path, &[("w", floats(&[1.0; 100]))]);
    let file = WeightFile::open(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 4).unwrap();
    assert!(message(file.tensor("w", &Device::Cpu, Storage::F32)).contains("t.safetensors"));
}

#[test]
fn numbers_that_are_not_finite_are_named_by_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let mut values = vec![0.5f32; 600_000];
    values[450_007] = f32::NAN;
    values[450_009] = f32::INFINITY;
    let tensor = Tensor::from_vec(values, (600, 1000), &Device::Cpu).unwrap();
    for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
        write(&path, &[("w", tensor.to_dtype(dtype).unwrap())]);
        for storage in [Storage::F32, Storage::BF16, Storage::F16] {
            let text = message(Weights::open(&path).unwrap().tensor("w", &[600, 1000], storage));
            assert!(text.contains("`w` has NaN at index [450, 7]"), "{text}");
        }
    }
    write(&path, &[("w", floats(&[1.0, 70_000.0]))]);
    let weights = Weights::open(&path).unwrap();
    assert!(message(weights.tensor("w", &[2], Storage::F16)).contains("7e4 at index [1], beyond the range"));
    let big = Tensor::new(&[f64::from(f16::MAX), 1e300], &Device::Cpu).unwrap();
    write(&path, &[("w", big)]);
    let text = message(Weights::open(&path).unwrap().tensor("w", &[2], Storage::F32));
    assert!(text.contains("1e300 at index [1], beyond"), "{text}");
}

#[test]
fn a_missing_tensor_names_the_nearest_and_a_wrong_shape_both_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    write(&path, &[("model.layers.0.mlp.up_proj.weight", floats(&[1.0, 2.0])), ("lm_head.weight", floats(&[1.0]))]);
    let weights = Weights::open(&path).unwrap();
    let text = message(weights.tensor("model.layers.0.mlp.up.weight", &[2], Storage::F32));
    assert!(text.contains("nearest: model.layers.0.mlp.up_proj.weight"), "{text}");
    let text = message(weights.tensor("lm_head.weight", &[2, 1], Storage::F32));
    assert!(text.contains("shape [1], expected [2, 1]"), "{text}");
    assert!(weights.contains("lm_head.weight") && !weights.contains("lm_head"));
}

#[test]
fn shards_are_read_as_one_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("model-00001-of-00002.safetensors"), &[("a", floats(&[1.0]))]);
    write(&at("model-00002-of-00002.safetensors"), &[("b", floats(&[2.0]))]);
    let index = at("model.safetensors.index.json");
    let text = |a: &str, c: &str| {
        format!(
            r#"{{"metadata":{{"total_size":8}},"weight_map":{{"a":"{a}","{c}":"model-00002-of-00002.safetensors"}}}}"#
        )
    };
    std::fs::write(&index, text("model-00001-of-00002.safetensors", "b")).unwrap();
    let weights = Weights::open_sharded(&index).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(weights.tensor("b", &[1], Storage::F32).unwrap().to_vec1::<f32>().unwrap(), [2.0]);
    std::fs::write(&index, text("model-00001-of-00002.safetensors", "c")).unwrap();
    assert!(message(Weights::open_sharded(&index)).contains("no tensor `c`"));
    std::fs::write(&index, text("../../secret.safetensors", "b")).unwrap();
    assert!(message(Weights::open_sharded(&index)).contains("beside the index"));
    std::fs::write(&index, "{\"weight_map\": 3}").unwrap();
    assert!(message(Weights::open_sharded(&index)).contains("weight_map"));
    std::fs::write(&index, text("model-00001-of-00002.safetensors", "b")).unwrap();
    std::fs::remove_file(at("model-00002-of-00002.safetensors")).unwrap();
    let text = message(Weights::open_sharded(&index));
    assert!(text.contains("1 of 2 shards are missing: model-00002-of-00002.safetensors"), "{text}");
}

#[test]
fn stories260k_reads_like_the_reference_reader() {
    let Some(path) = shared("models/stories260K/model.safetensors") else {
        return;
    };
    let bytes = std::fs::read(&path).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weights = Weights::open(&path).unwrap();
    assert_eq!(weights.names().count(), reference.len());
    for (name, view) in reference.iter() {
        let tensor = weights.tensor(name, view.shape(), Storage::F32).unwrap();
        let read: Vec<u8> =
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(read, view.data(), "{name}");
    }
}
