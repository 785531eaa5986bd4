#!/bin/sh
# Finds a Python 3.11 or newer and hands over to tools/setup.py with it. Plain sh, because nothing else is sure to be there yet.
set -u
cd "$(dirname "$0")/.." || exit 1

usable() {
    "$@" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && exec "$PYTHON" tools/setup.py "$@"
    echo "chainstrata: PYTHON=$PYTHON is not a Python 3.11 or newer" >&2
    exit 1
fi
# The environment that is there already comes first: it starts quickest, and it is what was asked for last time.
for candidate in .venv/bin/python python3 python3.11 python3.12 python3.13 python3.14 python; do
    usable "$candidate" && exec "$candidate" tools/setup.py "$@"
done
echo "chainstrata: no Python 3.11 or newer found. Install one, or name it: make up PYTHON=/path/to/python3.11" >&2
exit 1
