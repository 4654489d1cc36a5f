//! Folders that appear as one.

use optrode::store::FileSet;

use super::names;

const NAMES: &[&str] = &["a", "b"];

fn file(name: &'static str, text: &str) -> (&'static str, Vec<u8>) {
    (name, text.as_bytes().to_vec())
}

#[test]
fn a_set_replaces_the_earlier_one_as_a_whole() {
    let here = tempfile::tempdir().unwrap();
    let target = here.path().join("deep/out");
    let set = FileSet::prepare(&target, NAMES).unwrap();
    assert!(!target.exists());
    set.write(&[file("a", "1"), file("b", "1")]).unwrap();
    assert_eq!(names(&target), ["a", "b"]);
    FileSet::prepare(&target, NAMES).unwrap().write(&[file("a", "2")]).unwrap();
    assert_eq!(names(&target), ["a"]);
    assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "2");
    assert_eq!(names(&here.path().join("deep")), ["out"]);
}

#[test]
fn a_set_that_fails_leaves_the_earlier_one() {
    let here = tempfile::tempdir().unwrap();
    let target = here.path().join("out");
    let set = FileSet::prepare(&target, NAMES).unwrap();
    set.write(&[file("a", "1")]).unwrap();
    // The second file cannot be written.
    set.write(&[file("a", "2"), ("no/such/folder", Vec::new())]).unwrap_err();
    assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "1");
    assert_eq!(names(here.path()), ["out"]);
}

#[test]
fn a_strangers_file_is_never_removed() {
    let here = tempfile::tempdir().unwrap();
    let target = here.path().join("out");
    let set = FileSet::prepare(&target, NAMES).unwrap();
    set.write(&[file("a", "1")]).unwrap();
    std::fs::write(target.join("mine"), "mine").unwrap();
    let error = set.write(&[file("a", "2")]).unwrap_err().to_string();
    assert!(error.contains("`mine`"), "{error}");
    assert!(FileSet::prepare(&target, NAMES).is_err());
    assert_eq!(names(&target), ["a", "mine"]);
    assert_eq!(names(here.path()), ["out"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_stays_a_link() {
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("real")).unwrap();
    let link = here.path().join("link");
    std::os::unix::fs::symlink("real", &link).unwrap();
    FileSet::prepare(&link, NAMES).unwrap().write(&[file("b", "1")]).unwrap();
    assert!(link.is_symlink());
    assert_eq!(names(&here.path().join("real")), ["b"]);
}

#[test]
fn a_folder_is_held_by_one_at_a_time() {
    let here = tempfile::tempdir().unwrap();
    let target = here.path().join("out");
    let held = FileSet::prepare(&target, NAMES).unwrap().hold().unwrap();
    let other = FileSet::prepare(&target, NAMES).unwrap();
    let error = other.hold().unwrap_err().to_string();
    assert!(error.contains("another process is writing this folder"), "{error}");
    drop(held);
    other.hold().unwrap();
    assert!(names(here.path()).is_empty());
}
