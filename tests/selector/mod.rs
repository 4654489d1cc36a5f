//! The selector grammar: what it matches, what it refuses and with which words.

mod properties;

use optrode::Error;
use optrode::hook::{Axis, IndexList, Kind, Phase, Positions, Selector, Site, SiteTable};

const LAYERS: usize = 12;

fn add(table: &mut SiteTable, name: &str, axes: &[(Axis, Option<usize>)]) -> optrode::hook::SiteId {
    table.push(Site {
        timed: false,
        name: name.to_string(),
        layer: None,
        axes: axes.iter().map(|(axis, _)| *axis).collect(),
        sizes: axes.iter().map(|(_, size)| *size).collect(),
        kind: Kind::Raw,
        on_demand: false,
        meaning: "",
    })
}

/// A network with grouped-query attention and an extra simulated population.
fn table() -> SiteTable {
    use Axis::*;
    let mut t = SiteTable::default();
    let stream = [(Batch, None), (Pos, None), (DModel, Some(768))];
    let one = [(Batch, None), (Pos, None), (One, Some(1))];
    let neurons = [(Batch, None), (Pos, None), (Neuron, Some(3072))];
    let heads = [(Batch, None), (Pos, None), (Head, Some(8)), (DHead, Some(64))];
    let shared = [(Batch, None), (Pos, None), (KvHead, Some(2)), (DHead, Some(64))];
    let square = [(Batch, None), (Head, Some(8)), (Query, None), (Key, None)];
    add(&mut t, "hook_embed", &stream);
    for l in 0..LAYERS {
        let b = |name: &str| format!("blocks.{l}.{name}");
        add(&mut t, &b("hook_resid_pre"), &stream);
        add(&mut t, &b("ln1.hook_scale"), &one);
        add(&mut t, &b("attn.hook_q"), &heads);
        add(&mut t, &b("attn.hook_k"), &shared);
        add(&mut t, &b("attn.hook_v"), &shared);
        add(&mut t, &b("attn.hook_pattern"), &square);
        add(&mut t, &b("attn.hook_z"), &heads);
        add(&mut t, &b("hook_attn_out"), &stream);
        add(&mut t, &b("hook_resid_mid"), &stream);
        add(&mut t, &b("mlp.hook_pre"), &neurons);
        add(&mut t, &b("mlp.hook_post"), &neurons);
        let out = add(&mut t, &b("hook_mlp_out"), &stream);
        t.alias(format!("model.layers.{l}.mlp.down_proj"), out);
        add(&mut t, &b("hook_resid_post"), &stream);
    }
    add(&mut t, "ln_final.hook_scale", &one);
    add(&mut t, "res.hook_spikes", &[(Batch, None), (Time, None), (Neuron, Some(400))]);
    t
}

fn parse(text: &str) -> Selector {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn names(text: &str) -> Vec<String> {
    let found = parse(text).resolve(&table()).unwrap_or_else(|e| panic!("{text}: {e}"));
    found.sites.into_iter().map(|s| s.name).collect()
}

fn refusal(text: &str) -> String {
    match text.parse::<Selector>().and_then(|s| s.resolve(&table())) {
        Ok(found) => panic!("{text} was accepted: {found:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn patterns_select_the_sites_they_describe() {
    let cases: &[(&str, &[&str])] = &[
        ("hook_embed", &["hook_embed"]),
        ("blocks.{1,4}.hook_resid_post", &["blocks.1.hook_resid_post", "blocks.4.hook_resid_post"]),
        ("blocks.{9..}.attn.hook_z", &["blocks.9.attn.hook_z", "blocks.10.attn.hook_z", "blocks.11.attn.hook_z"]),
        ("blocks.{..2}.attn.hook_z", &["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]),
        ("blocks.{0..=1}.attn.hook_z", &["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]),
        ("blocks.{-1}.attn.hook_z", &["blocks.11.attn.hook_z"]),
        (
            "blocks.{0,-2..}.hook_mlp_out",
            &["blocks.0.hook_mlp_out", "blocks.10.hook_mlp_out", "blocks.11.hook_mlp_out"],
        ),
        ("blocks.3.attn.hook_{q,k}", &["blocks.3.attn.hook_q", "blocks.3.attn.hook_k"]),
        (
            "blocks.{1}.attn.*",
            &[
                "blocks.1.attn.hook_q",
                "blocks.1.attn.hook_k",
                "blocks.1.attn.hook_v",
                "blocks.1.attn.hook_pattern",
                "blocks.1.attn.hook_z",
            ],
        ),
        ("**{5}.**hook_post", &["blocks.5.mlp.hook_post"]),
        ("**spikes", &["res.hook_spikes"]),
        ("*", &["hook_embed"]),
        ("*.hook_scale", &["ln_final.hook_scale"]),
    ];
    for (text, expected) in cases {
        assert_eq!(names(text), *expected, "{text}");
    }
    assert_eq!(names("**").len(), table().len());
    assert_eq!(names("blocks.*.hook_resid_post").len(), LAYERS);
    assert_eq!(names("**.hook_pattern").len(), LAYERS);
}

#[test]
fn aliases_and_short_names_stand_for_full_names() {
    let cases: &[(&str, &[&str])] = &[
        ("model.layers.5.mlp.down_proj", &["blocks.5.hook_mlp_out"]),
        ("model.layers.{-1}.mlp.down_proj", &["blocks.11.hook_mlp_out"]),
        ("pre5", &["blocks.5.mlp.hook_pre"]),
        ("k6", &["blocks.6.attn.hook_k"]),
        ("k6a", &["blocks.6.attn.hook_k"]),
        ("scale4ln1", &["blocks.4.ln1.hook_scale"]),
        ("scale{4,5}ln1", &["blocks.4.ln1.hook_scale", "blocks.5.ln1.hook_scale"]),
        ("scale", &["ln_final.hook_scale"]),
        ("embed", &["hook_embed"]),
        ("attn2", &["blocks.2.attn.hook_pattern"]),
        ("mlp_post{0..2}", &["blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post"]),
        ("resid_pre3", &["blocks.3.hook_resid_pre"]),
        ("z{-1}", &["blocks.11.attn.hook_z"]),
        ("mlp_act.5", &["blocks.5.mlp.hook_post"]),
        ("mlp_act.{0,1}", &["blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post"]),
        ("resid_mid.2", &["blocks.2.hook_resid_mid"]),
        ("attn_out.11", &["blocks.11.hook_attn_out"]),
    ];
    for (text, expected) in cases {
        assert_eq!(names(text), *expected, "{text}");
    }
}

#[test]
fn a_site_of_the_network_goes_before_a_short_name() {
    let mut t = table();
    add(&mut t, "pre5", &[(Axis::Neuron, Some(3))]);
    let found = parse("pre5").resolve(&t).unwrap();
    assert_eq!(found.sites[0].name, "pre5");
}

#[test]
fn brackets_give_indices_per_dimension_in_ascending_order() {
    let found = parse("blocks.{1,4}.attn.hook_z[d_head=0..=2,-1][head=6]@last").resolve(&table()).unwrap();
    for site in &found.sites {
        assert_eq!(site.indices, [(2, vec![6]), (3, vec![0, 1, 2, 63])]);
    }
    let found = parse("pattern0[key=0,1..4]").resolve(&table()).unwrap();
    assert_eq!(found.sites[0].indices, [(3, vec![0, 1, 2, 3])]);
    // Values of an edit go by the order of the indices: another order, or a repeat, would misplace them.
    for list in ["5,3", "-1,0", "3,3", "0..4,2", "2..4,0"] {
        let refused = parse(&format!("blocks.0.mlp.hook_post[neuron={list}]")).resolve(&table()).unwrap_err();
        assert!(refused.to_string().contains("out of order or twice"), "{list}: {refused}");
    }
}

#[test]
fn scopes_are_read_in_any_order_with_their_defaults() {
    let s = parse("**.hook_pattern");
    assert_eq!((s.positions(), s.phase(), s.raw(), s.rows()), (&Positions::All, Phase::Any, false, None));
    assert!(s.time().is_all());
    let s = parse("embed@rows=0,2..4@raw@generated@-1");
    assert_eq!(s.positions().to_string(), "-1");
    assert_eq!(s.phase(), Phase::Generated);
    assert!(s.raw());
    assert_eq!(s.rows().map(|r| r.resolve(9).unwrap()), Some(vec![0, 2, 3]));
    let s = parse("res.hook_spikes@t=0..500@every=100");
    let steps: Vec<usize> = (0..1000).filter(|t| s.time().contains(*t, 1000)).collect();
    assert_eq!(steps, [0, 100, 200, 300, 400]);
}

#[test]
fn positions_are_counted_within_each_row() {
    let at = |text: &str, len: usize| -> Vec<usize> {
        let positions: Positions = text.parse().unwrap();
        (0..len + 3).filter(|i| positions.contains(*i, len)).collect()
    };
    assert_eq!(at("all", 3), [0, 1, 2]);
    assert_eq!(at("last", 3), [2]);
    assert_eq!(at("last", 0), [0; 0]);
    assert_eq!(at("-1,0", 4), [0, 3]);
    assert_eq!(at("1..9", 4), [1, 2, 3]);
    assert_eq!(at("-3..", 2), [0, 1]);
}

#[test]
fn the_canonical_text_leaves_out_defaults_and_sorts_brackets() {
    let cases = [
        ("blocks.{3..=7}.x[head=1][d_head=..2]@all", "blocks.{3..8}.x[d_head=0..2][head=1]"),
        ("a***b@rows=1@every=5@t=3@raw@prompt@last", "a**b@last@prompt@raw@t=3@every=5@rows=1"),
        ("a[neuron=007,2..=-1,..,0..=-2]", "a[neuron=7,2..,0..,0..-1]"),
        ("a@..", "a@0.."),
    ];
    for (text, canonical) in cases {
        assert_eq!(parse(text).to_string(), canonical);
        assert_eq!(parse(text), parse(canonical));
    }
}

#[test]
fn json_is_the_canonical_string() {
    let s = parse("k6[kv_head=1]@all@raw");
    assert_eq!(serde_json::to_string(&s).unwrap(), r#""k6[kv_head=1]@raw""#);
    assert!(serde_json::from_str::<Selector>(r#""k6@raw[kv_head=1]""#).is_err());
    assert_eq!(serde_json::from_str::<Selector>(r#""k6[kv_head=1]@raw""#).unwrap(), s);
    assert_eq!(serde_json::to_string(&Positions::Last).unwrap(), r#""last""#);
    let schema = schemars::schema_for!(Selector);
    assert_eq!(schema.get("type").and_then(|t| t.as_str()), Some("string"));
    assert!(schema.get("pattern").is_some() && schema.get("description").is_some(), "{schema:?}");
}

#[test]
fn syntax_errors_say_where_and_what_was_expected() {
    let cases = [
        ("", "cannot read `` at character 0: expected a site name, found the end"),
        ("[head=1]", "at character 0: expected a site name, found `[`"),
        ("a b", "at character 1: expected a site name, `*`, `{`, `[` or `@`, found ` `"),
        ("a}", "at character 1: expected a site name"),
        ("é.{", "at character 3: expected a number or a range, found the end"),
        ("a.{}", "at character 3: expected a number, a range or a word, found `}`"),
        ("a.{1,}", "at character 5: expected a number or a range, found `}`"),
        ("a.{q,1}", "at character 5: expected a word, found `1`"),
        ("a.{q;", "at character 4: expected `,` or `}`, found `;`"),
        ("a.{1", "at character 4: expected `,` or `}`, found the end"),
        ("a1{2}", "at character 2: numbers in braces are whole numbers"),
        ("a{1}{2}", "at character 4: numbers in braces are whole numbers"),
        ("a{5..3}", "at character 2: expected a range that names something, found an empty one"),
        ("a{5..=}", "at character 6: expected a number, found `}`"),
        ("a@-3..0", "at character 2: expected a range that names something"),
        ("a@-", "at character 3: expected a digit, found the end"),
        ("a@-0", "expected a number, found `-0`; the last index is `-1`"),
        ("a@9999999999999999", "at character 2: expected a number of at most 15 digits"),
        ("a[nueron=1]", "at character 2: expected an axis (head, kv_head, d_head, d_model, neuron"),
        ("a@..=999999999999999", "at character 5: expected a number below 999999999999999"),
        ("a[neuron]", "at character 8: expected `=`, found `]`"),
        ("a[neuron=1", "at character 10: expected `]`, found the end"),
        ("a[neuron=1][neuron=2]", "at character 12: the axis `neuron` is given twice"),
        ("a[batch=1]", "at character 2: `batch` cannot stand in brackets; rows are a scope: write `@rows="),
        ("a[pos=1]", "`pos` cannot stand in brackets; positions are a scope: write `@3`, `@0..5` or `@last`"),
        ("a[time=1]", "`time` cannot stand in brackets; time is a scope: write `@t=0..500`"),
        ("a[head=1]x", "at character 9: expected `[`, `@` or the end, found `x`"),
        ("a@last[head=1]", "at character 6: expected `@` or the end, found `[`"),
        ("a@frist", "at character 2: expected positions (`last`, `all`, `3`, `0..5`, `-1`), `prompt`"),
        ("a@t", "at character 3: expected `=`, found the end"),
        ("a@every=0", "at character 8: expected a number of steps, at least 1"),
        ("a@every=-2", "at character 8: expected a number of steps, at least 1"),
        ("a@last@3", "at character 7: a scope of this kind is given already"),
        ("a@prompt@generated", "at character 9: a scope of this kind is given already"),
        ("a@rows=1@rows=1", "at character 9: a scope of this kind is given already"),
    ];
    for (text, message) in cases {
        let error = text.parse::<Selector>().expect_err(text);
        assert!(matches!(error, Error::Syntax { .. }), "{text}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}

#[test]
fn overlong_text_is_refused_unread() {
    let error = "a".repeat(4097).parse::<Selector>().expect_err("too long").to_string();
    assert!(error.contains("expected at most 4096 bytes, found 4097"), "{error}");
    assert!(error.len() < 200);
    assert!("a".repeat(4096).parse::<Selector>().is_ok());
    // What reads must also write: `..` is written `0..`.
    let error = vec![".."; 1365].join(",").parse::<IndexList>().expect_err("too long").to_string();
    assert!(error.contains("expected at most 4096 bytes in canonical form, found 5459"), "{error}");
    assert!(format!("a@{}", vec![".."; 1364].join(",")).parse::<Selector>().is_err());
}

#[test]
fn an_index_beyond_the_site_is_an_error_that_names_sizes() {
    let message = refusal("pre5[neuron=12,3072]");
    assert!(message.contains("at `blocks.5.mlp.hook_pre` [batch, pos, neuron 3072], axis `neuron`"), "{message}");
    assert!(message.contains("`3072` is not within 0..3072"), "{message}");
    assert!(refusal("pre5[neuron=-3073]").contains("`-3073` is not within 0..3072"));
    assert!(refusal("pre5[neuron=9..-3070]").contains("`9..-3070` is not within 0..3072"));
    assert!(refusal("pattern1[key=-1]").contains("`-1` counts from an end that only the run knows"));
}

#[test]
fn huge_ranges_are_refused_before_they_are_expanded() {
    assert!(refusal("pre5[neuron=0..99999999999]").contains("`0..99999999999` is not within 0..3072"));
    assert!(refusal("pattern1[key=0..99999999999]").contains("`0..99999999999` is not within 0..1048576"));
    assert!(refusal("blocks.{0..99999999999}.attn.hook_z").contains("is not within 0..12"));
    let repeated: IndexList = vec!["0.."; 1000].join(",").parse().unwrap();
    assert_eq!(repeated.resolve(100_000).unwrap().len(), 100_000);
}

#[test]
fn layers_beyond_the_network_are_not_silently_dropped() {
    let message = refusal("blocks.{10..13}.attn.hook_z");
    assert!(
        message.contains("in `{10..13}` of `blocks.{10..13}.attn.hook_z`, `10..13` is not within 0..12"),
        "{message}"
    );
}

#[test]
fn a_missing_axis_is_an_error_that_lists_the_axes_there() {
    let message = refusal("blocks.*.hook_resid_post[neuron=3]");
    assert!(message.contains("`blocks.0.hook_resid_post` [batch, pos, d_model 768] has no axis `neuron`"), "{message}");
}

#[test]
fn a_query_head_of_a_shared_key_is_refused_with_the_reason() {
    let message = refusal("k6[head=3]");
    for part in ["kv_head 2", "grouped-query attention", "`[kv_head=...]`", "`hook_z`"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(refusal("z6[kv_head=1]").contains("use `[head=...]`"));
    assert_eq!(names("k6[kv_head=1]"), ["blocks.6.attn.hook_k"]);
}

#[test]
fn a_selector_that_matches_nothing_names_the_nearest_sites() {
    let nearest = |text: &str| match parse(text).resolve(&table()) {
        Err(Error::UnknownSite { name, nearest }) => {
            assert_eq!(name, parse(text).name());
            assert!(nearest.len() <= 5);
            nearest
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(nearest("blocks.3.mlp.hook_pots")[0], "blocks.3.mlp.hook_post");
    assert_eq!(nearest("blocks.40.mlp.hook_post")[0], "blocks.11.mlp.hook_post");
    assert_eq!(nearest("blocks.{40}.mlp.hook_post")[0], "blocks.11.mlp.hook_post");
    assert_eq!(nearest("hook_resid_post")[0], "blocks.0.hook_resid_post");
    assert_eq!(nearest("Blocks.7.attn.hook_z")[0], "blocks.7.attn.hook_z");
    assert_eq!(nearest("resid")[0], "blocks.0.hook_resid_mid");
    assert_eq!(nearest("**.hook_patern")[0], "blocks.0.attn.hook_pattern");
    assert_eq!(nearest("blocks.*.mlp.hook_pots")[0], "blocks.0.mlp.hook_post");
    assert_eq!(nearest("model.layers.5.mlp.down_prj")[0], "model.layers.5.mlp.down_proj");
    assert_eq!(nearest("transformer.blocks.3.hook_mlp_out")[0], "blocks.3.hook_mlp_out");
    assert_eq!(nearest("k99")[0], "blocks.11.attn.hook_k");
    assert_eq!(nearest("embd")[0], "hook_embed");
    assert_eq!(nearest("spike")[0], "res.hook_spikes");
    assert!(refusal("k99").starts_with("no site matches `k99`; nearest: "));
    assert_eq!(SiteTable::default().nearest("x"), [""; 0]);
}

#[test]
fn expect_asserts_the_number_of_sites_and_lists_them() {
    let found = parse("blocks.{0..2}.attn.hook_z").resolve(&table()).unwrap();
    assert_eq!(found.clone().expect(2).unwrap(), found);
    let message = found.expect(1).unwrap_err().to_string();
    assert!(message.contains("should be 1 but is 2: blocks.0.attn.hook_z, blocks.1.attn.hook_z"), "{message}");
}

#[test]
fn show_prints_one_line_per_site() {
    let t = table();
    let found = parse("blocks.{0,3}.mlp.hook_post[neuron=12,13,40,100..200]").resolve(&t).unwrap();
    assert_eq!(
        found.show(&t),
        "blocks.0.mlp.hook_post[neuron=12,13,40,100..200] of [batch, pos, neuron 3072]\n\
         blocks.3.mlp.hook_post[neuron=12,13,40,100..200] of [batch, pos, neuron 3072]\n"
    );
    let ids = ["blocks.0.mlp.hook_post", "blocks.3.mlp.hook_post"].map(|name| t.id(name).unwrap());
    assert_eq!(found.ids().collect::<Vec<_>>(), ids);
}
