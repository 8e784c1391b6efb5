#!/usr/bin/env bash
# Runs the core of the suite (pytest -m core) with each supported generation of transformers,
# in an environment of its own under build/venvs.
# Usage: versions.sh PYTHON [TRANSFORMERS_VERSION ...]
set -euo pipefail
python=$1
shift
versions=("${@:-}")
[[ -n ${versions[0]} ]] || versions=(4.53.3 4.57.1 5.23.0)
failed=()

# environment VERSION: makes build/venvs/VERSION unless it is up to date.
environment() {
    local folder=build/venvs/$1 stamp=build/venvs/$1/.installed
    [[ -f $stamp && $stamp -nt pyproject.toml && $stamp -nt constraints.txt ]] && return
    echo "Installing transformers $1 into $folder ..."
    mkdir -p build/venvs
    "$python" -m venv "$folder"
    # transformers decides which tokenizers and huggingface_hub it wants
    grep -vE '^(transformers|tokenizers|huggingface_hub)==' constraints.txt > "$folder/constraints.txt"
    echo "transformers==$1" >> "$folder/constraints.txt"
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
        -c "$folder/constraints.txt" -e '.[dev]'
    touch "$stamp"
}

for version in "${versions[@]}"; do
    environment "$version"
    echo "transformers $version"
    "build/venvs/$version/bin/python" -m pytest -m core -p no:cacheprovider || failed+=("$version")
done

if ((${#failed[@]} > 0)); then
    echo "failed with transformers: ${failed[*]}" >&2
    exit 1
fi
