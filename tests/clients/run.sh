#!/usr/bin/env bash
# Runs the official client packages against a gateway that stands before a fake provider, on free ports.
# Builds and installs nothing: `make clients` does that first.
#
#   tests/clients/run.sh TOLLWAY FAKE_PROVIDER [--direct]
#
# --direct leaves the gateway out and talks to the fake itself, to prove the suites.
# TOLLWAY_CLIENTS_MODEL_FILE names a GGUF model: plain chats then go to the local engine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=../../scripts/lib.sh
. "$root/scripts/lib.sh"

[ $# -ge 2 ] || fail "usage: tests/clients/run.sh TOLLWAY FAKE_PROVIDER [--direct]"
tollway=$(realpath "$1")
fake=$(realpath "$2")
direct=${3:-}

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# start NAME COMMAND...: in the background, its output in $work/NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=("$!")
}

# find_in NAME PATTERN: waits for a line of that log and prints what the pattern's group holds.
find_in() {
  local found deadline=$((SECONDS + 60))
  while :; do
    found=$(sed -nE "s#.*$2.*#\1#p" "$work/$1.log" | head -n 1)
    [ -z "$found" ] || break
    [ "$SECONDS" -lt "$deadline" ] || { cat "$work/$1.log" >&2; fail "$1 did not start"; }
    sleep 0.1
  done
  printf '%s' "$found"
}

# gateway NAME: a gateway in a directory of its own, with $work/NAME/tollway.yaml; nothing of our environment.
gateway() {
  local home="$work/$1"
  mkdir -p "$home/policies"
  start "$1" env -i HOME="$home" PATH="$PATH" \
    "$tollway" serve --config "$home/tollway.yaml" --policies "$home/policies"
}

wait_ready() {
  local admin deadline=$((SECONDS + 60))
  admin=$(find_in "$1" 'admin=([0-9.:]+)')
  until curl -fs --noproxy '*' "http://$admin/readyz" >/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || { cat "$work/$1.log" >&2; fail "$1 is not ready"; }
    sleep 0.1
  done
}

config() {
  mkdir -p "$work/$1"
  {
    echo "listen: 127.0.0.1:0"
    echo "admin: {listen: 127.0.0.1:0}"
    echo "state_dir: $work/$1/data"
    cat
    echo "providers:"
    echo "  fake:"
    echo "    kind: openai"
    echo "    base_url: $upstream"
    echo "    api_key: sk-fake"
    echo "    models:"
    for model in clients-chat clients-tools clients-embed clients/with-slash; do
      echo "      - {id: $model, model: $model, context: 131072, price: {input: 0.14, cached_input: 0.028, output: 0.28}}"
    done
    echo "  scripted:"
    echo "    kind: openai"
    echo "    base_url: $scripted"
    echo "    api_key: sk-scripted"
    echo "    models:"
    for model in clients-broken clients-agent; do
      echo "      - {id: $model, model: $model, context: 131072, price: {input: 0.14, cached_input: 0.028, output: 0.28}}"
    done
  } >"$work/$1/tollway.yaml"
}

start fake "$fake" --kind openai --models clients-chat,clients-tools,clients-embed,clients/with-slash
start scripted python3 -u "$here/scripted.py"
scripted=$(find_in scripted 'listening (http[^ ]+)')
upstream=$(find_in fake 'listening (http[^ ]+)')

if [ "$direct" = --direct ]; then
  export TOLLWAY_DIRECT=1 TOLLWAY_BASE_URL=$upstream
else
  if [ -n "${TOLLWAY_CLIENTS_MODEL_FILE:-}" ]; then
    config open <<<"local_engine: {profile: embedded, model_file: $(realpath "$TOLLWAY_CLIENTS_MODEL_FILE")}"
    export TOLLWAY_CHAT_MODEL=smollm2-135m-instruct
  else
    config open <<<"local_engine: {profile: off}"
  fi
  export TOLLWAY_KEY=sk-clients-right-key
  config keyed <<<"local_engine: {profile: off}
auth: required
keys: [{name: clients, key: $TOLLWAY_KEY}]"
  gateway open
  gateway keyed
  wait_ready open
  wait_ready keyed
  TOLLWAY_BASE_URL=http://$(find_in open 'traffic=([0-9.:]+)')/v1
  TOLLWAY_KEYED_BASE_URL=http://$(find_in keyed 'traffic=([0-9.:]+)')/v1
  export TOLLWAY_BASE_URL TOLLWAY_KEYED_BASE_URL
fi

# Keys and proxies of whoever runs this must not reach the packages.
unset OPENAI_API_KEY OPENAI_BASE_URL OPENAI_ORG_ID OPENAI_PROJECT_ID
unset OPENROUTER_API_KEY TOGETHER_API_KEY TOGETHER_BASE_URL
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL
export NO_PROXY='*' no_proxy='*'

status=0
# python_suite NAME FILE: one suite in the environment of that name.
python_suite() {
  (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 "$root/target/clients/python-$1/bin/python" -m pytest -q -p no:cacheprovider "$2") || status=1
}
for major in 2 3; do
  say "openai-python $major"
  python_suite "$major" test_openai.py
  python_suite "$major" test_responses.py
done
say "anthropic-python"
python_suite anthropic test_anthropic.py
say "openrouter-python, together-python"
python_suite routers test_openrouter.py
python_suite routers test_together.py
say "openai-node, ai, anthropic-node, openrouter-node, together-node"
(cd "$here/node" && "$(node22 "$here/node")" --test --test-reporter=spec '*.test.mjs') || status=1
# claude_code: one task that needs a tool, in a home of its own: a model that plays its part has it read a letter.
claude_code() {
  local answer
  mkdir -p "$work/home" "$work/task"
  echo "The word is secret-walnut." >"$work/task/letter.txt"
  answer=$(cd "$work/task" && env -i HOME="$work/home" PATH="$PATH" NO_PROXY='*' \
    ANTHROPIC_BASE_URL="${TOLLWAY_BASE_URL%/v1}" ANTHROPIC_AUTH_TOKEN=unused \
    ANTHROPIC_MODEL=clients-agent ANTHROPIC_DEFAULT_HAIKU_MODEL=clients-agent \
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 \
    timeout 120 "$here/agents/node_modules/.bin/claude" -p "What does $work/task/letter.txt say?" --allowedTools Read </dev/null 2>"$work/claude.log") || true
  printf '%s\n' "$answer"
  [ "$answer" = "The letter says secret-walnut." ]
}
if [ "$direct" != --direct ] && [ -x "$here/agents/node_modules/.bin/claude" ]; then
  say "Claude Code"
  claude_code || status=1
fi
if [ -x "$here/agents/node_modules/.bin/codex" ]; then
  say "Codex CLI"
  (cd "$here/agents" && "$(node22 "$here/node")" --test --test-reporter=spec codex.test.mjs) || status=1
fi
if [ "$status" -ne 0 ]; then
  for log in "$work"/*.log; do
    say "last lines of $(basename "$log" .log)"
    tail -n 40 "$log"
  done
fi
exit "$status"
