//! Server-sent events, read the plain way: enough for a test to say what arrived.

/// One event: its data lines joined, and its name where it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event:` line.
    pub name: Option<String>,
    /// The `data:` lines, joined by newlines.
    pub data: String,
}

impl Event {
    /// The data as JSON; `None` for `[DONE]` and whatever else is not JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.data).ok()
    }

    /// Whether this is the closing mark.
    pub fn is_done(&self) -> bool {
        self.data.starts_with("[DONE]")
    }
}

/// Every whole event in `body`. Comments are left out; an event cut off at the end is not an event.
pub fn events(body: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    let mut from = 0;
    for end in data_ends(body) {
        found.extend(event(&body[from..end]));
        from = end;
    }
    found
}

/// For each event that has data, the offset just behind its closing blank line.
pub fn data_ends(body: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut line_start, mut has_data) = (0, false);
    for newline in memchr::memchr_iter(b'\n', body) {
        let line = body[line_start..newline].strip_suffix(b"\r").unwrap_or(&body[line_start..newline]);
        line_start = newline + 1;
        if line.is_empty() && has_data {
            ends.push(line_start);
            has_data = false;
        } else if line.starts_with(b"data:") {
            has_data = true;
        }
    }
    ends
}

fn event(block: &[u8]) -> Option<Event> {
    let text = String::from_utf8_lossy(block);
    let field = |line: &str, name: &str| {
        line.strip_prefix(name).map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let data: Vec<_> = text.lines().filter_map(|line| field(line, "data:")).collect();
    let name = text.lines().find_map(|line| field(line, "event:"));
    (!data.is_empty()).then(|| Event { name, data: data.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_crlf_and_missing_spaces_are_understood() {
        let body = b": hello\n\ndata:{\"a\":1}\r\n\r\nevent: x\ndata: [DONE]\n\ndata: cut";
        let found = events(body);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].json().unwrap()["a"], 1);
        assert!(found[1].is_done());
        assert_eq!(found[1].name.as_deref(), Some("x"));
        assert_eq!(data_ends(body).len(), 2);
    }
}
