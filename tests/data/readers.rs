//! Every reader gives back what was written, and says what is wrong with a file, and where.

use std::path::Path;
use std::sync::Arc;

use optrode::data::{Doc, Docs, read_text_sets, read_texts};
use optrode::store::HubOptions;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use super::{file, message, put};

fn docs(path: &Path, columns: &[&str]) -> Vec<Doc> {
    let columns: Vec<String> = columns.iter().map(|c| c.to_string()).collect();
    Docs::open(path, &columns).unwrap().map(|row| row.unwrap().1).collect()
}

fn objects(values: &[Value]) -> Vec<Doc> {
    values.iter().map(|v| v.as_object().unwrap().clone()).collect()
}

fn spec(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

fn offline() -> HubOptions {
    HubOptions::from_vars(|_| None)
}

/// A parquet file of two row groups with texts, whole numbers, floats, lists of texts and bytes.
pub(super) fn write_parquet(path: &Path, rows: &[(&str, i64, f64, &[&str])], compression: Compression) {
    let schema = "message m {
        REQUIRED BYTE_ARRAY text (UTF8);
        OPTIONAL INT64 number;
        REQUIRED DOUBLE share;
        OPTIONAL GROUP choices (LIST) { REPEATED GROUP list { OPTIONAL BYTE_ARRAY element (UTF8); } }
        REQUIRED BYTE_ARRAY image;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
    let bytes = |texts: Vec<&str>| -> Vec<ByteArray> { texts.into_iter().map(ByteArray::from).collect() };
    for group in rows.chunks(rows.len().div_ceil(2)) {
        let mut out = writer.next_row_group().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        let texts = bytes(group.iter().map(|r| r.0).collect());
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        // Negative numbers are left out: null.
        let kept: Vec<i64> = group.iter().map(|r| r.1).filter(|n| *n >= 0).collect();
        let levels: Vec<i16> = group.iter().map(|r| i16::from(r.1 >= 0)).collect();
        column.typed::<Int64Type>().write_batch(&kept, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        let shares: Vec<f64> = group.iter().map(|r| r.2).collect();
        column.typed::<DoubleType>().write_batch(&shares, None, None).unwrap();
        column.close().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for row in group {
            if row.3.is_empty() {
                defined.push(1);
                repeated.push(0);
            }
            for (i, text) in row.3.iter().enumerate() {
                values.push(*text);
                defined.push(3);
                repeated.push(i16::from(i > 0));
            }
        }
        let values = bytes(values);
        column.typed::<ByteArrayType>().write_batch(&values, Some(&defined), Some(&repeated)).unwrap();
        column.close().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        let images: Vec<ByteArray> = group.iter().map(|_| ByteArray::from(vec![255u8, 0, 254])).collect();
        column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
        column.close().unwrap();
        out.close().unwrap();
    }
    writer.close().unwrap();
}

pub(super) const ROWS: [(&str, i64, f64, &[&str]); 5] = [
    ("one", 1, 0.5, &["a", "b"]),
    ("zwei ü", -1, 1.5, &[]),
    ("", 3, -2.0, &["c"]),
    ("四", 4, 0.0, &["d", "e", "f"]),
    ("five\nlines", 5, 9.75, &["", "g"]),
];

#[test]
fn parquet_gives_back_what_was_written() {
    let zstd = Compression::ZSTD(Default::default());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd, Compression::GZIP(Default::default())] {
        let (_folder, path) = file("d.parquet", b"");
        write_parquet(&path, &ROWS, compression);
        let expected = ROWS.map(|(text, number, share, choices)| {
            let number = if number < 0 { Value::Null } else { number.into() };
            json!({"text": text, "number": number, "share": share, "choices": choices})
        });
        assert_eq!(docs(&path, &[]), objects(&expected), "{compression:?}");
        assert_eq!(read_texts(&spec(&path)).unwrap(), ROWS.map(|r| r.0.to_string()));
        let numbers: Vec<usize> = Docs::open(&path, &[]).unwrap().map(|row| row.unwrap().0).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_parquet_column_that_is_not_there_or_holds_no_text_is_named() {
    let (_folder, path) = file("d.parquet", b"");
    write_parquet(&path, &ROWS, Compression::SNAPPY);
    let text = message(read_texts(&format!("{}:tex", spec(&path))));
    assert!(text.contains("no column `tex`; did you mean `text`?") && text.contains("choices"), "{text}");
    let text = message(read_texts(&format!("{}:image", spec(&path))));
    assert!(text.contains("column `image` holds neither"), "{text}");
    let text = message(read_texts(&format!("{}:number", spec(&path))));
    assert!(text.contains("row 0 has no text in a field `number`"), "{text}");
}

#[test]
fn a_damaged_parquet_file_is_an_error_wherever_the_damage_is() {
    let (_folder, path) = file("d.parquet", b"");
    write_parquet(&path, &ROWS, Compression::UNCOMPRESSED);
    let whole = std::fs::read(&path).unwrap();
    let rows = |bytes: &[u8]| -> Result<Vec<Doc>, optrode::Error> {
        std::fs::write(&path, bytes).unwrap();
        Docs::open(&path, &[])?.map(|row| row.map(|r| r.1)).collect()
    };
    for length in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
        assert!(message(rows(&whole[..length])).contains("no parquet file"), "{length} bytes");
    }
    // No byte of the file may bring the program down; not every one is noticed, for pages have no checksum.
    let mut noticed = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        match rows(&damaged) {
            Err(error) => noticed += usize::from(error.to_string().contains("no parquet file")),
            Ok(read) => assert!(read.len() <= 100, "byte {at}"),
        }
    }
    assert!(noticed > whole.len() / 4, "{noticed} of {}", whole.len());
}

#[test]
fn objects_lists_tables_and_lines_are_read_alike() {
    let expected = objects(&[json!({"q": "one", "a": "1"}), json!({"q": "zwei ü", "a": "2"})]);
    let lines = "\u{feff}{\"q\": \"one\", \"a\": \"1\"}\r\n\n{\"q\": \"zwei ü\", \"a\": \"2\"}";
    let list = "[{\"q\": \"one\", \"a\": \"1\"},\n {\"q\": \"zwei ü\", \"a\": \"2\"}]";
    for (name, content) in [("d.jsonl", lines), ("d.json", list), ("d.tsv", "q\ta\none\t1\nzwei ü\t2\n")] {
        let (_folder, path) = file(name, content.as_bytes());
        assert_eq!(docs(&path, &[]), expected, "{name}");
        assert_eq!(read_texts(&format!("{}:q", spec(&path))).unwrap(), ["one", "zwei ü"]);
    }
    let (_folder, path) = file("d.tsv", "one\t1\nzwei ü\t2".as_bytes());
    assert_eq!(docs(&path, &["q", "a"]), expected);
    let (_folder, path) = file("d.txt", b"one\n\n two \n");
    assert_eq!(docs(&path, &[]), objects(&[json!({"text": "one"}), json!({"text": " two "})]));
    assert_eq!(read_texts(&spec(&path)).unwrap(), ["one\n\n two "], "a text file is one text");
}

#[test]
fn a_broken_line_is_named_by_its_number() {
    let cases: [(&str, &[u8], &str); 8] = [
        ("d.jsonl", b"{\"text\": \"a\"}\n\n{\"text\": \"b\"", "line 3 is no JSON"),
        ("d.jsonl", b"{\"text\": \"a\"}\n[1]", "line 2 is [1], expected a JSON object"),
        ("d.jsonl", b"{\"text\": \"a\"}\n{\"texts\": \"b\"}", "line 2 has no text in a field `text`"),
        ("d.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}", "line 2 is not UTF-8 at its byte 10"),
        ("d.json", b"[{\"text\": \"a\"}, 7]", "entry 1 is 7"),
        ("d.json", b"{\"text\": \"a\"}", "holds no list of objects"),
        ("d.tsv", b"text\tb\n1\t2\n3", "line 3 has 1 columns, expected 2 (text, b)"),
        ("d.txt", b"ab\xffc", "is not UTF-8"),
    ];
    for (name, content, expected) in cases {
        let (_folder, path) = file(name, content);
        let text = message(read_texts(&spec(&path)));
        assert!(text.contains(expected), "{name}: {text}");
    }
    let (_folder, path) = file("d.jsonl", b"{\"body\": \"a\", \"n\": 1}");
    let text = message(read_texts(&spec(&path)));
    assert!(text.contains("the line has: body, n"), "{text}");
}

#[test]
fn a_file_without_text_or_of_an_unknown_place_is_an_error() {
    for (name, content) in [("d.txt", ""), ("d.txt", "\n\n"), ("d.jsonl", ""), ("d.jsonl", "{\"text\": \"\"}")] {
        let (_folder, path) = file(name, content.as_bytes());
        assert!(message(read_texts(&spec(&path))).contains("holds no text"), "{name} {content:?}");
    }
    let (folder, path) = file("d.txt", b"a");
    assert!(message(read_texts("nowhere/at/all.txt")).contains("no such file"));
    assert!(message(read_texts(&spec(folder.path()))).contains("expected one file of texts"));
    assert!(message(read_texts(&format!("{}:f", spec(&path)))).contains("a text file has no fields"));
}

#[test]
fn a_folder_of_files_is_a_set_of_texts_each() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "de.txt", "eins\nzwei\n\ndrei".as_bytes());
    put(folder.path(), "more/en.jsonl", b"{\"text\": \"one\"}\n{\"text\": \"two\"}");
    put(folder.path(), "README.md", b"# no");
    put(folder.path(), ".hidden.txt", b"no");
    let sets = read_text_sets(&spec(folder.path()), &offline()).unwrap();
    let found: Vec<(&str, Vec<&str>)> =
        sets.iter().map(|s| (s.name.as_str(), s.texts.iter().map(String::as_str).collect())).collect();
    assert_eq!(found, [("de", vec!["eins", "zwei", "drei"]), ("more/en", vec!["one", "two"])]);
    let single = read_text_sets(&spec(&folder.path().join("de.txt")), &offline()).unwrap();
    assert_eq!((single[0].name.as_str(), single[0].texts.len()), ("de", 3));
    let empty = tempfile::tempdir().unwrap();
    assert!(message(read_text_sets(&spec(empty.path()), &offline())).contains("has no files"));
    put(empty.path(), "README.md", b"# no");
    assert!(message(read_text_sets(&spec(empty.path()), &offline())).contains("no file of texts"));
}
