"""The table of docs/clients.md: which packages were run, and what of them.

    table.py RESULTS [--update]

RESULTS is a folder of what ../run.sh ran: pytest's JUnit files, and lines of suite, test and outcome between tabs.
With --update the table is written; what was not run this time keeps its row while its versions stand. Without it, the
packages and versions of the page must be those that are pinned. Only what the standard library has.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- packages: written by UPDATE=1 make clients -->", "<!-- end -->"
HEAD = ["| package | version | language | what was run | result |", "| --- | --- | --- | --- | --- |"]

# What a test's name tells of what it tries.
TRIED = (
    ("chat", r"\b(chat|message|text|raw stream)\b"),
    ("responses", r"response"),
    ("streams", r"stream"),
    ("tools", r"\btools?\b"),
    ("structured output", r"schema|structured|parse"),
    ("embeddings", r"embed"),
    ("list of models", r"\bmodels\b"),
    ("token counts", r"tokens are counted"),
    ("routing fields", r"routing"),
    ("errors", r"unknown|mistake|errors|breaks"),
    ("keys", r"\bkeys\b"),
    ("one task", r"one task"),
)


@dataclass
class Client:
    """A row: packages that are used together, and the tests that use them."""

    language: str
    packages: tuple[str, ...]
    # Folder of the npm packages, or suffix of the list of Python's; none for what the machine brings.
    pins: str | None
    suites: tuple[str, ...]
    # How the names of its tests begin, where a suite has several clients.
    prefix: str = ""

    def versions(self) -> str:
        """The pinned versions."""
        if self.pins is None:
            return "the system's"
        return " + ".join(self.pinned(package) for package in self.packages)

    def pinned(self, package: str) -> str:
        if self.language == "Python":
            lines = (HERE / "python" / f"requirements-{self.pins}.txt").read_text().splitlines()
            pins = dict(line.split("==") for line in lines if "==" in line)
        else:
            pins = json.loads((HERE / self.pins / "package.json").read_text())["dependencies"]
        return pins[package]

    def installed(self, package: str) -> str | None:
        """The version that a run uses."""
        if self.language != "Python":
            manifest = HERE / self.pins / "node_modules" / package / "package.json"
            return json.loads(manifest.read_text())["version"] if manifest.exists() else None
        folder = ROOT / "target" / "clients" / f"python-{self.pins.removeprefix('openai-')}"
        name = re.sub(r"[-_.]+", "_", package).lower()
        for information in folder.glob("lib/python*/site-packages/*.dist-info"):
            found, version = information.name.removesuffix(".dist-info").split("-", 1)
            if re.sub(r"[-_.]+", "_", found).lower() == name:
                return version
        return None

    def identity(self) -> tuple[str, str, str]:
        """The cells that are known without a run."""
        return " + ".join(f"`{package}`" for package in self.packages), self.versions(), self.language


def python(package: str, pins: str, *suites: str) -> Client:
    environment = pins.removeprefix("openai-")
    return Client("Python", (package,), pins, tuple(f"{environment}-{suite}" for suite in suites))


def node(*packages: str, suites: tuple[str, ...], prefix: str = "", pins: str = "node") -> Client:
    return Client("JavaScript", packages, pins, suites, prefix)


CLIENTS = (
    python("openai", "openai-2", "test_openai.py", "test_responses.py"),
    python("openai", "openai-3", "test_openai.py", "test_responses.py"),
    python("anthropic", "anthropic", "test_anthropic.py"),
    python("openrouter", "routers", "test_openrouter.py"),
    python("together", "routers", "test_together.py"),
    python("fireworks-ai", "frameworks", "test_fireworks.py"),
    python("langchain-openai", "frameworks", "test_langchain.py"),
    python("litellm", "frameworks", "test_litellm.py"),
    python("pydantic-ai-slim", "frameworks", "test_pydantic_ai.py"),
    node("openai", suites=("openai.test.mjs", "responses.test.mjs")),
    node("@anthropic-ai/sdk", suites=("anthropic.test.mjs",)),
    node("@openrouter/sdk", suites=("routers.test.mjs",), prefix="openrouter: "),
    node("together-ai", suites=("routers.test.mjs",), prefix="together: "),
    node("ai", "@ai-sdk/openai", suites=("ai-sdk.test.mjs",)),
    node("ai", "@ai-sdk/openai-compatible", suites=("ai-sdk-chat.test.mjs",), prefix="openai-compatible: "),
    node("ai", "@openrouter/ai-sdk-provider", suites=("ai-sdk-chat.test.mjs",), prefix="openrouter-provider: "),
    Client("program", ("@anthropic-ai/claude-code",), "agents", ("claude",)),
    Client("program", ("@openai/codex",), "agents", ("codex.test.mjs",)),
    Client("program", ("curl",), None, ("curl",)),
)


def read(results: Path) -> list[tuple[str, str, str]]:
    """Suite, test and outcome (pass, fail or skip) of all that was run."""
    tests = []
    for file in sorted(results.glob("*.xml")):
        for case in ElementTree.parse(file).iter("testcase"):
            kinds = {child.tag for child in case}
            outcome = "fail" if kinds & {"failure", "error"} else "skip" if "skipped" in kinds else "pass"
            tests.append((file.stem, case.get("name", "").replace("_", " "), outcome))
    for file in sorted(results.glob("*.txt")):
        for line in file.read_text().splitlines():
            suite, name, outcome = line.split("\t")
            tests.append((suite, name, outcome))
    return tests


def told(client: Client, tests: list[tuple[str, str, str]]) -> tuple[str, str] | None:
    """What was run and how it went; none where nothing of it was."""
    own = [
        # A suite of the Responses API has it in the file's name alone.
        (name.lower() + (", responses" if "responses" in suite else ""), outcome)
        for suite, name, outcome in tests
        if suite in client.suites and name.startswith(client.prefix) and outcome != "skip"
    ]
    if not own:
        return None
    failed = sum(outcome == "fail" for _, outcome in own)
    tried = [word for word, pattern in TRIED if any(re.search(pattern, name) for name, _ in own)]
    return ", ".join(tried), f"{failed} of {len(own)} failed" if failed else "passed"


def rows(page: str) -> dict[tuple[str, str, str], tuple[str, str]]:
    """The rows that the page has, by package, version and language."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        sys.exit(f"error: docs/{PAGE.name} must have the marks {BEGIN} and {END}, once each")
    found = {}
    for line in page.split(BEGIN)[1].split(END)[0].strip().splitlines()[len(HEAD):]:
        package, version, language, tried, result = (cell.strip() for cell in line.strip("|").split("|"))
        found[package, version, language] = (tried, result)
    return found


def main() -> None:
    tests = read(Path(sys.argv[1]))
    stale = [
        f"{package} {client.installed(package)}, pinned is {client.pinned(package)}"
        for client in CLIENTS
        if client.pins is not None and told(client, tests)
        for package in client.packages
        if client.installed(package) != client.pinned(package)
    ]
    if stale:
        sys.exit("error: run scripts/setup-tests.sh, for installed is " + "; ".join(stale))
    page = PAGE.read_text()
    have = rows(page)
    if "--update" in sys.argv[2:]:
        table = list(HEAD)
        for client in CLIENTS:
            cells = told(client, tests) or have.get(client.identity()) or ("", "not run")
            table.append("| " + " | ".join((*client.identity(), *cells)) + " |")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(before + "\n".join([BEGIN, *table, END]) + after)
        print(f"written: {len(CLIENTS)} rows")
        return
    want = [client.identity() for client in CLIENTS]
    wrong = [f"  not pinned: {' '.join(row)}" for row in have if row not in want]
    wrong += [f"  not on the page: {' '.join(row)}" for row in want if row not in have]
    if wrong:
        sys.exit("\n".join(["error: docs/clients.md tells of other packages; `UPDATE=1 make clients` writes it:", *wrong]))
    print(f"{len(want)} rows tell of the pinned packages")


if __name__ == "__main__":
    main()
