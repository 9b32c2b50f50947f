//! Messages to prompt text, by the Jinja template in the model file, the way Hugging Face's libraries render it.

use minijinja::{
    Environment, Error as JinjaError, ErrorKind, UndefinedBehavior, Value, context, syntax::SyntaxConfig,
    value::Serde,
};
use serde::Serialize;
use serde_json::json;

use crate::clock;

/// Stands where a control token's text inside a caller's words was broken up; a private-use character that no prompt needs.
pub(crate) const SEAM: char = '\u{f8ff}';

const NAME: &str = "chat";

/// What is used when the model file has no template.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}\
                      {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    /// Whether it renders `tools` by itself.
    pub(crate) takes_tools: bool,
    /// Whether it renders an assistant's `tool_calls` by itself.
    pub(crate) takes_tool_calls: bool,
}

/// Why a template cannot be used, or why it refused these messages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0:#}")]
    Jinja(#[from] JinjaError),
}

impl Error {
    /// The template's own words (from `raise_exception`), or the renderer's.
    pub(crate) fn words(&self) -> String {
        let Self::Jinja(error) = self;
        error.detail().map_or_else(|| error.to_string(), str::to_owned)
    }
}

impl Template {
    /// Compiles `source` (`ChatML` when there is none).
    pub(crate) fn new(source: Option<String>, bos: String, eos: String) -> Result<Self, Error> {
        let source = source.unwrap_or_else(|| CHATML.to_owned());
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        // A template looks at fields that a message may not have, and expects them to be false.
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |words: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, words))
        });
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        let takes_tools = mentions(&source, "tools");
        let takes_tool_calls = mentions(&source, "tool_calls");
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, bos, eos, takes_tools, takes_tool_calls })
    }

    /// The prompt for these messages, ready for the assistant to speak.
    pub(crate) fn render(
        &self,
        messages: &[serde_json::Value],
        tools: Option<&[serde_json::Value]>,
    ) -> Result<String, Error> {
        let template = self.environment.get_template(NAME)?;
        Ok(template.render(context! {
            messages => Serde(messages), tools => tools.map(Serde), add_generation_prompt => true, bos_token => self.bos.as_str(), eos_token => self.eos.as_str(),
        })?)
    }
}

/// The same messages with the functions described in the system message, for templates that know nothing of tools.
pub(crate) fn describe_tools(messages: &mut Vec<serde_json::Value>, functions: &[serde_json::Value]) {
    let mut words = String::from("You can call these functions:\n");
    for function in functions {
        words.push_str(&function.to_string());
        words.push('\n');
    }
    words.push_str("Answer with a function call as JSON whose arguments follow the function's schema.");
    match messages.first_mut().filter(|first| first["role"] == "system") {
        Some(system) => {
            let said = system["content"].as_str().unwrap_or_default();
            let joined = format!("{said}\n\n{words}");
            system["content"] = joined.into();
        }
        None => messages.insert(0, json!({"role": "system", "content": words})),
    }
}

fn mentions(source: &str, word: &str) -> bool {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn strftime_now(format: &str) -> Result<String, JinjaError> {
    let bad =
        |error: jiff::Error| JinjaError::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}"));
    let now =
        jiff::Timestamp::try_from(clock::wall()).map_err(bad)?.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(format, &now).map_err(bad)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`: a blank after `:` and `,`, and no HTML escapes.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands a filter its arguments by value")]
fn to_json(value: &Value, options: minijinja::value::Kwargs) -> Result<Value, JinjaError> {
    let bad = |error: serde_json::Error| JinjaError::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let mut bytes = Vec::new();
    if let Some(width) = indent {
        let blanks = " ".repeat(width.min(16));
        let formatter = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter)).map_err(bad)?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonLine)).map_err(bad)?;
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&bytes).into_owned()))
}

/// JSON on one line as Python writes it.
struct PythonLine;

impl serde_json::ser::Formatter for PythonLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(
        source: &str,
        messages: &serde_json::Value,
        tools: Option<&[serde_json::Value]>,
    ) -> Result<String, Error> {
        Template::new(Some(source.to_owned()), "<s>".to_owned(), "</s>".to_owned())
            .unwrap()
            .render(messages.as_array().unwrap(), tools)
    }

    #[test]
    fn the_features_that_published_templates_use() {
        let messages = json!([{"role": "user", "content": "  hi <b> "}]);
        let source = "{%- set ns = namespace(n=0) -%}\n{% for m in messages %}\n  {% if loop.first %}\n{{ bos_token }}{% endif %}\n\
                      {{ m['content'].strip() | upper }}{{ m.content.startswith('x') }}{{ m.tool_calls is defined }}{% continue %}{% endfor %}";
        assert_eq!(render(source, &messages, None).unwrap(), "<s>HI <B>FalseFalse");
    }

    #[test]
    fn tojson_is_pythons() {
        let tools = [json!({"name": "f", "list": [1, "<é>"]})];
        let line = render("{{ tools[0] | tojson }}", &json!([]), Some(&tools)).unwrap();
        assert!(line.contains("\"list\": [1, \"<é>\"]") && line.contains("\"name\": \"f\""), "{line}");
        let block = render("{{ tools[0] | tojson(indent=4) }}", &json!([]), Some(&tools)).unwrap();
        assert!(block.contains("\n    \"name\": \"f\""), "{block}");
    }

    #[test]
    fn a_template_may_refuse_in_its_own_words() {
        let error = render("{{ raise_exception('Conversation roles must alternate') }}", &json!([]), None)
            .unwrap_err();
        assert_eq!(error.words(), "Conversation roles must alternate");
    }

    #[test]
    fn the_date_is_todays() {
        let year = render("{{ strftime_now('%Y') }}", &json!([]), None).unwrap();
        assert!(year.parse::<u32>().unwrap() >= 2025, "{year}");
    }
}
