"""GC105."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import attach_adapter
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import owners, quantized_modules, trainable
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

INPUT_LAYERS = ("embedding", "conv")
"""In the names of the classes that bring tokens, patches or audio in: never quantized."""


@rule("GC105")
def quantized_model_without_adapter(trace: Trace) -> Iterator[Finding]:
    """A quantized model trains without adapters: only what quantization left over can learn.

    ## What it does

    Reports a model with quantized layers and no adapter in which nobody chose what to train: every parameter that is
    not quantized requires a gradient, and these are leftovers only (norms, embeddings, biases, the head after the
    last quantized layer). A model with a trainable layer of its own between the quantized ones is left alone.

    ## Why this breaks training

    `from_pretrained` with an 8-bit or 4-bit configuration freezes the packed weights and leaves the rest as it is.
    A hand-written loop runs, the loss falls a little, and what moves is a few norms, the embedding and the output
    head: the attention and feed-forward layers, nearly the whole model, stay as they were. `Trainer` refuses such a
    model ("You cannot perform fine-tuning on purely quantized models").

    ## Example

        config = BitsAndBytesConfig(load_in_8bit=True)
        model = AutoModelForCausalLM.from_pretrained(name, quantization_config=config)
        optimizer = torch.optim.AdamW(model.parameters())   # int8 weights are not among those that can move

    ## Repair

    Attach an adapter: `get_peft_model(prepare_model_for_kbit_training(model), LoraConfig(...))`. To train norms or
    the head alone on purpose, freeze everything else explicitly; the rule is silent then.

    ## References

    - PEFT, quantization: https://huggingface.co/docs/peft/developer_guides/quantization
    - QLoRA: https://arxiv.org/abs/2305.14314
    """
    packed = quantized_modules(trace)
    learning = trainable(trace)
    if not packed or not learning or trace.adapters or trace.adapter_layers:
        return
    unquantized = frozenset(i for i, p in enumerate(trace.parameters) if not p.quantized)
    if unquantized - learning or not all(_left_over(trace, i, packed) for i in learning):
        return
    names = listed(owners(trace, learning))
    yield finding(
        trace,
        "GC105",
        "error",
        what=f"The model has {counted(len(packed), 'quantized layer')} and no adapter; what trains is {names} "
        f"({cost_text(trace, learning)}).",
        why="Quantized weights cannot learn, so nearly the whole model stays as it was loaded.",
        remedy="Attach an adapter with get_peft_model; to train these parts alone, freeze the others explicitly.",
        module=packed[0],
        parameters=learning,
        evidence=(
            ("quantized", listed(trace.modules[i].fqn for i in packed)),
            ("trainable", names),
        ),
        repairs=(attach_adapter(trace),),
    )


def _left_over(trace: Trace, parameter: int, packed: tuple[int, ...]) -> bool:
    """Whether the parameter is a vector, an input layer, or one behind the last quantized one."""
    at = trace.parameters[parameter]
    if len(at.shape) < 2 or at.module == NONE:
        return True
    type_name = trace.modules[at.module].type.lower()
    if any(kind in type_name for kind in INPUT_LAYERS):
        return True
    return _first_call(trace, parameter) > _last_call(trace, packed)


def _first_call(trace: Trace, parameter: int) -> int:
    """First call that reads the parameter, or one past the last where none does."""
    for index, call in enumerate(trace.calls):
        if any(trace.values[i].parameter == parameter for i in call.inputs):
            return index
    return len(trace.calls)


def _last_call(trace: Trace, modules: tuple[int, ...]) -> int:
    wanted = set(modules)
    running = (i for i, call in enumerate(trace.calls) if call.module in wanted)
    return max(running, default=NONE)
