#!/usr/bin/env bash
# Inspects a folder with a pretrained model in four set-ups and holds each exit status to what it must be.
# Usage: demo.sh GRADCHECK FOLDER
set -euo pipefail
gradcheck=$1
folder=$2
wrong=0

# expect STATUS [OPTION ...]: runs the inspection and compares its exit status.
expect() {
    local wanted=$1 status=0
    shift
    printf '\n$ gradcheck inspect %s %s\n' "$folder" "$*"
    "$gradcheck" inspect "$folder" "$@" || status=$?
    printf '(exit status %s, expected %s)\n' "$status" "$wanted"
    [[ $status == "$wanted" ]] || wrong=$((wrong + 1))
}

for quant in 4bit 8bit; do
    expect 1 --quant "$quant" --checkpointing reentrant --no-input-grads
    expect 0 --quant "$quant" --checkpointing reentrant
done

if ((wrong > 0)); then
    echo "$wrong of 4 inspections did not end as expected" >&2
    exit 1
fi
