//! Sets of images from files.

use std::path::Path;

use optrode::data::ImageSet;
use optrode::store::Picture;

fn picture(width: usize, height: usize) -> Picture {
    let rgb = (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect();
    Picture { width, height, rgb }
}

#[test]
fn a_png_is_read_as_it_was_written() {
    let before = picture(7, 5);
    assert_eq!(Picture::decode(&before.encode().unwrap()).unwrap(), before);
}

#[test]
fn resizing_keeps_the_mean_and_an_even_picture() {
    let mean = |p: &Picture| p.rgb.iter().map(|x| f64::from(*x)).sum::<f64>() / p.rgb.len() as f64;
    let before = picture(64, 48);
    let after = before.resized(32, 32);
    assert_eq!((after.width, after.height, after.rgb.len()), (32, 32, 32 * 32 * 3));
    assert!((mean(&before) - mean(&after)).abs() < 1.0);
    let even = Picture { width: 9, height: 4, rgb: vec![200; 9 * 4 * 3] };
    assert!(even.resized(32, 30).rgb.iter().all(|x| *x == 200));
}

#[test]
fn files_that_are_no_pictures_say_so() {
    assert!(Picture::decode(b"GIF89a").unwrap_err().contains("neither"));
    let whole = picture(40, 40).encode().unwrap();
    assert!(Picture::decode(&whole[..whole.len() / 2]).is_err());
    // A head that promises 60,000 x 60,000 pixels is refused before anything is allocated.
    let mut huge = whole.clone();
    huge[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    assert!(Picture::decode(&huge).is_err());
    assert!(Picture::decode(&[0xff, 0xd8, 0xff, 0xe0, 0, 16]).is_err());
}

#[test]
fn a_folder_of_folders_has_classes() {
    let dir = tempfile::tempdir().unwrap();
    for (class, many) in [("cat", 2), ("dog", 1)] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        for i in 0..many {
            let file = dir.path().join(class).join(format!("{i}.png"));
            std::fs::write(file, picture(20 + i, 16).encode().unwrap()).unwrap();
        }
    }
    let set = ImageSet::read(dir.path(), [3, 8, 8], 100).unwrap();
    assert_eq!((set.len(), set.labels.as_slice()), (3, [0, 0, 1].as_slice()));
    assert_eq!(set.classes, ["cat", "dog"]);
    std::fs::write(dir.path().join("cat/zz.png"), b"\x89PNG no").unwrap();
    let error = ImageSet::read(dir.path(), [3, 8, 8], 100).unwrap_err().to_string();
    assert!(error.contains("zz.png"), "{error}");
}

fn write_idx(dir: &Path, images: u32, said: u32) -> std::path::PathBuf {
    let file = dir.join("t-images-idx3-ubyte");
    let mut bytes = vec![0, 0, 8, 3];
    [said, 2, 3].iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend((0..images * 6).map(|i| i as u8));
    std::fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn idx_files_are_read_with_their_labels_and_cut_off_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_idx(dir.path(), 2, 2);
    let set = ImageSet::read(&file, [1, 2, 3], 100).unwrap();
    assert_eq!((set.len(), set.image(1)), (2, [6, 7, 8, 9, 10, 11].as_slice()));
    assert!(set.labels.is_empty());
    let labels = dir.path().join("t-labels-idx1-ubyte");
    std::fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 2, 9, 4]).unwrap();
    assert_eq!(ImageSet::read(&file, [1, 2, 3], 100).unwrap().labels, [9, 4]);
    std::fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 1, 9]).unwrap();
    assert!(ImageSet::read(&file, [1, 2, 3], 100).unwrap_err().to_string().contains("1 labels for 2 images"));
    let cut = write_idx(dir.path(), 1, 2);
    assert!(ImageSet::read(&cut, [1, 2, 3], 100).unwrap_err().to_string().contains("cut off"));
    let lie = write_idx(dir.path(), 1, u32::MAX);
    assert!(ImageSet::read(&lie, [1, 2, 3], 100).is_err());
}

#[test]
fn cifar_records_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("batch.bin");
    let mut bytes = vec![3u8];
    bytes.extend((0..3072).map(|i| (i % 256) as u8));
    std::fs::write(&file, &bytes).unwrap();
    let set = ImageSet::read(&file, [3, 32, 32], 10).unwrap();
    assert_eq!((set.labels.as_slice(), set.image(0)), ([3].as_slice(), &bytes[1..]));
    std::fs::write(&file, &bytes[..3000]).unwrap();
    assert!(ImageSet::read(&file, [3, 32, 32], 10).is_err());
}

#[test]
fn drawings_of_omniglot_are_bright_on_dark() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.bits");
    let mut bytes = vec![0u8; 1379];
    // The upper half is ink.
    bytes[..105 * 52 / 8].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let set = ImageSet::read(&file, [1, 28, 28], 5).unwrap();
    assert_eq!((set.len(), set.image(0)[28 * 3], set.image(0)[28 * 25]), (1, 255, 0));
    std::fs::write(&file, &bytes[..1000]).unwrap();
    assert!(ImageSet::read(&file, [1, 28, 28], 5).unwrap_err().to_string().contains("1379"));
}
