//! Chat templates: the forms they come in, what transformers gives them, and what they may not do.

use optrode::store::{ChatTemplate, Message};
use serde_json::{Map, Value, json};

use super::message;

fn turns() -> Vec<Message> {
    vec![
        Message::new("system", "Be kind."),
        Message::new("user", " Hi <b>\"you\"</b> "),
        Message::new("assistant", "Hello"),
        Message::new("user", "Bye"),
    ]
}

fn tokens() -> Map<String, Value> {
    let json = json!({"bos_token": "<s>", "eos_token": "</s>"});
    json.as_object().unwrap().clone()
}

const CHATML: &str = "{% for message in messages %}
    {% if loop.first and messages[0]['role'] != 'system' %}
    {{ '<|im_start|>system\\nDefault<|im_end|>\\n' }}
    {% endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{% endif %}";

#[test]
fn a_chatml_template_gives_its_text() {
    let template = ChatTemplate::from_text(CHATML, tokens());
    let text = template.render(&turns()[1..], true).unwrap();
    // What transformers 5.23 gives: `lstrip_blocks` spares the spaces before `{{`, and `-}}` at the end of the
    // template takes nothing from the text before it.
    assert_eq!(
        text,
        "    <|im_start|>system\nDefault<|im_end|>\n\n<|im_start|>user\n Hi <b>\"you\"</b> <|im_end|>\n\
         <|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n\n"
    );
    assert!(!template.render(&turns(), false).unwrap().ends_with("assistant\n\n"));
}

#[test]
fn python_methods_and_special_tokens_are_there() {
    let text = |source| ChatTemplate::from_text(source, tokens()).render(&turns(), false).map_err(|e| e.to_string());
    let source = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[{{ m.content.strip().upper() }}]\
                  {% elif m.get('role').startswith('assist') %}{% generation %}{{ m.content }}{{ eos_token }}\
                  {% endgeneration %}{% else %}{% continue %}{% endif %}{% endfor %}{{ tools is none }}";
    assert_eq!(text(source).unwrap(), "<s>[HI <B>\"YOU\"</B>]Hello</s>[BYE]True");
    let tags = "a{%- generation -%} b {% endgeneration %}{% if messages %}c{% endif %}";
    assert_eq!(text(tags).unwrap(), "ab c");
}

#[test]
fn dates_are_those_of_today() {
    let text = |source| ChatTemplate::from_text(source, tokens()).render(&turns(), false);
    let today = || chrono::Utc::now().date_naive();
    let before = today();
    let said = text("{{ strftime_now('%d %m %Y, 100%%') }}").unwrap();
    let spelled = text("{{ strftime_now('%A %B %p') }}").unwrap();
    let possible = [before, today()].map(|day| day.format("%d %m %Y, 100%%").to_string());
    assert!(possible.contains(&said), "{said}");
    assert_eq!(spelled.split(' ').count(), 3, "{spelled}");
    let error = text("{{ strftime_now('%Q') }}").unwrap_err().to_string();
    assert!(error.contains("strftime_now") && error.contains("%Q"), "{error}");
}

/// Constructs of the templates of Llama, Qwen and Gemma in one; the text is what transformers 5.23 gives for it.
const MANY: &str = include_str!("many.jinja");

#[test]
fn the_constructs_of_large_models_give_the_text_of_transformers() {
    let mut turns = turns();
    turns[2].content = "<think>\nhm\n</think>\n\nHello".to_string();
    let text = ChatTemplate::from_text(MANY, tokens()).render(&turns, true).unwrap();
    assert_eq!(text, include_str!("many.txt").strip_suffix('\n').unwrap());
    let source = "{{ 1.0 }}{{ none }}{{ true }}|{{ 7 // 2 }}{{ 7 / 2 }}";
    let text = ChatTemplate::from_text(source, tokens()).render(&turns, true).unwrap();
    assert_eq!(text, "1.0NoneTrue|33.5");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let source = "{{ tools | tojson }}|{{ tools | tojson(indent=2) }}";
    let tools = json!([{"name": "f<x>", "z": 1, "a": [true, null, "ä"], "e": {}}]);
    let variables = Map::from_iter([("tools".to_string(), tools)]);
    let text = ChatTemplate::from_text(source, tokens()).render_with("default", &[], false, &variables).unwrap();
    let flat = r#"[{"name": "f<x>", "z": 1, "a": [true, null, "ä"], "e": {}}]"#;
    let deep = "[\n  {\n    \"name\": \"f<x>\",\n    \"z\": 1,\n    \"a\": [\n      true,\n      null,\n      \"ä\"\n    ],\n    \"e\": {}\n  }\n]";
    assert_eq!(text, format!("{flat}|{deep}"));
}

#[test]
fn refusals_and_mistakes_of_a_template_are_told() {
    let render = |source: &str| message(ChatTemplate::from_text(source, tokens()).render(&turns(), false));
    let text = render("{{ raise_exception('roles must alternate') }}");
    assert!(text.contains("refuses this conversation at line 1: roles must alternate"), "{text}");
    assert!(render("a\n{% if %}").contains("cannot be read at line 2"));
    assert!(render("{{ messages[0].content.nothing.more }}").contains("refuses"));
    assert!(render("{% include '/etc/passwd' %}").contains("refuses"));
}

#[test]
fn a_template_cannot_run_or_write_for_ever() {
    let render = |source: &str| message(ChatTemplate::from_text(source, tokens()).render(&turns(), false));
    let text =
        render("{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}");
    assert!(text.contains("steps"), "{text}");
    let text = render("{% set x = 'x' * 1000000 %}{% for a in range(9999) %}{{ x }}{% endfor %}");
    assert!(text.contains("refuses"), "{text}");
    assert!(render("{{ 'x' * 10000000000 }}").contains("too large"));
}

#[test]
fn a_template_is_found_in_each_of_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(ChatTemplate::open(folder.path()).unwrap().is_none());
    let config = json!({
        "bos_token": {"content": "<s>"},
        "chat_template": [{"name": "default", "template": "{{ bos_token }}d"}, {"name": "rag", "template": "r"}],
    });
    std::fs::write(at("tokenizer_config.json"), config.to_string()).unwrap();
    let template = ChatTemplate::open(folder.path()).unwrap().unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<s>d");
    assert_eq!(template.render_with("rag", &[], false, &Map::new()).unwrap(), "r");
    let text = message(template.render_with("tool", &[], false, &Map::new()));
    assert!(text.contains("this model has: default, rag"), "{text}");
    std::fs::write(at("chat_template.jinja"), "{{ bos_token }}file").unwrap();
    let template = ChatTemplate::open(folder.path()).unwrap().unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<s>file");
    std::fs::remove_file(at("chat_template.jinja")).unwrap();
    std::fs::write(at("tokenizer_config.json"), r#"{"chat_template": 3}"#).unwrap();
    assert!(message(ChatTemplate::open(folder.path())).contains("neither a text nor a list"));
}
