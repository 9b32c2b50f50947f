#!/usr/bin/env bash
# Runs the official client packages against a gateway that stands before a fake provider, on free ports.
# Builds and installs nothing: `make clients` does that first.
#
#   tests/clients/run.sh TOLLWAY FAKE_PROVIDER [--direct]
#
# --direct leaves the gateway out and talks to the fake itself, to prove the suites.
# TOLLWAY_CLIENTS_MODEL_FILE names a GGUF model: plain chats then go to the local engine.
# TOLLWAY_CLIENTS_ONLY="frameworks curl" runs these suites alone.
# UPDATE=1 writes what was run into the table of docs/clients.md; without it, the table's packages must be those pinned.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=../../scripts/lib.sh
. "$root/scripts/lib.sh"

[ $# -ge 2 ] || fail "usage: tests/clients/run.sh TOLLWAY FAKE_PROVIDER [--direct]"
tollway=$(realpath "$1")
fake=$(realpath "$2")
direct=${3:-}
suites=" 2 3 anthropic routers frameworks node curl claude codex "
for suite in ${TOLLWAY_CLIENTS_ONLY:-}; do
  case $suites in *" $suite "*) ;; *) fail "TOLLWAY_CLIENTS_ONLY: there is no suite $suite, but:$suites" ;; esac
done

work=$(mktemp -d)
results="$work/results"
mkdir "$results"
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

# whole_lines NAME: that log but for a last line that is still being written, perhaps amid an address.
whole_lines() {
  local line
  while IFS= read -r line; do printf '%s\n' "$line"; done <"$work/$1.log"
}

# find_in NAME PATTERN: waits for a line of that log and prints what the pattern's group holds.
find_in() {
  local found deadline=$((SECONDS + 60))
  while :; do
    found=$(whole_lines "$1" | sed -nE "s#.*$2.*#\1#p" | head -n 1)
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

# Keys, proxies and tracing of whoever runs this must not reach the packages.
unset OPENAI_API_KEY OPENAI_BASE_URL OPENAI_API_BASE OPENAI_ORG_ID OPENAI_PROJECT_ID
unset OPENROUTER_API_KEY TOGETHER_API_KEY TOGETHER_BASE_URL FIREWORKS_API_KEY FIREWORKS_BASE_URL FIREWORKS_ACCOUNT_ID
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL
unset LANGSMITH_TRACING LANGCHAIN_TRACING_V2 LANGSMITH_API_KEY LANGCHAIN_API_KEY
export NO_PROXY='*' no_proxy='*'

status=0
# wanted SUITE
wanted() {
  case " ${TOLLWAY_CLIENTS_ONLY:-$1} " in *" $1 "*) ;; *) return 1 ;; esac
}
# python_suite ENVIRONMENT FILE...: suites in the environment of that name.
python_suite() {
  local environment=$1 file
  shift
  wanted "$environment" || return 0
  for file; do
    say "python-$environment: $file"
    (cd "$here/python" && PYTHONDONTWRITEBYTECODE=1 "$root/target/clients/python-$environment/bin/python" -m pytest -q \
      -p no:cacheprovider --junitxml="$results/$environment-$file.xml" "$file") || status=1
  done
}
# node_suite FOLDER PATTERN: Node's own test runner.
node_suite() {
  (cd "$here/$1" && "$(node22 "$here/node")" --test --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter="$here/reporter.mjs" --test-reporter-destination="$results/$1.txt" "$2") || status=1
}
python_suite 2 test_openai.py test_responses.py
python_suite 3 test_openai.py test_responses.py
python_suite anthropic test_anthropic.py
python_suite routers test_openrouter.py test_together.py
python_suite frameworks test_fireworks.py test_langchain.py test_litellm.py test_pydantic_ai.py
if wanted node; then
  say "openai-node, ai and its providers, anthropic-node, openrouter-node, together-node"
  node_suite node '*.test.mjs'
fi
if wanted curl; then
  say "curl"
  "$here/curl.sh" | tee "$results/curl.txt" || status=1
fi
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
if [ "$direct" != --direct ] && wanted claude && [ -x "$here/agents/node_modules/.bin/claude" ]; then
  say "Claude Code"
  outcome=pass
  claude_code || { outcome=fail status=1; }
  printf 'claude\tone task\t%s\n' "$outcome" >"$results/claude.txt"
fi
if wanted codex && [ -x "$here/agents/node_modules/.bin/codex" ]; then
  say "Codex CLI"
  node_suite agents codex.test.mjs
fi
if [ "$direct" != --direct ]; then
  say "the table of docs/clients.md"
  python3 "$here/table.py" "$results" ${UPDATE:+--update} || status=1
fi
if [ "$status" -ne 0 ]; then
  for log in "$work"/*.log; do
    say "last lines of $(basename "$log" .log)"
    tail -n 40 "$log"
  done
fi
exit "$status"
