//! What a message says: the parts of an input item, as a chat message has them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::face::Images;

use super::json::{self, Object};
use super::refusal::Refusal;

/// The content of a chat message: a text where it is nothing else, for many servers take only that.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

/// A part of a chat message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text {
        text: Cow<'a, str>,
    },
    ImageUrl {
        image_url: Image<'a>,
    },
    InputAudio {
        input_audio: &'a RawValue,
    },
    File {
        file: File<'a>,
    },
    /// Only in what an assistant said; it goes into a member of its own.
    #[serde(skip)]
    Refusal {
        refusal: Cow<'a, str>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Image<'a> {
    url: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct File<'a> {
    file_data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a RawValue>,
}

impl Content<'_> {
    /// The images and files in it, which stand in the body but are not counted by their bytes.
    pub(super) fn images(&self) -> Images {
        let mut images = Images::default();
        let Self::Parts(parts) = self else { return images };
        for part in parts {
            let data = match part {
                Part::ImageUrl { image_url } => image_url.url.get(),
                Part::File { file } => file.file_data.get(),
                Part::InputAudio { input_audio } => input_audio.get(),
                Part::Text { .. } | Part::Refusal { .. } => continue,
            };
            images.count += 1;
            images.bytes += data.len() as u64;
        }
        images
    }
}

/// Reads the content called `param`: a text, or a list of parts.
pub(super) fn parts<'a>(value: &'a RawValue, param: &str) -> Result<Vec<Part<'a>>, Refusal> {
    if let Some(text) = json::text(value) {
        return Ok(vec![Part::Text { text }]);
    }
    let parts = json::list(value, param)?;
    parts.into_iter().enumerate().map(|(at, value)| part(value, &format!("{param}[{at}]"))).collect()
}

fn part<'a>(value: &'a RawValue, param: &str) -> Result<Part<'a>, Refusal> {
    let object = Object::read(value, param)?;
    let kind = object.text_needed("type", param)?;
    let needed = |name: &str| object.get(name).ok_or_else(|| Refusal::missing(format!("{param}.{name}")));
    let no_files = |name: &str, instead: &str| match object.get(name) {
        Some(_) => Err(Refusal::unsupported(
            format!("{param}.{name}"),
            format!("This gateway keeps no files: send the content itself in '{instead}'."),
        )),
        None => Ok(()),
    };
    match &*kind {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            Ok(Part::Text { text: object.text_needed("text", param)? })
        }
        "refusal" => Ok(Part::Refusal { refusal: object.text_needed("refusal", param)? }),
        "input_image" => {
            no_files("file_id", "image_url")?;
            Ok(Part::ImageUrl {
                image_url: Image { url: needed("image_url")?, detail: object.get("detail") },
            })
        }
        "input_audio" => Ok(Part::InputAudio { input_audio: needed("input_audio")? }),
        "input_file" => {
            no_files("file_id", "file_data")?;
            no_files("file_url", "file_data")?;
            Ok(Part::File {
                file: File { file_data: needed("file_data")?, filename: object.get("filename") },
            })
        }
        other => Err(Refusal::invalid(
            format!("{param}.type"),
            format!(
                "{other:?} is no part that can be sent; use input_text, input_image, input_file, input_audio, \
                 output_text or refusal"
            ),
        )),
    }
}

/// Parts as a message's content: one text where there are only texts, with `between` them.
pub(super) fn content<'a>(mut parts: Vec<Part<'a>>, between: &str) -> Content<'a> {
    let is_text = |part: &Part<'_>| matches!(part, Part::Text { .. });
    match parts.as_mut_slice() {
        [] => Content::Text("".into()),
        [Part::Text { text }] => Content::Text(std::mem::take(text)),
        texts if texts.iter().all(is_text) => Content::Text(joined(texts, between).into()),
        _ => Content::Parts(parts),
    }
}

/// The texts among `parts`, with `between` them.
pub(super) fn joined(parts: &[Part<'_>], between: &str) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(&**text),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(between)
}
