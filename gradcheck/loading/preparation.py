"""Prepares a loaded base model for training, as a QLoRA user does: frozen base, checkpointing, input gradients."""

from collections import Counter
from typing import Any

from gradcheck.core.target import Target
from gradcheck.errors import InputError
from gradcheck.internals.libraries import CHECKPOINTING_FUNCTION, REQUIRE_GRADS_HOOK
from gradcheck.internals.modules import forward_hooks_of
from gradcheck.loading.devices import dtype_name
from gradcheck.loading.quantization import loaded_quantization

_INPUT_GRADIENT_HOOKS = ("make_inputs_require_grads", "make_inputs_require_grad")
"""The names of the forward hooks that ``enable_input_require_grads`` (transformers) and PEFT register."""


def freeze(model: Any) -> None:
    """Freezes every parameter; of a quantized model, also casts those left unquantized to float32, as PEFT does.

    Checkpointing is left to ``set_up_checkpointing``: ``prepare_model_for_kbit_training`` would silently choose the
    reentrant kind (peft 0.21).
    """
    if loaded_quantization(model) is None:
        model.requires_grad_(False)
        return
    from peft import prepare_model_for_kbit_training

    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def set_up_checkpointing(model: Any, target: Target) -> tuple[tuple[str, str], ...]:
    """Switches checkpointing and input gradients of a base model as ``target`` says, and tells what they are now.

    Raises:
        InputError: where checkpointing is asked for and the model has none.
    """
    kind = _enable_checkpointing(model, target) if target.checkpointing != "off" else "off"
    if kind != "off":
        _disable_cache(model.config)
    remove_input_gradient_hooks(model)
    hooked = target.input_grads and _enable_input_gradients(model)
    if not target.input_grads:
        state = "off (--no-input-grads)"
    else:
        state = (
            "on (enable_input_require_grads)"
            if hooked
            else "off (the model exposes no input embeddings)"
        )
    return ("checkpointing", kind), ("input gradients", state)


def remove_input_gradient_hooks(model: Any) -> None:
    """Removes every hook that makes embedding outputs require a gradient, also those that a second call has leaked.

    transformers 5.23 registers them when checkpointing is enabled, PEFT when it wraps an unquantized model, and
    ``disable_input_require_grads`` knows only the last ones.
    """
    if hasattr(model, "disable_input_require_grads") and hasattr(model, REQUIRE_GRADS_HOOK):
        model.disable_input_require_grads()
    for module in model.modules():
        for key, hook in list(forward_hooks_of(module).items()):
            if getattr(hook, "__name__", None) in _INPUT_GRADIENT_HOOKS:
                del forward_hooks_of(module)[key]


def checkpointing_kind(model: Any) -> str:
    """``off``, ``reentrant`` or ``non-reentrant``: read from the function that the model's modules will call."""
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            function = getattr(module, CHECKPOINTING_FUNCTION, None)
            reentrant = getattr(function, "keywords", {}).get("use_reentrant", True)
            return "reentrant" if reentrant else "non-reentrant"
    return "off"


def dtypes_text(model: Any) -> str:
    """The dtypes of the floating parameters, most elements first: ``float32`` or ``bfloat16, float32``."""
    elements: Counter[str] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            elements[dtype_name(parameter.dtype)] += parameter.numel()
    text = ", ".join(name for name, _ in elements.most_common())
    return text if loaded_quantization(model) is None else f"{text} (of what is not quantized)"


def _enable_checkpointing(model: Any, target: Target) -> str:
    options = (
        None
        if target.checkpointing == "auto"
        else {"use_reentrant": target.checkpointing == "reentrant"}
    )
    try:
        if hasattr(model, "activation_checkpointing_enable"):  # transformers 5.23
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    except (ValueError, NotImplementedError) as error:
        if target.checkpointing == "auto":
            return f"off ({type(model).__name__} does not support it)"
        raise InputError(
            f"{type(model).__name__} does not support checkpointing; use --checkpointing off"
        ) from error
    kind = checkpointing_kind(model)
    return f"{kind} (transformers' default)" if target.checkpointing == "auto" else kind


def _enable_input_gradients(model: Any) -> bool:
    """Whether there are embeddings to put the hook on (a vision tower may have none)."""
    try:
        model.enable_input_require_grads()
    except (AttributeError, NotImplementedError):
        return False
    return any(
        getattr(hook, "__name__", None) in _INPUT_GRADIENT_HOOKS
        for module in model.modules()
        for hook in forward_hooks_of(module).values()
    )


def _disable_cache(config: Any) -> None:
    """``use_cache`` off, as training with checkpointing needs; transformers would do it with a warning."""
    for part in {id(it): it for it in (config, config.get_text_config())}.values():
        if getattr(part, "use_cache", False):
            part.use_cache = False
