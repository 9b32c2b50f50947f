"""A chat-completions provider whose models play a part: `clients-broken` breaks off, `clients-agent` works with tools.

Prints its address; only what the standard library has.
"""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def text_of(content) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [])


def agent(request: dict) -> dict:
    """Reads the file that the user names (`/…/letter.txt`), then says what it says."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        word = re.search(r"secret-[a-z]+", text_of(last["content"]))
        return {"content": f"The letter says {word.group() if word else 'nothing'}."}
    asked = " ".join(text_of(message["content"]) for message in request["messages"] if message["role"] == "user")
    path = re.search(r"/\S*letter\.txt", asked)
    tools = [tool["function"]["name"] for tool in request.get("tools", [])]
    if path is None or "Read" not in tools:
        return {"content": "Hello."}
    function = {"name": "Read", "arguments": json.dumps({"file_path": path.group()})}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        broken = request["model"] == "clients-broken"
        speech = {"content": "This goes well so far"} if broken else agent(request)
        finish = "tool_calls" if "tool_calls" in speech else "stop"
        if request.get("stream"):
            self.stream(speech, finish, broken)
        else:
            choice = {"index": 0, "message": {"role": "assistant", **speech}, "finish_reason": finish}
            self.whole({"id": "x", "object": "chat.completion", "choices": [choice], "usage": USAGE})

    def stream(self, speech, finish, broken):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [{**head, "choices": [{"index": 0, "delta": {"role": "assistant", **speech}, "finish_reason": None}]}]
        if not broken:
            events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            events.append({**head, "choices": [], "usage": USAGE})
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        if not broken:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def whole(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
print(f"listening http://127.0.0.1:{server.server_port}/v1", flush=True)
server.serve_forever()
