//! Whether a document is as `docs/cls.schema.json` says, which is for those who read what the commands print.

use serde_json::Value;

/// Checks a document against `docs/cls.schema.json`, as far as that goes: every name that is there is in the schema,
/// is of its type, and none is missing.
///
/// # Panics
/// It is not so.
pub fn follows_the_schema(document: &Value, which: &str) {
    let text = include_str!("../../docs/cls.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap_or_default();
    let wanted = &schema["$defs"][which];
    assert!(wanted.is_object(), "the schema has no {which}");
    checked(&schema, wanted, document, which);
}

fn checked(all: &Value, wanted: &Value, value: &Value, at: &str) {
    if let Some(name) = wanted["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        let named = &all["$defs"][name];
        assert!(named.is_object(), "the schema has no {name}");
        return checked(all, named, value, at);
    }
    if let Some(possible) = wanted["enum"].as_array() {
        assert!(
            possible.contains(value),
            "{at}: {value} is none of {possible:?}"
        );
    }
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |word: &Value| word == own || (word == "number" && own == "integer");
    match &wanted["type"] {
        Value::Array(words) => assert!(words.iter().any(is), "{at}: {value}"),
        Value::Null => {}
        word => assert!(is(word), "{at}: {value}"),
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        checked(all, &wanted["items"], item, &format!("{at}[{number}]"));
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for name in wanted["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        assert!(object.contains_key(name), "{at} has no {name}: {value}");
    }
    for (name, inner) in object {
        let at = format!("{at}.{name}");
        match (&wanted["properties"][name], &wanted["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => {
                panic!("the schema does not have {at}")
            }
            (Value::Null, other) => checked(all, other, inner, &at),
            (known, _) => checked(all, known, inner, &at),
        }
    }
}
