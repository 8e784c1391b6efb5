"""Private names of transformers and peft: attributes that are there or not, and so are asked for by name."""

from __future__ import annotations

from typing import Any

from gradcheck.internals.entry import internal, named

REQUIRE_GRADS_HOOK = named(
    "transformers.PreTrainedModel._require_grads_hook",
    ">=4.53",
    why="The handle of the hook of enable_input_require_grads: nothing public says that there is one.",
)
REQUIRE_GRADS_HOOKS = named(
    "transformers.PreTrainedModel._require_grads_hooks",
    ">=5",
    why="The handles of all of them: a tower beside the language model has one too.",
)
CHECKPOINTING_FUNCTION = named(
    "transformers.GradientCheckpointingLayer._gradient_checkpointing_func",
    ">=4.53",
    why="What a module calls to checkpoint: it alone says whether that is reentrant, and a repair replaces it.",
)
OUT_FEATURES = named(
    "transformers.ResNetConfig._out_features",
    ">=4.53",
    why="As which backbones store their chosen stages in a configuration that is made smaller.",
)
OUT_INDICES = named(
    "transformers.ResNetConfig._out_indices",
    ">=4.53",
    why="As which backbones store their chosen stages in a configuration that is made smaller.",
)
PROMPT_CONFIGS = named(
    "peft.PeftModel._peft_config",
    ">=0.17",
    why="Where prompt methods keep their configurations; peft_config is a property there, and not in vars().",
)


@internal("transformers.PreTrainedModel._can_set_experts_implementation", ">=5")
def can_choose_experts(model: Any) -> bool:
    """Whether the experts' code can be chosen: ``set_experts_implementation`` raises where not."""
    asked = getattr(model, "_can_set_experts_implementation", None)
    return asked is not None and bool(asked())


@internal("transformers.PreTrainedModel._from_config", ">=4.53")
def model_from_config(made: Any, config: Any) -> Any:
    """A model of a class that is no auto class, without its weights: its constructor ignores the dtype."""
    return made._from_config(config)


@internal("transformers.Trainer._prepare_inputs", ">=4.53")
def prepared_inputs(trainer: Any, inputs: Any) -> Any:
    """A batch as the Trainer hands it to ``compute_loss``: on its device; where it samples, with the samples."""
    return trainer._prepare_inputs(inputs)
