#!/usr/bin/env bash
# Runs the tests of quantizers other than bitsandbytes in an environment of its own under build/venvs.
# Usage: quantizers.sh PYTHON
set -euo pipefail
python=$1
folder=build/venvs/quantizers
packages=(torchao==0.18.0 hqq==0.2.8.post1 optimum-quanto==0.2.7 optimum==2.3.0 gptqmodel==7.6.0)
stamp=$folder/.installed
pip=("$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-input)

if [[ ! -f $stamp || pyproject.toml -nt $stamp || constraints.txt -nt $stamp || $0 -nt $stamp ]]; then
    echo "Installing ${packages[*]} into $folder ..."
    mkdir -p build/venvs
    "$python" -m venv "$folder"
    # gptqmodel wants a numpy of its own, and torch where it is built: not in pip's isolated build
    grep -v '^numpy==' constraints.txt > "$folder/constraints.txt"
    "${pip[@]}" -c "$folder/constraints.txt" 'setuptools>=77' wheel ninja -e '.[dev]'
    "${pip[@]}" -c "$folder/constraints.txt" --no-build-isolation "${packages[@]}"
    touch "$stamp"
fi
"$folder/bin/python" -m pytest tests/loading/test_quantizers.py -p no:cacheprovider
