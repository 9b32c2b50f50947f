//! Edits to a JSON object without writing it anew: untouched members go on as slices of the bytes that came.

use bytes::Bytes;
use smallvec::SmallVec;

use super::scan::{self, Fault, Scanner, Span};

/// One member of an object: where its key (quotes included) and its value stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Span of the key with its quotes.
    pub key: Span,
    /// Span of the value.
    pub value: Span,
}

/// The members of the object that begins here, in order.
pub fn members(scanner: &mut Scanner<'_>) -> Result<Vec<Member>, Fault> {
    let mut walk = scanner.enter_object()?;
    let mut members = Vec::with_capacity(16);
    while let Some(key) = walk.next(scanner)? {
        let value = scanner.value()?;
        members.push(Member { key, value });
    }
    Ok(members)
}

/// The one of `members` of the object in `body` that is called `key`, by its place.
pub fn member<'m>(body: &[u8], members: &'m [Member], key: &str) -> Option<(usize, &'m Member)> {
    members.iter().enumerate().find(|(_, member)| scan::says(body, &member.key, key))
}

/// What happens to one member.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Its value becomes these bytes.
    Replace(usize, Bytes),
    /// Its key becomes these bytes (quotes included).
    Rename(usize, Bytes),
    /// It is left out.
    Remove(usize),
    /// A member (`"key":value`) is added at the end.
    Append(Bytes),
}

/// The pieces of an edited body, in order.
pub type Pieces = SmallVec<[Bytes; 8]>;

/// `body` with `edits` applied; `members` are the members of its outermost object in order.
pub fn splice(body: &Bytes, members: &[Member], edits: &[Edit]) -> Pieces {
    if edits.is_empty() {
        return SmallVec::from_iter([body.clone()]);
    }
    let Some(first) = members.first() else { return splice_empty(body, edits) };
    let mut pieces = Writer { body, pieces: Pieces::new(), run: 0..first.key.start };
    let mut kept_any = false;
    let mut previous_end = first.key.start;
    let mut previous_kept = true;
    for (index, member) in members.iter().enumerate() {
        let of_member = |edit: &&Edit| match edit {
            Edit::Replace(at, _) | Edit::Rename(at, _) | Edit::Remove(at) => *at == index,
            Edit::Append(_) => false,
        };
        if edits.iter().filter(of_member).any(|edit| matches!(edit, Edit::Remove(_))) {
            previous_kept = false;
            continue;
        }
        if previous_kept {
            pieces.keep(previous_end..member.key.start);
        } else if kept_any {
            pieces.insert(Bytes::from_static(b","));
        }
        let mut key = None;
        let mut value = None;
        for edit in edits.iter().filter(of_member) {
            match edit {
                Edit::Replace(_, bytes) => value = Some(bytes.clone()),
                Edit::Rename(_, bytes) => key = Some(bytes.clone()),
                Edit::Remove(_) | Edit::Append(_) => {}
            }
        }
        pieces.keep_or(member.key.clone(), key);
        pieces.keep(member.key.end..member.value.start);
        pieces.keep_or(member.value.clone(), value);
        previous_end = member.value.end;
        previous_kept = true;
        kept_any = true;
    }
    for edit in edits {
        if let Edit::Append(bytes) = edit {
            if kept_any {
                pieces.insert(Bytes::from_static(b","));
            }
            pieces.insert(bytes.clone());
            kept_any = true;
        }
    }
    let tail = members.last().map_or(0, |last| last.value.end);
    pieces.keep(tail..body.len());
    pieces.finish()
}

fn splice_empty(body: &Bytes, edits: &[Edit]) -> Pieces {
    let open = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
    let mut pieces = Writer { body, pieces: Pieces::new(), run: 0..open };
    let mut first = true;
    for edit in edits {
        if let Edit::Append(bytes) = edit {
            if !first {
                pieces.insert(Bytes::from_static(b","));
            }
            pieces.insert(bytes.clone());
            first = false;
        }
    }
    pieces.keep(open..body.len());
    pieces.finish()
}

/// Collects slices, joining those that follow each other in the original.
struct Writer<'a> {
    body: &'a Bytes,
    pieces: Pieces,
    run: Span,
}

impl Writer<'_> {
    fn keep(&mut self, span: Span) {
        if self.run.end == span.start {
            self.run.end = span.end;
        } else {
            self.flush();
            self.run = span;
        }
    }

    fn keep_or(&mut self, span: Span, instead: Option<Bytes>) {
        match instead {
            None => self.keep(span),
            Some(bytes) => {
                self.insert(bytes);
                self.run = span.end..span.end;
            }
        }
    }

    fn insert(&mut self, bytes: Bytes) {
        self.flush();
        self.run = 0..0;
        self.pieces.push(bytes);
    }

    fn flush(&mut self) {
        if !self.run.is_empty() {
            self.pieces.push(self.body.slice(self.run.clone()));
        }
    }

    fn finish(mut self) -> Pieces {
        self.flush();
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scanner;
    use super::*;

    fn members_of(body: &[u8]) -> Vec<Member> {
        let mut scanner = Scanner::new(body, 128);
        members(&mut scanner).unwrap()
    }

    fn edited(body: &'static str, edits: &[Edit]) -> String {
        let bytes = Bytes::from_static(body.as_bytes());
        let pieces = splice(&bytes, &members_of(body.as_bytes()), edits);
        String::from_utf8(pieces.concat()).unwrap()
    }

    const BODY: &str = r#" { "a" : 1e2 , "b":[ 1, 2 ],"c" :"x" } "#;

    #[test]
    fn no_edit_is_the_same_bytes() {
        assert_eq!(edited(BODY, &[]), BODY);
    }

    #[test]
    fn untouched_members_keep_their_spelling() {
        let value = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(
            edited(BODY, &[Edit::Replace(2, value("\"y\""))]),
            r#" { "a" : 1e2 , "b":[ 1, 2 ],"c" :"y" } "#
        );
        assert_eq!(edited(BODY, &[Edit::Remove(0)]), r#" { "b":[ 1, 2 ],"c" :"x" } "#);
        assert_eq!(edited(BODY, &[Edit::Remove(1)]), r#" { "a" : 1e2,"c" :"x" } "#);
        assert_eq!(
            edited(BODY, &[Edit::Remove(2), Edit::Append(value("\"d\":4"))]),
            r#" { "a" : 1e2 , "b":[ 1, 2 ],"d":4 } "#
        );
        assert_eq!(edited(BODY, &[Edit::Remove(0), Edit::Remove(1), Edit::Remove(2)]), " {  } ");
        assert_eq!(
            edited(BODY, &[Edit::Rename(0, value("\"z\"")), Edit::Replace(0, value("0"))]),
            r#" { "z" : 0 , "b":[ 1, 2 ],"c" :"x" } "#
        );
        assert_eq!(edited("{}", &[Edit::Append(value("\"d\":4"))]), r#"{"d":4}"#);
    }

    proptest::proptest! {
        #[test]
        fn any_set_of_edits_leaves_valid_json(removed in proptest::collection::vec(proptest::bool::ANY, 6), append in proptest::bool::ANY) {
            let body = Bytes::from_static(br#"{"a":1, "b":2,"c" : 3 ,"d":[4],"e":{},"f":"g"}"#);
            let members = members_of(&body);
            let mut edits: Vec<Edit> = removed.iter().enumerate().filter(|(_, gone)| **gone).map(|(i, _)| Edit::Remove(i)).collect();
            if append { edits.push(Edit::Append(Bytes::from_static(b"\"h\":8"))); }
            let text = splice(&body, &members, &edits).concat();
            let value: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
            let kept = removed.iter().filter(|gone| !**gone).count() + usize::from(append);
            proptest::prop_assert_eq!(value.len(), kept);
        }
    }
}
