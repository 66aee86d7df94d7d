#!/usr/bin/env bash
# Make or refresh ./.venv with the extra named by $1 (demo or dev). The stamp is the hash of all that decides
# its content, so an unchanged checkout costs milliseconds and a changed one is brought up to date.
set -euo pipefail
extra=${1:?extra}
cd "$(dirname "$0")/.."

pick_python() {
  local name
  for name in "${COCOON_PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    [ -n "$name" ] || continue
    if "$name" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "cocoon: no Python 3.11, 3.12 or 3.13 found. Install one, or set COCOON_PYTHON to its path." >&2
  exit 1
}

# An existing environment keeps its interpreter unless COCOON_PYTHON names another one.
if [ -x .venv/bin/python ] && [ -z "${COCOON_PYTHON:-}" ] && [ -f .venv/interpreter ]; then
  python=$(cat .venv/interpreter)
  [ -x "$python" ] || python=$(pick_python)
else
  python=$(pick_python)
fi
if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
  echo "cocoon: $python has no ensurepip. On Debian or Ubuntu: apt install python3-venv" >&2
  exit 1
fi

stamp() {  # the extra is part of the stamp; dev contains demo
  { "$python" -VV; cat pyproject.toml constraints.txt; echo "$1"; } |
    "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}
have=$(cat .venv/stamp 2>/dev/null || true)
[ "$have" = "$(stamp dev)" ] && exit 0
[ "$have" = "$(stamp "$extra")" ] && exit 0

if [ "$(cat .venv/interpreter 2>/dev/null || true)" != "$python" ]; then
  rm -rf .venv
  echo "cocoon: making .venv with $("$python" --version)" >&2
  "$python" -m venv .venv
fi
rm -f .venv/stamp
echo "cocoon: installing packages for '$extra' (only wheels, nothing is compiled; the first time takes minutes)" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --prefer-binary \
  --constraint constraints.txt --editable ".[$extra]" >&2
echo "$python" > .venv/interpreter
stamp "$extra" > .venv/stamp
