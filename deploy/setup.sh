#!/usr/bin/env bash
# Makes .venv (Waypost with all extras) and .venv/triton (the embedded Triton with its own numpy). Reuses both while what
# they are made from is unchanged. Everything comes from PyPI, and on Debian as root from Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
sources=(pyproject.toml constraints.txt deploy/triton-requirements.txt deploy/debian-packages.txt deploy/setup.sh)
stamp=".venv/made-from-$(cat "${sources[@]}" | sha256sum | cut -c1-16)"
[ -e "$stamp" ] && exit 0

say() { echo "setup: $*" >&2; }

missing_packages() {
  grep -vE '^\s*(#|$)' deploy/debian-packages.txt | while read -r package; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  packages=$(missing_packages)
  if [ -n "$packages" ]; then
    say "installing Debian packages:" $packages
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >&2
  fi
elif command -v dpkg-query >/dev/null && [ -n "$(missing_packages)" ]; then
  say "not root, so not installed: apt-get install" $(missing_packages)
fi

python=$(command -v python3.11 || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "needs Python 3.11 or newer, found $("$python" -V)"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || say "the embedded Triton's Python stub needs Python 3.11; others run all but that"

say "making .venv (a few minutes the first time: torch is large)"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install -q "uv==$UV_VERSION"
# An index that pip was configured with serves uv too.
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}"
.venv/bin/uv pip install -q --python .venv/bin/python -c constraints.txt -e '.[dev]'
"$python" -m venv --without-pip .venv/triton
.venv/bin/uv pip install -q --python .venv/triton/bin/python --no-deps -r deploy/triton-requirements.txt
touch "$stamp"
say "done"
