#!/usr/bin/env bash
# Holds the admin API of a running gateway against what its own openapi.json says of it, by schemathesis.
# Builds and installs nothing: scripts/setup-tests.sh does.
#
#   tests/admin/run.sh TOLLWAY
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=../../scripts/lib.sh
. "$root/scripts/lib.sh"

[ $# -eq 1 ] || fail "usage: tests/admin/run.sh TOLLWAY"
tollway=$(realpath "$1")
schemathesis=${SCHEMATHESIS:-$root/target/clients/python-schemathesis/bin/schemathesis}
[ -x "$schemathesis" ] || fail "schemathesis is missing: run scripts/setup-tests.sh"

work=$(mktemp -d)
pid=
finish() {
  if [ -n "$pid" ]; then
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT

cat >"$work/tollway.yaml" <<'YAML'
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
local_engine: {profile: off}
providers:
  somebody:
    kind: openai
    base_url: http://127.0.0.1:9/v1
    api_key: sk-nobody
    models: [{id: m, model: some-model, context: 131072, price: {input: 0.14, output: 0.28}}]
YAML
mkdir "$work/policies"
env -i HOME="$work" PATH="$PATH" "$tollway" serve --config "$work/tollway.yaml" --policies "$work/policies" \
  >"$work/log" 2>&1 &
pid=$!
admin=
for _ in $(seq 600); do
  admin=$(sed -nE 's/.*listening .*admin=([0-9.:]+)$/\1/p' "$work/log" | head -n 1)
  [ -z "$admin" ] || break
  sleep 0.1
done
[ -n "$admin" ] || { cat "$work/log" >&2; fail "the gateway did not start"; }

say "the admin API, as its own description says it is"
cd "$work"
NO_PROXY='*' no_proxy='*' SCHEMATHESIS_HOOKS=hooks PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 \
  "$schemathesis" --config-file "$here/schemathesis.toml" run "http://$admin/admin/v1/openapi.json" \
  --header "Authorization: Bearer $(cat "$work/data/admin.token")" --phases examples,coverage,fuzzing --no-color ||
  { tail -n 20 "$work/log" >&2; exit 1; }
