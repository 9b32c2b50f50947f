//! The prompt: there is one, it has the right form, and so many bytes.

use crate::api::scan::{Kind, Scanner, Span};

use super::error::Error;
use super::reading::Reading;
use super::values::{boolean, whole_number};

impl Reading<'_> {
    pub(super) fn messages(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let start = scanner.offset();
        let got = scanner.kind()?;
        if got != Kind::Array {
            scanner.value()?;
            return Err(Error::WrongType {
                param: "messages",
                expected: "an array of messages",
                got: got.name(),
            });
        }
        let mut items = scanner.enter_array()?;
        let mut count = 0_usize;
        while items.next(scanner)? {
            let got = scanner.kind()?;
            if got != Kind::Object {
                return Err(Error::WrongType {
                    param: "messages",
                    expected: "an array of objects",
                    got: got.name(),
                });
            }
            scanner.value()?;
            count += 1;
        }
        if count == 0 {
            return Err(Error::Invalid {
                param: "messages",
                reason: "it is empty; at least one message is needed",
            });
        }
        self.prompt_of(start..scanner.offset());
        Ok(())
    }

    pub(super) fn prompt(&mut self, scanner: &mut Scanner<'_>, param: &'static str) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = if got == Kind::Array { self.prompts(scanner)? } else { scanner.value()? };
        let empty = match got {
            Kind::String => span.len() == 2 && param == "input",
            Kind::Array => self.body[span.clone()].iter().all(|b| b"[] \t\r\n".contains(b)),
            _ => return Err(Error::WrongType { param, expected: "a string or an array", got: got.name() }),
        };
        if empty {
            return Err(Error::Invalid { param, reason: "it is empty; give at least one text" });
        }
        self.prompt_of(span);
        Ok(())
    }

    /// An array of texts or of lists of tokens has a prompt in each; one of tokens is one prompt.
    fn prompts(&mut self, scanner: &mut Scanner<'_>) -> Result<Span, Error> {
        let start = scanner.offset();
        let mut items = scanner.enter_array()?;
        while items.next(scanner)? {
            let is_prompt = matches!(scanner.kind()?, Kind::String | Kind::Array);
            scanner.value()?;
            self.found.prompts += u64::from(is_prompt);
        }
        Ok(start..scanner.offset())
    }

    /// What documents are ranked by: text, or an object where a model takes more than text.
    pub(super) fn query(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        match got {
            Kind::String if span.len() == 2 => {
                Err(Error::Invalid { param: "query", reason: "it is empty; say what to rank by" })
            }
            Kind::String | Kind::Object => {
                self.query_bytes = span.len() as u64;
                Ok(())
            }
            _ => {
                let expected = "a string or an object";
                Err(Error::WrongType { param: "query", expected, got: got.name() })
            }
        }
    }

    pub(super) fn documents(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let (param, expected) = ("documents", "an array of strings or objects");
        let start = scanner.offset();
        let got = scanner.kind()?;
        if got != Kind::Array {
            return Err(Error::WrongType { param, expected, got: got.name() });
        }
        let mut items = scanner.enter_array()?;
        while items.next(scanner)? {
            let got = scanner.kind()?;
            if !matches!(got, Kind::String | Kind::Object) {
                return Err(Error::WrongType { param, expected, got: got.name() });
            }
            scanner.value()?;
            self.documents += 1;
        }
        if self.documents == 0 {
            return Err(Error::Invalid { param, reason: "it is empty; give at least one document" });
        }
        self.prompt_of(start..scanner.offset());
        Ok(())
    }

    fn prompt_of(&mut self, span: Span) {
        self.has_prompt = true;
        self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(span.len() as u64);
    }

    pub(super) fn top_n(&self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        if whole_number(scanner, self.body, "top_n")? == Some(0) {
            return Err(Error::Invalid { param: "top_n", reason: "it must be at least 1" });
        }
        Ok(())
    }

    /// Only its type is looked at.
    pub(super) fn return_documents(&self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        boolean(scanner, self.body, "return_documents").map(|_| ())
    }
}
