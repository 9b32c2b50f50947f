//! `tollway.yaml`: what an operator sets once.

use crate::config::read::{At, Pairs};
use crate::config::record::{choice, record};

use super::answers::IdempotencyDocument;
use super::budget::{GrantDocument, TeamDocument};
use super::keys::KeyDocument;
use super::ledger::LedgerOrAddress;
use super::store::StoreSetting;
use super::values::{
    Count, Currency, Day, FilePath, Flag, Listen, ModelName, Moment, Name, Price, Rate, Secret, Size, Span,
    Text, Usd, Window,
};

record! {
    /// Tollway's configuration. Every key is optional.
    pub struct TollwayDocument {
        /// Version of this format: 1.
        version: Count,
        /// Where OpenAI-compatible traffic arrives. Default 127.0.0.1:8080.
        listen: Listen,
        /// Threads that serve connections. Default: as many as the machine gives this process cores.
        workers: Count,
        /// The second listener: metrics, health, administration.
        admin: AdminDocument,
        /// Certificate and key; both listeners then speak TLS.
        tls: TlsDocument,
        /// Whether callers need a key. Default: open on loopback while no key exists, else required.
        auth: AuthWord,
        /// Allows `auth: open` on an address that others can reach.
        auth_open_forced: Flag,
        /// Where replicas share what they know of routes: `embedded` (nowhere; the default), `redis://host:6379/0`, or
        /// `rediss://…` for TLS; in place of an address alone also a mapping, which says what happens while it does not answer.
        store: StoreSetting,
        /// Folder for what must outlive the process. Default ./data.
        state_dir: FilePath,
        /// The record of every request and of what it cost. An address alone (`postgres://…`) is that of the database which all
        /// replicas send their records to.
        ledger: LedgerOrAddress,
        /// Requests with an `Idempotency-Key` are made once.
        idempotency: IdempotencyDocument,
        /// Who serves models. Built-in ones (openrouter, together, fireworks, deepseek, dashscope, hunyuan, modelarts,
        /// openai) take part once their key is set; others have a name of your own and a `kind`.
        providers: Pairs<ProviderDocument>,
        /// This machine's own model.
        local_engine: LocalEngineDocument,
        /// Names of your own for models: each stands for the checkpoints, families or aliases in its list. A family's name
        /// here replaces that family's default members.
        aliases: Pairs<Vec<At<ModelName>>>,
        /// Keys of callers.
        keys: Vec<At<KeyDocument>>,
        /// Teams: what each belongs to, and what its keys may take together. A team that is not named here has no limits.
        teams: Pairs<TeamDocument>,
        /// What all keys of a user may take together.
        users: Pairs<GrantDocument>,
        /// What all teams of an organisation may take together.
        organisations: Pairs<GrantDocument>,
        /// Bounds on requests.
        limits: LimitsDocument,
        /// Lets pages of other origins call from a browser. Default: none may.
        cors: CorsDocument,
        /// The log.
        log: LogDocument,
        /// Days on which clock-dependent prices hold no peak window, such as public holidays where the provider is.
        holidays: Vec<At<Day>>,
        /// Prices that replace the price book's, such as those of your contract.
        prices: Vec<At<PriceOverrideDocument>>,
    }
}

record! {
    /// The admin listener.
    pub struct AdminDocument {
        /// Where it listens. Default 127.0.0.1:9464.
        listen: Listen,
        /// What its callers present as bearer token; needed where it listens beyond loopback.
        token: Secret,
        /// A file that holds the token.
        token_file: FilePath,
    }
}

record! {
    /// A certificate and its key, both PEM.
    pub struct TlsDocument {
        /// The certificate chain.
        cert: FilePath,
        /// The private key.
        key: FilePath,
    }
}

choice! {
    /// Whether callers need a key.
    pub enum AuthWord {
        /// Every request needs one.
        Required = "required",
        /// Nobody needs one; a caller without is team `default`.
        Open = "open",
    }
}

choice! {
    /// What sort of server a provider is.
    pub enum KindWord {
        /// OpenRouter.
        OpenRouter = "openrouter",
        /// Together AI.
        Together = "together",
        /// Fireworks AI.
        Fireworks = "fireworks",
        /// DeepSeek.
        DeepSeek = "deepseek",
        /// Alibaba Cloud Model Studio.
        DashScope = "dashscope",
        /// Tencent Cloud `TokenHub`.
        Hunyuan = "hunyuan",
        /// Huawei Cloud ModelArts Studio.
        ModelArts = "modelarts",
        /// OpenAI, or any server that speaks its API.
        OpenAi = "openai",
        /// A vLLM server.
        Vllm = "vllm",
        /// An SGLang server.
        Sglang = "sglang",
    }
}

choice! {
    /// What is kept of prompts and answers.
    pub enum RetentionWord {
        /// Nothing.
        None = "none",
        /// Kept for a time, not trained on.
        Stored = "stored",
        /// May be trained on.
        Training = "training",
    }
}

choice! {
    /// Something that a route can do.
    pub enum CapabilityWord {
        /// Chat completions.
        Chat = "chat",
        /// Text completions.
        Completions = "completions",
        /// Embeddings.
        Embeddings = "embeddings",
        /// Reranking.
        Rerank = "rerank",
        /// Tool calls.
        Tools = "tools",
        /// Answers held to a JSON Schema.
        JsonSchema = "json_schema",
        /// `tool_choice` that forces a call.
        ForcedTool = "forced_tool",
        /// Several choices (`n` above 1).
        ManyChoices = "many_choices",
        /// Log probabilities.
        Logprobs = "logprobs",
    }
}

record! {
    /// Someone who serves models.
    pub struct ProviderDocument {
        /// What sort of server it is; a built-in provider's name says so already.
        kind: KindWord,
        /// Where its API lives, such as <http://10.0.0.5:8000/v1>.
        base_url: Text,
        /// Its API key, usually `${SOME_VARIABLE}`; while that is unset the provider is left aside.
        api_key: Secret,
        /// A file that holds the API key.
        api_key_file: FilePath,
        /// The variable that holds the API key.
        api_key_env: Text,
        /// Where it processes requests: us, eu, cn, sg, …
        region: Name,
        /// What it keeps of prompts and answers.
        data_retention: RetentionWord,
        /// Headers added to each of its requests.
        headers: Pairs<Secret>,
        /// What it serves. On a built-in provider this replaces the price book's list.
        models: Vec<At<ModelDocument>>,
        /// How it is asked to go on with an answer that another provider began and broke off, under policies with
        /// `midstream: resume`. Default: as its kind is known to.
        continuation: ContinuationWord,
        /// Whether requests to `/v1/responses` go on to it as they came, or as chat completions. Default: as they came to OpenAI,
        /// OpenRouter, Fireworks and DeepSeek at their own addresses.
        responses: ResponsesWord,
        /// Allows a `base_url` on a link-local address, where cloud machines keep their metadata.
        allow_link_local: Flag,
        /// `false` leaves it aside.
        enabled: Flag,
    }
}

choice! {
    /// How a provider is asked for what comes to `/v1/responses`.
    pub enum ResponsesWord {
        /// As it came, at its own `/responses`.
        Native = "native",
        /// As a chat completion.
        Translate = "translate",
    }
}

choice! {
    /// How a provider goes on with an assistant's message.
    pub enum ContinuationWord {
        /// Not at all.
        None = "none",
        /// An assistant's message at the end is gone on with, without being asked to.
        Prefill = "prefill",
        /// As vLLM and SGLang do: the request says `continue_final_message`.
        FinalMessage = "continue_final_message",
        /// As DeepSeek does: the message says `prefix`, and the request goes to the beta address.
        Prefix = "prefix",
        /// As Alibaba does: the message says `partial`.
        Partial = "partial",
    }
}

record! {
    /// One model of a provider.
    pub struct ModelDocument {
        /// The id that the provider wants to hear.
        id: ModelName,
        /// The checkpoint behind it (`deepseek-v4-flash-0731`). Default: the price book's for this id, else the id itself.
        model: ModelName,
        /// The family that the checkpoint belongs to. Default: the price book's, else the checkpoint's own name.
        family: ModelName,
        /// Longest prompt and answer together, in tokens.
        context: Count,
        /// fp8, bf16, int4, …
        quantization: Name,
        /// Where it is processed, if that differs from the provider's region.
        region: Name,
        /// What it can do. Default: everything that its provider's kind can.
        capabilities: Vec<At<CapabilityWord>>,
        /// What it costs. Default: the price book's price for this id.
        price: PriceDocument,
        /// Whether only a caller who names this very route (`provider/model`) may use it.
        pin_only: Flag,
    }
}

record! {
    /// Prices per million tokens, in USD unless `currency` says otherwise.
    pub struct PriceDocument {
        /// The currency of all prices here, such as CNY; it needs `usd_per_unit`. Default: USD.
        currency: Currency,
        /// What one unit of that currency is worth in USD. Each price is converted with it, and rounded once, half up, to a
        /// millionth of a dollar per million tokens.
        usd_per_unit: Rate,
        /// Prompt tokens.
        input: Price,
        /// Prompt tokens read from the provider's cache. Default: `input`.
        cached_input: Price,
        /// Prompt tokens written to the provider's cache. Default: `input`.
        cache_write: Price,
        /// Answer tokens, reasoning included.
        output: Price,
        /// A fee per request.
        request: Usd,
        /// Other prices at certain hours.
        peak: Vec<At<PeakDocument>>,
        /// Other prices for long prompts.
        tiers: Vec<At<TierDocument>>,
    }
}

choice! {
    /// A day of the week.
    pub enum DayWord {
        /// Monday.
        Mon = "mon",
        /// Tuesday.
        Tue = "tue",
        /// Wednesday.
        Wed = "wed",
        /// Thursday.
        Thu = "thu",
        /// Friday.
        Fri = "fri",
        /// Saturday.
        Sat = "sat",
        /// Sunday.
        Sun = "sun",
    }
}

record! {
    /// Prices that hold in certain hours. What is left out keeps its base price.
    pub struct PeakDocument {
        /// Windows of the UTC day, such as 01:00-04:00.
        utc: Vec<At<Window>>,
        /// Days of the week on which they hold. Default: all.
        days: Vec<At<DayWord>>,
        /// Prompt tokens.
        input: Price,
        /// Prompt tokens read from cache.
        cached_input: Price,
        /// Prompt tokens written to cache.
        cache_write: Price,
        /// Answer tokens.
        output: Price,
    }
}

record! {
    /// Prices for prompts longer than a threshold; the whole request is priced so. What is left out keeps its base price.
    pub struct TierDocument {
        /// Prompts strictly longer than this, in tokens.
        prompt_tokens_above: Count,
        /// Prompt tokens.
        input: Price,
        /// Prompt tokens read from cache.
        cached_input: Price,
        /// Prompt tokens written to cache.
        cache_write: Price,
        /// Answer tokens.
        output: Price,
    }
}

record! {
    /// A price that replaces the price book's for one model of one provider.
    pub struct PriceOverrideDocument {
        /// The provider's name.
        provider: Name,
        /// The provider's id of the model.
        id: ModelName,
        /// The first day (UTC) or moment at which it holds; until then the book's price does. Of several that have begun the
        /// latest wins. Default: always.
        valid_from: Moment,
        /// The prices.
        price: PriceDocument,
    }
}

record! {
    /// This machine's own model.
    pub struct LocalEngineDocument {
        /// `auto` and `embedded` serve the built-in small model, `off` serves none.
        profile: Text,
        /// What it costs. Default: nothing per token.
        cost: LocalCostDocument,
        /// The model file (GGUF). Default: the small model that ships with Tollway.
        model_file: FilePath,
        /// Threads that compute. Default: by the machine.
        threads: Count,
        /// Sequences worked on at once.
        parallel: Count,
        /// Requests that may wait for a free sequence.
        queue: Count,
    }
}

record! {
    /// What local tokens cost. Without token prices they cost nothing: the hardware is paid for whether it works or not.
    pub struct LocalCostDocument {
        /// What the hardware costs an hour, in USD.
        usd_per_hour: Usd,
        /// Prompt tokens, in USD per million.
        input: Price,
        /// Prompt tokens found in cache, in USD per million.
        cached_input: Price,
        /// Answer tokens, in USD per million.
        output: Price,
    }
}

record! {
    /// Pages of other origins.
    pub struct CorsDocument {
        /// Origins whose pages may call (`https://app.example`, `http://localhost:5173`), or `*` for all.
        origins: Vec<At<Text>>,
        /// How long a browser may keep the answer to its preflight. Default 600s.
        max_age: Span,
    }
}

record! {
    /// Bounds on requests.
    pub struct LimitsDocument {
        /// Longest request body. Default 32MiB.
        body_bytes_max: Size,
        /// Whether request bodies may be compressed (gzip, deflate); unpacked they are held to `body_bytes_max`, and to a
        /// hundred times what was sent. Default: false.
        compressed_bodies: Flag,
        /// Longest header block of a request. Default 64KiB.
        header_bytes_max: Size,
        /// Deepest nesting of a JSON body. Default 128.
        json_depth_max: Count,
        /// Requests in flight at once. Default 10000.
        in_flight_max: Count,
        /// How long a request may take in all. Default 600s.
        request_timeout: Span,
        /// How long running requests may go on after SIGTERM. Default 30s.
        drain: Span,
        /// How long a caller may take nothing of its answer. Default 300s.
        stall_timeout: Span,
        /// What the kernel keeps for one caller, a quarter of it unsent; it doubles the number for its own needs. Default 128KiB.
        send_buffer_bytes: Size,
    }
}

choice! {
    /// How a log line looks.
    pub enum LogFormatWord {
        /// Words on a terminal, JSON elsewhere.
        Auto = "auto",
        /// JSON.
        Json = "json",
        /// Words.
        Text = "text",
    }
}

record! {
    /// The log, on standard error.
    pub struct LogDocument {
        /// Lowest level: error, warn, info, debug, trace; also by module (`info,hyper=warn`). Default info.
        level: Text,
        /// How a line looks. Default auto.
        format: LogFormatWord,
    }
}
