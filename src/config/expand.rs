//! `${VAR}` in values: filled in after parsing, so that what a variable holds can never add structure.

use super::environment::Environment;

/// Why a text could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// A variable without default is unset or empty; with the message of `${VAR:?message}`.
    Unset { variable: String, message: Option<String> },
    /// The text between the braces means nothing.
    Malformed(String),
}

/// `text` with `${VAR}`, `${VAR:-default}`, `${VAR:?message}` filled in and `$$` made `$`. An empty variable counts as unset.
pub(super) fn expand(text: &str, environment: &dyn Environment) -> Result<String, Unfilled> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            filled.push('$');
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = inner.find('}') else {
                return Err(Unfilled::Malformed(
                    "`${` has no closing `}`; write `$$` for a plain `$`".to_owned(),
                ));
            };
            filled.push_str(&value_of(&inner[..end], environment)?);
            rest = &inner[end + 1..];
        } else {
            filled.push('$');
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value_of(reference: &str, environment: &dyn Environment) -> Result<String, Unfilled> {
    let end = reference.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(reference.len());
    let (name, operator) = reference.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Unfilled::Malformed(format!("`${{{reference}}}` does not start with a variable's name")));
    }
    let value = environment.variable(name).filter(|value| !value.is_empty());
    let unset = |message: Option<&str>| Unfilled::Unset {
        variable: name.to_owned(),
        message: message.map(str::to_owned),
    };
    match (value, operator.get(..2)) {
        (Some(value), _) if operator.is_empty() || matches!(operator.get(..2), Some(":-" | ":?")) => {
            Ok(value)
        }
        (None, None) if operator.is_empty() => Err(unset(None)),
        (None, Some(":-")) => Ok(operator[2..].to_owned()),
        (None, Some(":?")) => Err(unset(Some(&operator[2..]))),
        _ => Err(Unfilled::Malformed(format!(
            "`${{{reference}}}` is none of `${{VAR}}`, `${{VAR:-default}}`, `${{VAR:?message}}`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::SecretString;

    use super::super::environment::SecretFileError;
    use super::*;

    struct Two;

    impl Environment for Two {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "A" => Some("one\nlisten: evil".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }
        fn secret_file(&self, _: &Path) -> Result<SecretString, SecretFileError> {
            Err(SecretFileError::Empty)
        }
    }

    #[test]
    fn the_four_forms() {
        assert_eq!(expand("x${A}y", &Two).unwrap(), "xone\nlisten: evily");
        assert_eq!(expand("${B:-d}", &Two).unwrap(), "d");
        assert_eq!(expand("${EMPTY:-d}", &Two).unwrap(), "d");
        assert_eq!(expand("$${A} $5 $", &Two).unwrap(), "${A} $5 $");
        let unset = |message: Option<&str>| Unfilled::Unset {
            variable: "B".into(),
            message: message.map(Into::into),
        };
        assert_eq!(expand("${B}", &Two).unwrap_err(), unset(None));
        assert_eq!(expand("${B:?why}", &Two).unwrap_err(), unset(Some("why")));
        for odd in ["${", "${}", "${A", "${1A}", "${A-b}", "${A:+b}", "${B:+b}", "${A:}"] {
            assert!(matches!(expand(odd, &Two), Err(Unfilled::Malformed(_))), "{odd}");
        }
    }
}
