#!/usr/bin/env bash
# Installs the peers of `bin/bench peers` from their published packages into a folder: `install.sh FOLDER`.
# Versions are pinned, those of what they need too. What is there already is not fetched again.
#
# PEER_PYTHON names a Python of 3.11 or later, where `python3` is a slow build of one.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"

# Whether $1, a copy of the file $2 from the last time, says that nothing has changed since.
is_current() { cmp -s "$1" "$2"; }

# Debian's own is built for speed; another one may come first on PATH.
python=${PEER_PYTHON:-/usr/bin/python3}
[[ -x $python ]] || python=python3
if ! is_current "$folder/requirements.txt" python/requirements.txt; then
    rm -rf "$folder/venv"
    "$python" -m venv "$folder/venv"
    PYTHONNOUSERSITE=1 "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement python/requirements.txt
    cp python/requirements.txt "$folder/"
fi

# Node looks for packages above the program's own folder, so the programs go to the packages.
mkdir -p "$folder/bullmq"
if ! is_current "$folder/bullmq/installed.json" bullmq/package-lock.json; then
    cp bullmq/package*.json "$folder/bullmq/"
    (cd "$folder/bullmq" && npm install --silent --ignore-scripts --no-audit --no-fund)
    cp bullmq/package-lock.json "$folder/bullmq/installed.json"
fi
cp bullmq/*.js "$folder/bullmq/"
mkdir -p "$folder/python"
cp python/*.py "$folder/python/"

cargo build --quiet --release --locked --manifest-path apalis/Cargo.toml --target-dir "$folder/apalis"
