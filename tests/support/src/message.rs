//! A client of Anthropic's Messages: puts a stream's events together by the rules its SDKs follow, and stops at any breach.

use serde_json::{Value, json};

use crate::Event;

/// How a stream of Messages went.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The message so far; null where none began.
    pub message: Value,
    /// Whether `message_stop` came.
    pub stopped: bool,
    /// The `error` event's data, if one came.
    pub error: Option<Value>,
}

impl Message {
    /// Reads `events`. Panics where they break the order that the API promises.
    pub fn read(events: &[Event]) -> Self {
        let mut read = Self { message: Value::Null, stopped: false, error: None };
        let mut open: Option<(usize, String)> = None;
        for event in events {
            let data = event.json().unwrap_or_else(|| panic!("no JSON: {event:?}"));
            let name = event.name.as_deref().unwrap_or_else(|| panic!("no name: {event:?}"));
            assert_eq!(data["type"], name, "an event's name is its type");
            assert!(!read.stopped && read.error.is_none(), "{name} after the end");
            read.event(name, &data, &mut open);
        }
        read
    }

    /// The whole message; panics where it did not end well.
    pub fn whole(events: &[Event]) -> Value {
        let read = Self::read(events);
        assert!(read.stopped, "it never stopped: {events:?}");
        read.message
    }

    fn event(&mut self, name: &str, data: &Value, open: &mut Option<(usize, String)>) {
        let index = data["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        match name {
            "message_start" => {
                assert!(self.message.is_null(), "a message begins twice");
                self.message = data["message"].clone();
            }
            "content_block_start" => {
                assert!(open.is_none(), "a block begins within another");
                let content = self.message["content"].as_array_mut().expect("a message has begun");
                assert_eq!(index, Some(content.len()));
                content.push(data["content_block"].clone());
                *open = Some((content.len() - 1, String::new()));
            }
            "content_block_delta" => {
                let (at, json) = open.as_mut().expect("a delta outside of any block");
                assert_eq!(index, Some(*at));
                let (delta, block) = (&data["delta"], &mut self.message["content"][*at]);
                let member = match delta["type"].as_str().expect("a delta has a type") {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "signature_delta" => "signature",
                    "input_json_delta" => return json.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                };
                let longer = block[member].as_str().unwrap().to_owned() + delta[member].as_str().unwrap();
                block[member] = longer.into();
            }
            "content_block_stop" => {
                let (at, json) = open.take().expect("no block is open");
                assert_eq!(index, Some(at));
                if !json.is_empty() {
                    self.message["content"][at]["input"] =
                        serde_json::from_str(&json).unwrap_or_else(|_| json!(json));
                }
            }
            "message_delta" => {
                assert!(open.is_none(), "the message ends within a block");
                for member in ["stop_reason", "stop_sequence"] {
                    self.message[member] = data["delta"][member].clone();
                }
                self.message["usage"] = data["usage"].clone();
            }
            "message_stop" => self.stopped = true,
            "error" => self.error = Some(data.clone()),
            "ping" => {}
            other => panic!("{other}"),
        }
    }
}
