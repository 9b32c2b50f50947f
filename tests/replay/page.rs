//! The page with charts: well-formed, and in need of nothing but itself.

use tollway::replay::html;

use crate::comparison::{compared, quickest};

#[test]
fn the_page_is_well_formed_and_fetches_nothing() {
    let page = html::page(&compared(&quickest(), 1, 0));
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
    assert!(page.contains("other &lt;&amp;&quot;&gt;") && !page.contains("other <&"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert_eq!(page.matches("<svg").count(), 5, "three charts, and one a side");
    for odd in ["NaN", "inf ", "inf\"", "inf."] {
        assert!(!page.contains(odd), "a number that is none: {odd}");
    }
    balanced(&page);
}

/// Every element that is opened is closed, in order, and every attribute is quoted.
fn balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        let (tag, after) = rest[at + 1..].split_once('>').unwrap();
        assert!(!tag.contains('<'), "a stray < before {tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
