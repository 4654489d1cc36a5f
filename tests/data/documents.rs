//! Documents of a corpus, chunk by chunk.

use optrode::data::{Chunk, DocumentOptions, Documents};
use optrode::store::HubOptions;
use parquet::basic::Compression;

use super::file;
use super::readers::{ROWS, write_parquet};

fn open(spec: &str, group_by: Option<&str>, per_file: Option<u64>, chunk: u64) -> Documents {
    let options = DocumentOptions { group_by: group_by.map(str::to_string), per_file, chunk };
    Documents::open(spec, options, &HubOptions::from_vars(|_| None)).unwrap()
}

fn chunks(documents: &Documents, wanted: impl Fn(u64) -> bool) -> Vec<Chunk> {
    documents.chunks_of(wanted).map(Result::unwrap).collect()
}

#[test]
fn rows_of_a_parquet_file_come_in_chunks_with_their_groups() {
    let (_folder, path) = file("d.parquet", b"");
    write_parquet(&path, &ROWS, Compression::SNAPPY);
    let documents = open(path.to_str().unwrap(), Some("share"), None, 2);
    let survey = &documents.survey;
    assert_eq!((survey.documents, survey.files[0].documents), (5, 5));
    assert_eq!(survey.groups, ["0.5", "1.5", "-2.0", "0.0", "9.75"]);
    assert_eq!(survey.bytes, ROWS.iter().map(|r| r.0.len() as u64).sum::<u64>());
    assert_eq!(documents.chunks, [(2, 10), (2, 3), (1, 10)]);
    let all = chunks(&documents, |_| true);
    let read: Vec<(u64, usize, &str)> =
        all.iter().flat_map(|c| &c.documents).map(|d| (d.number, d.group, d.text.as_str())).collect();
    let expected: Vec<_> = ROWS.iter().enumerate().map(|(i, r)| (i as u64, i, r.0)).collect();
    assert_eq!(read, expected);
    assert_eq!(all.iter().map(|c| c.documents.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(chunks(&documents, |c| c == 1), [all[1].clone()]);
    assert_eq!(chunks(&documents, |c| c > 0), all[1..]);
}

#[test]
fn files_of_a_folder_are_groups_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("a/en.txt", "one\n\ntwo\nthree"), ("b/de.txt", "eins"), ("b/en.txt", "four"), ("b/about.json", "{}")]
    {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let spec = folder.path().to_str().unwrap();
    let documents = open(spec, None, None, 2);
    assert_eq!(documents.survey.groups, ["en", "de"]);
    let groups = |d: &Documents| -> Vec<(usize, String)> {
        chunks(d, |_| true).into_iter().flat_map(|c| c.documents).map(|d| (d.group, d.text)).collect()
    };
    let texts = |list: &[(usize, &str)]| list.iter().map(|(g, t)| (*g, (*t).to_string())).collect::<Vec<_>>();
    assert_eq!(groups(&documents), texts(&[(0, "one"), (0, "two"), (0, "three"), (1, "eins"), (0, "four")]));
    assert_eq!(groups(&open(spec, None, Some(1), 9)), texts(&[(0, "one"), (1, "eins"), (0, "four")]));
}
