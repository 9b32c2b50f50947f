"""What the suite runs against, from the environment: see ../run.sh, which sets all of it."""

import os

BASE_URL = os.environ["TOLLWAY_BASE_URL"]
# Against a provider itself, to prove the suite: what only a gateway does is left out.
DIRECT = os.environ.get("TOLLWAY_DIRECT") == "1"
# Plain chats; the local engine where one runs, so that its text is not ours to know.
CHAT_MODEL = os.environ.get("TOLLWAY_CHAT_MODEL", "clients-chat")
# Models of a fake provider, which answers with the first word of the request that starts with `tok-`.
TOOLS_MODEL = os.environ.get("TOLLWAY_TOOLS_MODEL", "clients-tools")
# A model whose stream breaks off, behind a gateway.
BROKEN_MODEL = "clients-broken"
EMBEDDINGS_MODEL = os.environ.get("TOLLWAY_EMBEDDINGS_MODEL", "clients-embed")
SLASH_MODEL = os.environ.get("TOLLWAY_SLASH_MODEL", "clients/with-slash")
# A second gateway, which wants this key.
KEYED_BASE_URL = os.environ.get("TOLLWAY_KEYED_BASE_URL")
KEY = os.environ.get("TOLLWAY_KEY", "")

TOOL = {
    "type": "function",
    "function": {
        "name": "tide_height",
        "description": "Height of the tide in a port",
        "parameters": {
            "type": "object",
            "properties": {"port": {"type": "string"}, "token": {"type": "string"}},
            "required": ["port"],
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "town",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
            "required": ["name", "people"],
            "additionalProperties": False,
        },
    },
}


def say(text: str) -> list[dict]:
    """One message of a user."""
    return [{"role": "user", "content": text}]
