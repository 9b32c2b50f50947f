#!/usr/bin/env bash
# Installs what the tests need, if it is missing: build tools, Redis, PostgreSQL, Prometheus, and the client packages under
# target/clients and tests/clients/*/node_modules. Safe to run twice.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/lib.sh"

install_build_tools

missing=()
have curl || missing+=(curl)
have redis-server || missing+=(redis-server)
have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
have prometheus || missing+=(prometheus)
have npm || missing+=(nodejs npm)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
install_packages "${missing[@]}"

# One environment for each line of the package in use; done again only when its list changes. That of the frameworks
# takes 480 MB, 200 of them LiteLLM alone.
for suite in openai-2 openai-3 anthropic routers frameworks schemathesis; do
  list="$root/tests/clients/python/requirements-$suite.txt"
  venv="$root/target/clients/python-${suite#openai-}"
  if ! cmp -s "$list" "$venv/installed.txt"; then
    say "python: $suite"
    mkdir -p "$root/target/clients"
    python3 -m venv --clear "$venv"
    # The list is complete, so there is nothing to resolve.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list" ||
      fail "could not install the packages of $list: is the package index within reach?"
    cp "$list" "$venv/installed.txt"
  fi
done

# The agents bring programs of 400 MB for the machines they are made for.
agents="$root/tests/clients/agents"
if ! cmp -s "$agents/package-lock.json" "$agents/node_modules/installed.json"; then
  say "coding agents"
  (cd "$agents" && npm ci --no-audit --no-fund --loglevel=error) ||
    fail "could not install the coding agents: is the package index within reach?"
  cp "$agents/package-lock.json" "$agents/node_modules/installed.json"
fi

node="$root/tests/clients/node"
if ! cmp -s "$node/package-lock.json" "$node/node_modules/installed.json"; then
  say "node packages"
  # A Node of its own (100 MB) comes along only where the machine's is too old.
  omit=()
  if have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 22 ]; then omit=(--omit=optional); fi
  (cd "$node" && npm ci --no-audit --no-fund --loglevel=error "${omit[@]}") ||
    fail "could not install the packages for Node: is the package index within reach?"
  cp "$node/package-lock.json" "$node/node_modules/installed.json"
fi
