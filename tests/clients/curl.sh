#!/usr/bin/env bash
# curl against a gateway at $TOLLWAY_BASE_URL: a whole answer, a streamed one, and an error. Prints a line for each, as table.py
# reads them.
set -uo pipefail

model=${TOLLWAY_TOOLS_MODEL:-clients-tools}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# ask BODY OPTION...: the answer's body in $work/body, its headers in $work/head; prints the status.
ask() {
  local body=$1
  shift
  curl -sS --noproxy '*' --max-time 60 -o "$work/body" -D "$work/head" -w '%{http_code}' "$@" \
    -H 'content-type: application/json' -d "$body" "$TOLLWAY_BASE_URL/chat/completions"
}

# check NAME: told by the status of the command before.
check() {
  if [ "$?" -eq 0 ]; then
    printf 'curl\t%s\tpass\n' "$1"
  else
    printf 'curl\t%s\tfail\n' "$1"
    cat "$work/head" "$work/body" >&2
    status=1
  fi
}

whole() {
  [ "$(ask '{"model": "'"$model"'", "messages": [{"role": "user", "content": "tok-1"}]}')" = 200 ] &&
    grep -qi '^content-type: application/json' "$work/head" && grep -q '"content": *"tok-1' "$work/body"
}

streamed() {
  [ "$(ask '{"model": "'"$model"'", "messages": [{"role": "user", "content": "tok-2"}], "stream": true}' -N)" = 200 ] &&
    grep -qi '^content-type: text/event-stream' "$work/head" && [ "$(grep -c '^data: {' "$work/body")" -gt 1 ] &&
    grep -q 'tok-2' "$work/body" && [ "$(grep '^data:' "$work/body" | tail -n 1 | tr -d '\r')" = 'data: [DONE]' ]
}

unknown() {
  [ "$(ask '{"model": "nobody/has-it", "messages": [{"role": "user", "content": "x"}]}')" = 404 ] &&
    grep -q 'model_not_found' "$work/body"
}

whole
check "chat"
streamed
check "streamed chat"
if [ "${TOLLWAY_DIRECT:-}" != 1 ]; then
  unknown
  check "an unknown model is not found"
fi
exit "$status"
