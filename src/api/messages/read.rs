//! Reading a Messages request: every refusal names the field by its path, in the words of Anthropic's own API.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::body::Error;
use crate::api::scan::{self, Fault, Kind, Scanner};

/// `param: what`, with 400.
pub(super) fn refused(param: impl Display, what: impl Display) -> Error {
    let param = param.to_string();
    let message = format!("{param}: {what}");
    Error::Untranslated { param: param.into(), message: message.into() }
}

/// A field that must be there.
pub(super) fn required<T>(param: impl Display, field: Option<T>) -> Result<T, Error> {
    field.ok_or_else(|| refused(param, "Field required"))
}

/// `raw` as a `T`, which is called `expected`.
pub(super) fn read<'a, T: Deserialize<'a>>(
    param: impl Display,
    raw: &'a RawValue,
    expected: &str,
) -> Result<T, Error> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let got = kind_of(raw).map_or("something else", Kind::name);
        refused(param, format_args!("Input should be {expected}, but it is {got}"))
    })
}

/// An object as a `T`: an array would do for serde, and not for Anthropic.
pub(super) fn object<'a, T: Deserialize<'a>>(param: impl Display, raw: &'a RawValue) -> Result<T, Error> {
    let expected = "a valid dictionary";
    if kind_of(raw) == Some(Kind::Object) {
        return read(param, raw, expected);
    }
    let got = kind_of(raw).map_or("something else", Kind::name);
    Err(refused(param, format_args!("Input should be {expected}, but it is {got}")))
}

/// A text, borrowed where it has no escapes.
pub(super) fn text(param: impl Display, raw: &RawValue) -> Result<Cow<'_, str>, Error> {
    if kind_of(raw) != Some(Kind::String) {
        return read::<String>(param, raw, "a valid string").map(Cow::Owned);
    }
    Ok(scan::text_of(raw.get().as_bytes(), &(0..raw.get().len())))
}

/// An array of raw values.
pub(super) fn array(param: impl Display, raw: &RawValue) -> Result<Vec<&RawValue>, Error> {
    read(param, raw, "a valid list")
}

/// What kind of value it is.
pub(super) fn kind_of(raw: &RawValue) -> Option<Kind> {
    Scanner::new(raw.get().as_bytes(), scan::DEPTH_LIMIT).kind().ok()
}

/// The members of a request's outermost object, each of which is taken once.
pub(super) struct Fields<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Reads `body`, which nests at most `depth_max` levels and repeats no key.
    pub(super) fn of(body: &'a [u8], depth_max: usize) -> Result<Self, Error> {
        scan::check_utf8(body)?;
        let mut scanner = Scanner::new(body, depth_max);
        let kind = scanner.kind()?;
        if kind != Kind::Object {
            scanner.value()?;
            scanner.finish()?;
            return Err(Error::NotAnObject(kind.name()));
        }
        let mut members: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
        let mut walk = scanner.enter_object()?;
        while let Some(key) = walk.next(&mut scanner)? {
            let at = key.start;
            let name = scan::text_of(body, &key);
            let value = &body[scanner.value()?];
            if members.iter().any(|(known, _)| *known == name) {
                return Err(Error::NotJson(Fault::DuplicateKey { at }));
            }
            if members.len() == crate::api::body::MEMBERS_MAX {
                return Err(Error::NotJson(Fault::TooDeep { max: crate::api::body::MEMBERS_MAX }));
            }
            // The scanner is as strict as serde: what it let through reads as a value.
            let raw = serde_json::from_slice(value).map_err(|_| Error::NotJson(Fault::NotUtf8))?;
            members.push((name, raw));
        }
        scanner.finish()?;
        Ok(Self { members })
    }

    /// The member called `name`, as it was written; one that is null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.members.iter().position(|(known, _)| known == name)?;
        let (_, raw) = self.members.swap_remove(place);
        (raw.get() != "null").then_some(raw)
    }

    /// What nobody took.
    pub(super) fn rest(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.members
    }
}
