//! Members that a route must be able to serve: tools, a choice among them, a form for the answer.

use crate::api::scan::{self, Kind, Scanner};
use crate::routing::Capabilities;

use super::error::Error;
use super::reading::Reading;
use super::values::whole_number;

impl Reading<'_> {
    /// More that a route must be able to do.
    fn need(&mut self, more: Capabilities) {
        self.found.needs = self.found.needs.with(more);
    }

    /// `n`, or `best_of`, which writes as many and shows fewer.
    pub(super) fn choices(&mut self, scanner: &mut Scanner<'_>, param: &'static str) -> Result<(), Error> {
        let many = whole_number(scanner, self.body, param)?.unwrap_or(1);
        if param == "n" && many > 1 {
            self.need(Capabilities::MANY_CHOICES);
        }
        self.found.choices = self.found.choices.max(many);
        Ok(())
    }

    /// A boolean for OpenAI, an integer for others: either way a wish, unless it is false, null or 0.
    pub(super) fn logprobs(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let span = scanner.value()?;
        if !matches!(&self.body[span], b"false" | b"null" | b"0") {
            self.need(Capabilities::LOGPROBS);
        }
        Ok(())
    }

    pub(super) fn tools(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        match got {
            Kind::Null => {}
            Kind::Array => {
                let empty = self.body[span.clone()].iter().all(|b| b"[] \t\r\n".contains(b));
                if !empty {
                    self.need(Capabilities::TOOLS);
                    self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(span.len() as u64);
                }
            }
            _ => return Err(Error::WrongType { param: "tools", expected: "an array", got: got.name() }),
        }
        Ok(())
    }

    pub(super) fn tool_choice(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        if got == Kind::Object {
            self.need(Capabilities::FORCED_TOOL);
            return self.object(scanner, |_, scanner, _| scanner.value().map(|_| ()).map_err(Error::from));
        }
        let span = scanner.value()?;
        match got {
            Kind::String if scan::says(self.body, &span, "required") => self.need(Capabilities::FORCED_TOOL),
            Kind::String | Kind::Null => {}
            _ => {
                return Err(Error::WrongType {
                    param: "tool_choice",
                    expected: "a string or an object",
                    got: got.name(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn response_format(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        match scanner.kind()? {
            Kind::Null => {
                scanner.value()?;
                Ok(())
            }
            Kind::Object => self.object(scanner, |reading, scanner, name| {
                let span = scanner.value()?;
                if name == "type" && scan::says(reading.body, &span, "json_schema") {
                    reading.need(Capabilities::JSON_SCHEMA);
                }
                Ok(())
            }),
            got => Err(Error::WrongType { param: "response_format", expected: "an object", got: got.name() }),
        }
    }
}
