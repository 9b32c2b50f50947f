//! Embeddings, and lists of models.

use serde_json::{Value, json};

use crate::Reply;

use super::{Ask, Dialect, Kind};

/// Numbers in a vector unless the request says otherwise.
const DIMENSIONS: u64 = 8;

/// Vectors for the request's input, as floats or as base64 of little-endian `f32`. Number `j` of vector `i` is
/// `i + j / 8`, which both forms hold exactly.
pub(super) fn embeddings(ask: &Ask) -> Reply {
    let count = match ask.fields.get("input") {
        Some(Value::Array(inputs)) if !inputs.iter().all(Value::is_number) => inputs.len(),
        _ => 1,
    };
    let dimensions = ask.fields.get("dimensions").and_then(Value::as_u64).unwrap_or(DIMENSIONS);
    let dimensions = u16::try_from(dimensions).unwrap_or(u16::MAX);
    let base64 = ask.fields.get("encoding_format").is_some_and(|format| format == "base64");
    let data = (0..u16::try_from(count).unwrap_or(u16::MAX)).map(|index| {
        let vector = (0..dimensions).map(|place| f32::from(index) + f32::from(place) / 8.0);
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.flat_map(f32::to_le_bytes).collect();
            json!(encode_base64(&bytes))
        } else {
            json!(vector.collect::<Vec<_>>())
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let tokens = ask.prompt_tokens();
    let body = json!({
        "object": "list", "model": ask.model, "data": data.collect::<Vec<_>>(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Reply::json(200, body.to_string())
}

impl Dialect {
    /// The models, in this provider's own shape.
    pub(super) fn model_list(&self) -> Reply {
        let price = self.price.map(|price| (price.input, price.cached_input, price.output));
        let row = |id: &String| match self.kind {
            // No `created` here.
            Kind::DeepSeek => json!({"id": id, "object": "model", "owned_by": "deepseek"}),
            Kind::OpenRouter => {
                let pricing = price.map(|(input, cached, output)| {
                    let text = |pico| crate::price::decimal(pico, 12);
                    json!({"prompt": text(input), "completion": text(output), "input_cache_read": text(cached)})
                });
                json!({"id": id, "canonical_slug": id, "name": id, "created": 1_790_000_000,
                       "context_length": 131_072, "pricing": pricing})
            }
            Kind::Together => {
                // Dollars per million, as floats.
                let float = |pico: u64| crate::price::decimal(pico, 6).parse::<f64>().unwrap_or_default();
                let pricing = price.map(|(input, cached, output)| {
                    json!({"hourly": 0, "input": float(input), "output": float(output),
                           "cached_input": float(cached)})
                });
                json!({"id": id, "object": "model", "created": 1_790_000_000, "type": "chat", "running": true,
                       "context_length": 131_072, "pricing": pricing})
            }
            _ => {
                json!({"id": id, "object": "model", "created": 1_790_000_000, "owned_by": self.kind.name()})
            }
        };
        let rows: Vec<_> = self.models.iter().map(row).collect();
        let body = match self.kind {
            Kind::Together => json!(rows),
            Kind::OpenRouter => json!({"data": rows, "total_count": rows.len(), "links": {"next": null}}),
            _ => json!({"object": "list", "data": rows}),
        };
        Reply::json(200, body.to_string())
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let sextet = bits >> (18 - 6 * place) & 63;
            text.push(if place <= group.len() { ALPHABET[sextet] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| super::encode_base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
