//! The TOML form of the file: the same keys at the top level, with TOML's quoting.

use toml::de::{DeTable, DeValue};

use super::entry::{Entry, Fault};

/// Reads the keys in the order of their lines.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Fault> {
    let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(1, |span| line(span.start));
        let message = error.message().replace('\n', ", ");
        Fault::at(at, None, format!("is not TOML: {message}"))
    })?;
    let mut keys: Vec<_> = table.into_inner().into_iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let (mut entries, mut at, mut counted) = (Vec::new(), 1, 0);
    for (key, value) in keys {
        let start = key.span().start.min(text.len());
        at += text[counted..start].matches('\n').count();
        counted = start;
        let name = key.into_inner().into_owned();
        let value =
            plain(value.into_inner()).map_err(|problem| Fault::at(at, Some(&name), problem))?;
        entries.push(Entry {
            key: name,
            value,
            line: at,
        });
    }
    Ok(entries)
}

fn plain(value: DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.into_owned()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Array(items) => {
            let words: Result<Vec<String>, String> = items
                .into_iter()
                .map(|item| plain(item.into_inner()))
                .collect();
            Ok(words?.join(" "))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Err(
            "has a value of another kind: a text in quotes, a whole number, true or false is allowed"
                .to_owned(),
        ),
    }
}
