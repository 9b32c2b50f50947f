//! The kinds of provider this gateway knows, as data: where they live, which variable holds their key, what they can do.

use crate::routing::{Capabilities, Retention};

/// A kind of provider: it fixes the dialect, and the defaults of everything the configuration leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OpenRouter, itself a router over many hosts.
    OpenRouter,
    /// Together AI.
    Together,
    /// Fireworks AI.
    Fireworks,
    /// DeepSeek's own API.
    DeepSeek,
    /// Alibaba Cloud Model Studio.
    DashScope,
    /// Tencent Cloud `TokenHub`.
    Hunyuan,
    /// Huawei Cloud ModelArts Studio.
    ModelArts,
    /// OpenAI, and any server that speaks its API.
    OpenAi,
    /// A vLLM server.
    Vllm,
    /// An SGLang server.
    Sglang,
    /// The engine on this machine.
    Local,
}

const CHAT_AND_TOOLS: Capabilities = Capabilities::CHAT.with(Capabilities::TOOLS);

impl Kind {
    /// Every kind, in the order in which tables show them.
    pub const ALL: [Self; 11] = [
        Self::Local,
        Self::OpenRouter,
        Self::Together,
        Self::Fireworks,
        Self::DeepSeek,
        Self::DashScope,
        Self::Hunyuan,
        Self::ModelArts,
        Self::OpenAi,
        Self::Vllm,
        Self::Sglang,
    ];

    /// The word in the configuration, and the name of the built-in provider of this kind.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenRouter => "openrouter",
            Self::Together => "together",
            Self::Fireworks => "fireworks",
            Self::DeepSeek => "deepseek",
            Self::DashScope => "dashscope",
            Self::Hunyuan => "hunyuan",
            Self::ModelArts => "modelarts",
            Self::OpenAi => "openai",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Local => "local",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Names by which callers may mean a provider of this kind, whatever its own: OpenRouter's slugs. A kind that anybody may
    /// run has none.
    pub const fn slugs(self) -> &'static [&'static str] {
        match self {
            Self::OpenRouter => &["openrouter"],
            Self::Together => &["together"],
            Self::Fireworks => &["fireworks"],
            Self::DeepSeek => &["deepseek"],
            Self::DashScope => &["dashscope", "alibaba"],
            Self::Hunyuan => &["hunyuan", "tencent"],
            Self::ModelArts => &["modelarts", "huawei"],
            Self::OpenAi | Self::Vllm | Self::Sglang | Self::Local => &[],
        }
    }

    /// Whether it reads and honours a caller's routing fields itself.
    pub const fn passes_wishes_on(self) -> bool {
        matches!(self, Self::OpenRouter)
    }

    /// Where its API lives; `None`: only the operator knows.
    pub const fn base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenRouter => Some("https://openrouter.ai/api/v1"),
            Self::Together => Some("https://api.together.ai/v1"),
            Self::Fireworks => Some("https://api.fireworks.ai/inference/v1"),
            Self::DeepSeek => Some("https://api.deepseek.com"),
            Self::DashScope => Some("https://dashscope.aliyuncs.com/compatible-mode/v1"),
            Self::Hunyuan => Some("https://tokenhub.tencentmaas.com/v1"),
            Self::ModelArts => Some("https://api.modelarts-maas.com/v2"),
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Vllm | Self::Sglang | Self::Local => None,
        }
    }

    /// The environment variable whose presence makes the built-in provider of this kind take part.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::OpenRouter => Some("OPENROUTER_API_KEY"),
            Self::Together => Some("TOGETHER_API_KEY"),
            Self::Fireworks => Some("FIREWORKS_API_KEY"),
            Self::DeepSeek => Some("DEEPSEEK_API_KEY"),
            Self::DashScope => Some("DASHSCOPE_API_KEY"),
            Self::Hunyuan => Some("HUNYUAN_API_KEY"),
            Self::ModelArts => Some("MODELARTS_API_KEY"),
            Self::OpenAi => Some("OPENAI_API_KEY"),
            Self::Vllm | Self::Sglang | Self::Local => None,
        }
    }

    /// Whether a server of this kind may answer without a key, at least on another address than its public one.
    pub const fn keyless(self) -> bool {
        matches!(self, Self::OpenAi | Self::Vllm | Self::Sglang | Self::Local)
    }

    /// Whether the server of this kind at `host` is known to speak OpenAI's Responses API itself. What else says that it speaks
    /// a provider's API may have its chat completions only.
    pub fn speaks_responses(self, host: &str) -> bool {
        let own = match self {
            Self::OpenAi => "api.openai.com",
            Self::OpenRouter => "openrouter.ai",
            Self::Fireworks => "api.fireworks.ai",
            Self::DeepSeek => "api.deepseek.com",
            // Alibaba's is for some regions and models.
            Self::DashScope
            | Self::Together
            | Self::Hunyuan
            | Self::ModelArts
            | Self::Vllm
            | Self::Sglang
            | Self::Local => return false,
        };
        host.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }

    /// Where requests are processed when they go to `host`; `None`: nobody says.
    pub fn region(self, host: &str) -> Option<&'static str> {
        match self {
            Self::Local => Some("local"),
            Self::DeepSeek if host.ends_with("deepseek.com") => Some("cn"),
            Self::DashScope => match host {
                _ if host.contains("-intl.") || host.contains("ap-southeast-1") => Some("sg"),
                _ if host.contains("-us.") || host.contains("us-east-1") => Some("us"),
                _ if host.contains("eu-central-1") => Some("eu"),
                _ if host.ends_with("aliyuncs.com") => Some("cn"),
                _ => None,
            },
            Self::Hunyuan if host.contains("-intl.") => Some("sg"),
            Self::Hunyuan if host.ends_with("tencentmaas.com") || host.ends_with("tencent.com") => Some("cn"),
            Self::ModelArts if host.contains("ap-southeast-1") => Some("hk"),
            Self::ModelArts if host.ends_with("modelarts-maas.com") => Some("cn"),
            _ => None,
        }
    }

    /// What it says it does with prompts and answers by default.
    pub const fn retention(self) -> Retention {
        match self {
            Self::Together | Self::Fireworks | Self::Local => Retention::None,
            Self::OpenRouter
            | Self::DeepSeek
            | Self::DashScope
            | Self::Hunyuan
            | Self::ModelArts
            | Self::OpenAi
            | Self::Vllm
            | Self::Sglang => Retention::Unknown,
        }
    }

    /// What it can do beyond plain chat; a route of a model that only chats loses `EMBEDDINGS` and `RERANK`
    /// again.
    pub const fn capabilities(self) -> Capabilities {
        match self {
            // `n` is dropped without a word.
            Self::OpenRouter => Capabilities::ALL.without(Capabilities::MANY_CHOICES),
            // `logprobs` is a number there, not OpenAI's pair of fields.
            Self::Together => Capabilities::ALL.without(Capabilities::LOGPROBS),
            Self::Fireworks | Self::OpenAi | Self::Vllm | Self::Sglang => Capabilities::ALL,
            // A forced tool call is refused while thinking, which is on by default; json_schema always is.
            Self::DeepSeek => CHAT_AND_TOOLS.with(Capabilities::LOGPROBS),
            // The same of forced calls; json_schema, `n` and log probabilities depend on the model.
            Self::DashScope => CHAT_AND_TOOLS.with(Capabilities::EMBEDDINGS),
            Self::Hunyuan | Self::ModelArts => CHAT_AND_TOOLS,
            Self::Local => CHAT_AND_TOOLS
                .with(Capabilities::COMPLETIONS)
                .with(Capabilities::EMBEDDINGS)
                .with(Capabilities::JSON_SCHEMA)
                .with(Capabilities::FORCED_TOOL),
        }
    }

    /// What the operator pays on top to hold credit there, in parts per million.
    pub const fn fee_ppm(self) -> u32 {
        match self {
            Self::OpenRouter => 55_000,
            _ => 0,
        }
    }

    /// The only region in which the book's price for this model holds, where a cloud's regions differ in price.
    pub fn priced_region(self, upstream_model: &str) -> Option<&'static str> {
        match (self, upstream_model) {
            (Self::DashScope, "deepseek-v4.1-flash") => Some("cn"),
            (Self::DashScope, "deepseek-v4-flash" | "deepseek-v4-pro") => Some("sg"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("OpenRouter"), None);
    }

    #[test]
    fn responses_are_spoken_at_a_kinds_own_address() {
        for (kind, host, speaks) in [
            (Kind::OpenAi, "api.openai.com", true),
            (Kind::OpenAi, "eu.api.openai.com", true),
            (Kind::OpenAi, "127.0.0.1", false),
            (Kind::OpenAi, "notapi.openai.com.example", false),
            (Kind::OpenAi, "xapi.openai.com", false),
            (Kind::Fireworks, "us.api.fireworks.ai", true),
            (Kind::Together, "api.together.ai", false),
        ] {
            assert_eq!(kind.speaks_responses(host), speaks, "{host}");
        }
        for kind in [Kind::OpenAi, Kind::OpenRouter, Kind::Fireworks, Kind::DeepSeek] {
            let url: http::Uri = kind.base_url().unwrap().parse().unwrap();
            assert!(kind.speaks_responses(url.host().unwrap()), "{kind:?}");
        }
    }

    #[test]
    fn a_region_is_known_only_where_the_host_says_so() {
        assert_eq!(Kind::DeepSeek.region("api.deepseek.com"), Some("cn"));
        assert_eq!(Kind::DeepSeek.region("127.0.0.1"), None);
        assert_eq!(Kind::DashScope.region("dashscope-intl.aliyuncs.com"), Some("sg"));
        assert_eq!(Kind::DashScope.region("dashscope.aliyuncs.com"), Some("cn"));
        assert_eq!(Kind::OpenRouter.region("openrouter.ai"), None);
    }
}
