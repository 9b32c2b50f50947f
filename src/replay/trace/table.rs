//! Traces as CSV with a line a request: `t_ms`, `in_tokens`, `out_tokens`, and who asked (`client` or `key`) if that is
//! known. Columns go by their names, in any order; further ones are left alone.

use std::io::BufRead;

use super::build::{Builder, Request};
use super::load::{Error, Fault, Lines, Load, has_room, micros, tokens};
use crate::config::problem::nearest;

/// What a table's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests by time.
    Requests,
    /// Requests of sessions that begin we know not when.
    Sessions,
}

/// The names of a table's columns.
#[derive(Debug)]
pub(crate) struct Header {
    names: Vec<String>,
}

const REQUESTS: [&str; 3] = ["t_ms", "in_tokens", "out_tokens"];
const SESSIONS: [&str; 7] =
    ["session", "seq", "t_ms", "in_tokens", "out_tokens", "shared_with", "shared_tokens"];

impl Header {
    pub(crate) fn new(line: &str) -> Self {
        Self { names: line.split(',').map(|name| name.trim().to_owned()).collect() }
    }

    pub(super) fn kind(&self) -> Result<Kind, Fault> {
        let wanted: &[&str] = if self.place("session").is_some() { &SESSIONS } else { &REQUESTS };
        let Some(missing) = wanted.iter().find(|name| self.place(name).is_none()) else {
            return Ok(if wanted.len() == SESSIONS.len() { Kind::Sessions } else { Kind::Requests });
        };
        let what = format!("the table has no column `{missing}`; it has {}", self.shown());
        let fix = match nearest(missing, self.names.iter().map(String::as_str)) {
            Some(near) => format!("if `{near}` is that column, name it `{missing}`"),
            None => format!(
                "the first line names the columns: {} (or those of sessions: {})",
                REQUESTS.join(","),
                SESSIONS.join(",")
            ),
        };
        Err(Fault::new(what, fix))
    }

    fn shown(&self) -> String {
        let shown: String = self.names.join(", ").chars().filter(|c| !c.is_control()).take(120).collect();
        format!("`{shown}`")
    }

    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The columns of one row.
    pub(crate) fn row<'l>(&self, line: &'l str) -> Row<'l, '_> {
        Row { cells: line.split(',').map(str::trim).collect(), header: self }
    }
}

/// One row.
pub(crate) struct Row<'l, 'h> {
    cells: Vec<&'l str>,
    header: &'h Header,
}

impl<'l> Row<'l, '_> {
    pub(crate) fn text(&self, name: &str) -> Result<&'l str, Fault> {
        let cell = self.header.place(name).and_then(|place| self.cells.get(place));
        cell.copied().filter(|cell| !cell.is_empty()).ok_or_else(|| {
            Fault::new(
                format!("the row has no `{name}`"),
                format!("{} cells, one for each of the first line's names", self.header.names.len()),
            )
        })
    }

    pub(crate) fn number(&self, name: &str) -> Result<f64, Fault> {
        let text = self.text(name)?;
        let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => {
                Err(Fault::new(format!("`{name}` must be a number, not `{shown}`"), "a plain decimal number"))
            }
        }
    }

    pub(crate) fn tokens(&self, name: &str) -> Result<u32, Fault> {
        let text = self.text(name)?;
        let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        let whole = text.parse::<u64>().map_err(|_| {
            Fault::new(
                format!("`{name}` must be a number of tokens, not `{shown}`"),
                "a whole number, 0 or more",
            )
        })?;
        tokens(whole, name)
    }
}

pub(super) fn read<R: BufRead>(
    lines: &mut Lines<R>,
    header: &Header,
    options: &Load,
    builder: &mut Builder,
) -> Result<(), Error> {
    let who = ["key", "client"].into_iter().find(|name| header.place(name).is_some());
    while has_room(builder, options) {
        let Some(line) = lines.next()? else { return Ok(()) };
        if let Err(fault) = row(&header.row(line), who, builder) {
            return Err(lines.fault(fault));
        }
    }
    Ok(())
}

fn row(row: &Row<'_, '_>, who: Option<&str>, builder: &mut Builder) -> Result<(), Fault> {
    let request = Request {
        at_us: micros(row.number("t_ms")?, "t_ms")?,
        prompt_tokens: row.tokens("in_tokens")?,
        output_tokens: row.tokens("out_tokens")?,
        key: builder.key(who.map_or(Ok("default"), |who| row.text(who))?),
        model: builder.model("default"),
        ..Request::default()
    };
    builder.push(request, |_| {});
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::replay::trace::{Error, Load, read};

    fn fault(text: &str) -> String {
        read(text, "x.csv", &Load::default()).unwrap_err().to_string()
    }

    #[test]
    fn columns_go_by_name_and_rows_come_out_by_time() {
        let text = "out_tokens,t_ms,more,in_tokens,client\n5,2000,x,50,b\n\n4,1000.5,x,40,a\n6,3000,x,60,b\n";
        let trace = read(text, "x.csv", &Load::default()).unwrap();
        let seen: Vec<_> = trace
            .arrivals
            .iter()
            .map(|a| (a.at_us, a.prompt_tokens, a.output_tokens, &*trace.keys[a.key as usize], a.links))
            .collect();
        assert_eq!(
            seen,
            [(1_000_500, 40, 4, "a", 0), (2_000_000, 50, 5, "b", 0), (3_000_000, 60, 6, "b", 0)]
        );
        assert_eq!((trace.name.as_str(), trace.span_us()), ("x", 1_999_500));
        assert_eq!(
            read(text, "x.csv", &Load { limit: Some(1), ..Load::default() }).unwrap().arrivals.len(),
            1
        );
    }

    #[test]
    fn a_wrong_line_is_named_with_what_would_be_right() {
        let seen = fault("t_ms,in_tokens,out_tokens\n0,1,1\n5,many,1\n");
        assert!(seen.starts_with("x.csv:3: `in_tokens` must be a number of tokens, not `many`"), "{seen}");
        let seen = fault("t_ms,in_tokens,out_tokens\n0,1\n");
        assert!(seen.starts_with("x.csv:2: the row has no `out_tokens`"), "{seen}");
        let seen = fault("t_ms,in_token,out_tokens\n0,1,1\n");
        assert!(seen.contains("if `in_token` is that column, name it `in_tokens`"), "{seen}");
        let seen = fault("t_ms,in_tokens,out_tokens\n-1,1,1\n");
        assert!(seen.starts_with("x.csv:2: `t_ms` must be milliseconds"), "{seen}");
        let seen = fault("t_ms,in_tokens,out_tokens\n1,99999999999,1\n");
        assert!(seen.contains("which no model takes"), "{seen}");
        assert!(fault("\u{1}\u{2},\u{1b}[0m\n").contains("the first line names the columns"));
        for empty in ["", "\n\n", "t_ms,in_tokens,out_tokens\n"] {
            assert!(matches!(read(empty, "x", &Load::default()), Err(Error::Empty { .. })), "{empty:?}");
        }
    }
}
