#!/bin/sh
# Measures what a decision costs, then what the gateway costs beside nginx and a bare proxy, and prints tables. It takes a few
# minutes.
#   BENCH_QUICK=1                takes half a minute and says little
#   BENCH_WRITE=1                puts the tables into docs/benchmarks.md
#   BENCH_OTHER=path/to/tollway  measures another build of the gateway in the same rounds
#   BENCH_ROUNDS=21              takes more turns than 7
#   BENCH_ONLY="1 KB in"         takes only what has this in its name
# Arguments: the targets to measure, such as: scripts/bench.sh nginx tollway, or decision or ledger for one of
# these alone. Default: all.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin"
page=docs/benchmarks.md

# Prints the table $2; with BENCH_WRITE, also between the marks of $1 in the page, under a line that ends with $3.
show() {
  printf '%s\n' "$2"
  [ -n "${BENCH_WRITE:-}" ] || return 0
  {
    sed "/<!-- $1 -->/q" "$page"
    printf '%s, commit %s, Linux %s, %s cores (%s), load %s%s:\n\n%s\n' \
      "$(date -u +%F)" "$(git rev-parse --short HEAD)" "$(uname -r | cut -d- -f1)" "$(nproc)" \
      "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(cut -d' ' -f1 /proc/loadavg)" "$3" "$2"
    sed -n "/<!-- end of $1 -->/,\$p" "$page"
  } >"$page.new"
  mv "$page.new" "$page"
}

if [ $# -eq 0 ] || [ "$1" = decision ]; then
  table=$(cargo bench --quiet --no-default-features --bench decision)
  show "figures of decisions" "$table" ""
  [ $# -eq 0 ] || exit 0
fi
if [ $# -eq 0 ] || [ "$1" = ledger ]; then
  page_of_figures=$page page=docs/ledger.md
  table=$(cargo bench --quiet --no-default-features --bench ledger)
  show "figures of the ledger" "$table" ""
  page=$page_of_figures
  [ $# -eq 0 ] || exit 0
fi
if ! command -v nginx >/dev/null; then
  echo "bench: nginx is missing; on Debian or Ubuntu: apt-get install nginx-light" >&2
  exit 1
fi
# A thousand idle streams take two files each, in the gateway and in the one that asks.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"
table=$(cargo bench --quiet --no-default-features --bench gateway -- "$@")
show figures "$table" ", $(nginx -v 2>&1 | sed 's/.*: //')"
