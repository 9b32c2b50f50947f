#!/usr/bin/env python3
"""What a stream that stands still costs the gateway in memory, by TLS and in the clear.

    scripts/idle-streams.py target/release/tollway [STREAMS]

A provider here gives each stream its first chunk and nothing more. Prints kilobytes (of a thousand bytes) of anonymous memory a stream.
"""

import asyncio
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request

CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": {"content": " tolling"}, "finish_reason": None}]}
REQUEST_BYTES = 1024
PATIENCE_S = 30


async def provide(reader, writer):
    """One answer that begins and never goes on."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
        await reader.readexactly(length)
        event = f"data: {json.dumps(CHUNK)}\n\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                     b"%x\r\n%s\r\n" % (len(event), event))
        await reader.read()
    except (OSError, EOFError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def resident(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:")) * 1024


def certify(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)


async def until_ready(process, admin, context):
    scheme = "https" if context else "http"
    for _ in range(PATIENCE_S * 10):
        if process.poll() is not None:
            sys.exit("error: the gateway ended early")
        try:
            await asyncio.to_thread(urllib.request.urlopen, f"{scheme}://127.0.0.1:{admin}/readyz", context=context)
            return
        except OSError:
            await asyncio.sleep(0.1)
    sys.exit("error: the gateway is not ready")


async def hold(port, context):
    """A stream of which the first chunk has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    message = "x" * (REQUEST_BYTES - 100)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": message}]}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
                 b"content-length: %d\r\n\r\n%s" % (len(body), body))
    await asyncio.wait_for(reader.readuntil(b" tolling"), PATIENCE_S)
    return reader, writer


async def measure(binary, streams, folder, by_tls):
    provider = await asyncio.start_server(provide, "127.0.0.1", 0, backlog=1024)
    port, admin = free(), free()
    at = pathlib.Path(folder) / ("tls" if by_tls else "plain")
    at.mkdir()
    tls = f"tls: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}\n" if by_tls else ""
    (at / "tollway.yaml").write_text(
        f"listen: 127.0.0.1:{port}\nadmin: {{listen: 127.0.0.1:{admin}}}\nlocal_engine: {{profile: off}}\nstate_dir: {at}/state\n{tls}"
        f"providers:\n  still:\n    kind: openai\n    base_url: http://127.0.0.1:{provider.sockets[0].getsockname()[1]}/v1\n"
        "    api_key: none\n    models:\n"
        "      - {id: m, model: m, context: 131072, price: {input: 0.14, output: 0.28}}\n")
    context = None
    if by_tls:
        context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
    with open(at / "log", "w") as log:
        process = subprocess.Popen([binary, "serve", "--config", at / "tollway.yaml"], cwd=at, stdout=log, stderr=log)
    try:
        await until_ready(process, admin, context)
        # A first few, so that what the process makes once is there already.
        for _, writer in [await hold(port, context) for _ in range(20)]:
            writer.transport.abort()
        await asyncio.sleep(1)
        before = resident(process)
        held = [await hold(port, context) for _ in range(streams)]
        after = resident(process)
        print(f"{'TLS' if by_tls else 'in the clear'}: {len(held)} streams, {(after - before) / len(held) / 1000:.1f} KB each")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        provider.close()


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    streams = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with tempfile.TemporaryDirectory() as folder:
        certify(folder)
        for by_tls in (False, True):
            asyncio.run(measure(binary, streams, folder, by_tls))


if __name__ == "__main__":
    main()
