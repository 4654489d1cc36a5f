//! `.npz` archives: read back by Candle's own reader.

use candle_core::{DType, Device, Tensor};
use optrode::store::write_npz;

use super::message;

#[test]
fn archives_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("a.npz");
    let device = &Device::Cpu;
    let q = Tensor::arange(0f32, 24., device).unwrap().reshape((2, 3, 4)).unwrap().transpose(0, 2).unwrap();
    let tensors = [
        ("blocks.0.attn.hook_q", q.clone()),
        ("ids", Tensor::new(&[1i64, -2, i64::MAX], device).unwrap()),
        ("mask", Tensor::new(&[[0u8, 1]], device).unwrap()),
        ("scalar", Tensor::new(1.5f32, device).unwrap()),
        ("half", q.to_dtype(DType::BF16).unwrap()),
    ];
    write_npz(&path, &tensors).unwrap();
    let first = std::fs::read(&path).unwrap();
    write_npz(&path, &tensors).unwrap();
    assert_eq!(first, std::fs::read(&path).unwrap(), "the same arrays give the same bytes");
    let read = Tensor::read_npz_by_name(&path, &["blocks.0.attn.hook_q", "ids", "mask", "scalar", "half"]).unwrap();
    assert_eq!(read[0].to_vec3::<f32>().unwrap(), q.to_vec3::<f32>().unwrap());
    assert_eq!(read[1].to_vec1::<i64>().unwrap(), [1, -2, i64::MAX]);
    assert_eq!(read[2].to_vec2::<u8>().unwrap(), [[0, 1]]);
    assert_eq!(read[3].to_scalar::<f32>().unwrap(), 1.5);
    assert_eq!(read[4].to_vec3::<f32>().unwrap(), q.to_vec3::<f32>().unwrap());
}

#[test]
fn names_that_leave_the_archive_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let one = Tensor::new(1f32, &Device::Cpu).unwrap();
    for name in ["", "../x", "/etc/x", "a\\b"] {
        assert!(message(write_npz(&path, &[(name, one.clone())])).contains("cannot name an array"));
    }
    assert!(message(write_npz(&path, &[("a", one.clone()), ("a", one)])).contains("named `a`"));
    assert!(!path.exists());
}
