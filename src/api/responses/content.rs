//! What a message says: the parts of an input item, as a chat message has them.

use serde_json::value::RawValue;

use crate::api::chat::ask::{Content, File, ImageUrl, Part, Written};
use crate::api::face::Images;

use super::json::{self, Object};
use super::refusal::Refusal;

/// The images and files in `content`, which stand in the body but are not counted by their bytes.
pub(super) fn images(content: &Content<'_>) -> Images {
    let mut images = Images::default();
    let Content::Parts(parts) = content else { return images };
    for part in parts {
        let bytes = match part {
            Part::ImageUrl { image_url } => image_url.url.len(),
            Part::File { file } => file.file_data.get().len(),
            Part::InputAudio { input_audio } => input_audio.get().len(),
            Part::Text { .. } | Part::Refusal { .. } => continue,
        };
        images.count += 1;
        images.bytes += bytes as u64;
    }
    images
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
            let url = Written::AsItCame(needed("image_url")?);
            Ok(Part::ImageUrl { image_url: ImageUrl { url, detail: object.get("detail") } })
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
