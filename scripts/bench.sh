#!/bin/sh
# Measures what the gateway costs beside nginx and a bare proxy; prints a table. BENCH_QUICK=1 takes seconds and says little.
# Arguments: names of targets to measure, such as: scripts/bench.sh nginx tollway. Default: all.
# BENCH_OTHER=path/to/tollway measures another build of the gateway in the same rounds.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"
if ! command -v nginx >/dev/null; then
  echo "bench: nginx is missing; on Debian or Ubuntu: apt-get install nginx-light" >&2
  exit 1
fi
# A thousand idle streams take two files each, in the gateway and in the one that asks.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec cargo bench --quiet --no-default-features --bench gateway -- "$@"
