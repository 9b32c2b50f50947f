//! Blocks of a message, and those of them that become parts of a chat message: text, images, documents, search results.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read::{array, object, refused, required, text};
use crate::api::body::Error;
use crate::api::chat::ask::{ImageUrl, Part, Written};
use crate::api::face::Images;

/// Every field that a block of ours may have; what else it has (`cache_control`) is for Anthropic's machines.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) citations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_use_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) is_error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SourceOf<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
}

/// What the messages hold beside their text.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    pub(super) images: Images,
    /// Tools that a search has found: of those whose loading was deferred, these are loaded.
    pub(super) tools_found: Vec<Cow<'a, str>>,
}

/// A block's type.
pub(super) fn kind_named<'a>(path: &str, block: &Block<'a>) -> Result<Cow<'a, str>, Error> {
    let at = format!("{path}.type");
    text(&at, required(&at, block.kind)?)
}

/// A block of a user's message that is no tool result.
pub(super) fn part<'a>(path: &str, block: &Block<'a>, beside: &mut Beside<'a>) -> Result<Part<'a>, Error> {
    let kind = kind_named(path, block)?;
    match &*kind {
        "text" => {
            let at = format!("{path}.text");
            Ok(Part::Text { text: text(&at, required(&at, block.text)?)? })
        }
        "image" => image(path, block, &mut beside.images),
        "document" => document(path, block),
        "search_result" => search_result(path, block),
        "tool_reference" => {
            let at = format!("{path}.tool_name");
            let name = text(&at, required(&at, block.tool_name)?)?;
            let told = format!("The tool {name} can be called from now on.");
            beside.tools_found.push(name);
            Ok(Part::Text { text: told.into() })
        }
        other => Err(cannot(path, other)),
    }
}

/// A block that nothing here has a place for.
pub(super) fn cannot(path: &str, kind: &str) -> Error {
    let what = format_args!("blocks of type {kind:?} cannot be served by this gateway");
    refused(format_args!("{path}.type"), what)
}

fn image<'a>(path: &str, block: &Block<'a>, images: &mut Images) -> Result<Part<'a>, Error> {
    let path = format!("{path}.source");
    let source: SourceOf<'_> = object(&path, required(&path, block.source)?)?;
    let field = |name: &str, raw: Option<&'a RawValue>| {
        let at = format!("{path}.{name}");
        text(&at, required(&at, raw)?)
    };
    images.count += 1;
    let url = match &*field("type", source.kind)? {
        "base64" => {
            let media_type = field("media_type", source.media_type)?;
            if !media_type.starts_with("image/") {
                let what = format_args!("Input should be an image's media type, but it is {media_type:?}");
                return Err(refused(format_args!("{path}.media_type"), what));
            }
            let data = field("data", source.data)?;
            images.bytes += data.len() as u64;
            Cow::Owned(format!("data:{media_type};base64,{data}"))
        }
        "url" => field("url", source.url)?,
        other => {
            let what = format_args!(
                "Input should be 'base64' or 'url', but it is {other:?}: files cannot be served"
            );
            return Err(refused(format_args!("{path}.type"), what));
        }
    };
    Ok(Part::ImageUrl { image_url: ImageUrl { url: Written::Here(url), detail: None } })
}

/// Sees that no citations are asked for: nothing here could point into a source.
fn uncited(path: &str, block: &Block<'_>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Citations {
        #[serde(default)]
        enabled: Option<bool>,
    }
    let Some(raw) = block.citations else { return Ok(()) };
    let at = format!("{path}.citations");
    let citations: Citations = object(&at, raw)?;
    if citations.enabled == Some(true) {
        return Err(refused(format_args!("{at}.enabled"), "citations cannot be served by this gateway"));
    }
    Ok(())
}

/// What was found, and where.
fn search_result<'a>(path: &str, block: &Block<'a>) -> Result<Part<'a>, Error> {
    uncited(path, block)?;
    let field = |name: &str, raw: Option<&'a RawValue>| {
        let at = format!("{path}.{name}");
        text(&at, required(&at, raw)?)
    };
    let mut told = format!("{}\n{}\n", field("title", block.title)?, field("source", block.source)?);
    let at = format!("{path}.content");
    for (place, raw) in array(&at, required(&at, block.content)?)?.into_iter().enumerate() {
        let at = format!("{at}.{place}.text");
        let block: Block<'a> = object(format_args!("{path}.content.{place}"), raw)?;
        told.push('\n');
        told.push_str(&text(&at, required(&at, block.text)?)?);
    }
    Ok(Part::Text { text: told.into() })
}

/// A document, where it is plain text: no chat route reads any other.
fn document<'a>(path: &str, block: &Block<'a>) -> Result<Part<'a>, Error> {
    uncited(path, block)?;
    let at = format!("{path}.source");
    let source: SourceOf<'_> = object(&at, required(&at, block.source)?)?;
    let kind_at = format!("{at}.type");
    let kind = text(&kind_at, required(&kind_at, source.kind)?)?;
    if kind != "text" {
        let what = format_args!(
            "Documents can be served as 'text' only, but this one is {kind:?}: send the text that is in it"
        );
        return Err(refused(kind_at, what));
    }
    let data_at = format!("{at}.data");
    let data = text(&data_at, required(&data_at, source.data)?)?;
    let Some(title) = block.title else { return Ok(Part::Text { text: data }) };
    let title = text(format_args!("{path}.title"), title)?;
    Ok(Part::Text { text: format!("{title}\n\n{data}").into() })
}
