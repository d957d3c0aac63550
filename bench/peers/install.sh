#!/usr/bin/env bash
# Installs the peers of `bin/bench peers` from their published packages into a folder: `install.sh FOLDER`;
# `install.sh FOLDER ws` only the rival of `bin/bench chat --rival`.
# Versions are pinned, those of what they need too. What is there already is not fetched again.
#
# PEER_PYTHON names a Python of 3.11 or later, where `python3` is a slow build of one.
set -euo pipefail
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"

# Whether $1, a copy of the file $2 from the last time, says that nothing has changed since.
is_current() { cmp -s "$1" "$2"; }

# Installs the peer $1 of Node's. Node looks for packages above the program's own folder, so the programs
# go to the packages.
install_node_peer() {
    mkdir -p "$folder/$1"
    if ! is_current "$folder/$1/installed.json" "$1/package-lock.json"; then
        cp "$1"/package*.json "$folder/$1/"
        (cd "$folder/$1" && npm install --silent --ignore-scripts --no-audit --no-fund)
        cp "$1/package-lock.json" "$folder/$1/installed.json"
    fi
    cp "$1"/*.js "$folder/$1/"
}

if [[ ${2:-} == ws ]]; then
    install_node_peer ws
    exit
fi

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

install_node_peer bullmq
mkdir -p "$folder/python"
cp python/*.py "$folder/python/"

cargo build --quiet --release --locked --manifest-path apalis/Cargo.toml --target-dir "$folder/apalis"
