//! Pages of other origins that may call.

use std::time::Duration;

use crate::config::document::TollwayDocument;
use crate::config::read::Reader;
use crate::config::snapshot::Cors;

/// How long a browser may keep the answer to a preflight where nobody says.
const MAX_AGE: Duration = Duration::from_mins(10);

pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument) -> Option<Cors> {
    let typed = document.cors.as_ref()?;
    let Some(listed) = typed.origins.as_ref().filter(|origins| !origins.value.is_empty()) else {
        reader.missing(
            typed.spot,
            &["origins"],
            "`cors` needs `origins`",
            Some("leave it out to let none call".to_owned()),
        );
        return None;
    };
    let mut origins = Vec::new();
    for origin in listed.value.iter().filter(|origin| &*origin.0 != "*") {
        if is_origin(&origin.0) {
            origins.push(origin.0.clone());
        } else {
            let help =
                "write it as a browser does: https://app.example, http://localhost:5173, or *".to_owned();
            reader.error(origin.spot, &format!("`{}` is not an origin", origin.0), Some(help));
        }
    }
    let any = listed.value.iter().any(|origin| &*origin.0 == "*");
    let max_age = typed.max_age.as_ref().map_or(MAX_AGE, |age| age.0);
    Some(Cors { origins, any, max_age })
}

/// A scheme and a host in lower case, a port maybe, and nothing behind it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@\\".contains(&byte);
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
        && !host.is_empty()
        && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in
            ["https://app.example", "http://localhost:5173", "http://[::1]:3000", "chrome-extension://abc"]
        {
            assert!(is_origin(good), "{good}");
        }
        for bad in
            ["app.example", "https://", "https://app.example/", "https://App.example", "null", "https://a b"]
        {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
