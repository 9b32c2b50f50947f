#!/usr/bin/env bash
# Installs what building and running Tollway needs, if it is missing. Safe to run twice.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_build_tools
have python3 || install_packages python3
