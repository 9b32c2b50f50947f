# shellcheck shell=bash
# Shared words of the scripts here; sourced, never run.

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: as root, by sudo where we are not.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    return 1
  fi
}

# install_packages PACKAGE...: Debian packages; says what to do by hand where that cannot be.
install_packages() {
  [ $# -gt 0 ] || return 0
  have apt-get || fail "please install by hand (this machine has no apt-get): $*"
  say "installing $*"
  # Packages start their services unless a policy says no; we want the programs alone.
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null 2>&1; then
    as_root chmod +x "$policy"
    ours=1
  fi
  local status=0
  as_root apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
    { as_root apt-get update -q && as_root apt-get install -y --no-install-recommends "$@"; } || status=$?
  [ -z "$ours" ] || as_root rm -f "$policy"
  [ "$status" -eq 0 ] || fail "could not install $* - please install them by hand (root or sudo is needed), then run this again"
}

# What the llama.cpp build needs.
install_build_tools() {
  local missing=()
  have cmake || missing+=(cmake)
  have c++ || have clang++ || missing+=(g++)
  # bindgen loads libclang; the clang binary brings the headers that it wants.
  have clang || missing+=(clang)
  # A list in a variable, not a pipe: grep -q would end the pipe early.
  local libraries
  libraries=$(/sbin/ldconfig -p 2>/dev/null || true; ls /usr/lib/llvm-*/lib 2>/dev/null || true)
  case $libraries in *libclang*.so*) ;; *) missing+=(libclang-dev) ;; esac
  install_packages "${missing[@]}"
  have cargo || fail "Rust is missing: install it from https://rustup.rs, then run this again"
}

# node22 DIRECTORY: the path of a Node that is new enough for the openai package: the machine's own, else the one
# that npm put into that directory.
node22() {
  if have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 22 ]; then
    command -v node
  elif [ -x "$1/node_modules/.bin/node" ]; then
    printf '%s' "$1/node_modules/.bin/node"
  else
    fail "Node 22 or newer is needed for the client suite: install it, or on x86-64 run scripts/setup-tests.sh"
  fi
}
