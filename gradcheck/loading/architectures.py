"""Every architecture that the installed transformers can train: read from its auto mappings, without importing one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradcheck.errors import TargetError
from gradcheck.loading.twins.defaults import (
    COMPOSED,
    DECODER_PARTS,
    REQUIRED,
    REQUIRED_FOR_TASK,
)

TASKS = {
    "causal-lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "seq2seq-lm": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "image-text-to-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "masked-lm": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "speech-seq2seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "image-classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
}
"""What a model is trained for, and transformers' mapping from model types to classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A class of transformers that trains one kind of model for one task."""

    model_type: str
    task: str
    """A key of ``TASKS``."""
    config_class: str
    model_class: str


def architectures() -> tuple[Architecture, ...]:
    """All of them, by task and then in transformers' own order; several classes for a model type are several."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return tuple(
        Architecture(
            model_type=model_type,
            task=task,
            config_class=CONFIG_MAPPING_NAMES[model_type],
            model_class=model_class,
        )
        for task, mapping in TASKS.items()
        for model_type, names in getattr(modeling_auto, mapping, {}).items()
        if model_type in CONFIG_MAPPING_NAMES
        for model_class in ((names,) if isinstance(names, str) else names)
    )


def architecture(model_type: str, task: str) -> Architecture:
    """The first class for ``model_type`` and ``task``.

    Raises:
        TargetError: where transformers has none.
    """
    for known in architectures():
        if (known.model_type, known.task) == (model_type, task):
            return known
    raise TargetError(
        f"transformers has no class for model type {model_type!r} and task {task!r}; "
        f"accepted tasks are {', '.join(TASKS)}"
    )


_RICHEST_FIRST = ("image-text-to-text", "speech-seq2seq")
"""transformers lists models that read images or sound under plain text as well."""


def task_of(model_class: str) -> str | None:
    """The task that a class is trained for, the one with most kinds of input; None where transformers lists none."""
    tasks = {known.task for known in architectures() if known.model_class == model_class}
    return next((task for task in (*_RICHEST_FIRST, *TASKS) if task in tasks), None)


def default_config(known: Architecture) -> Any:
    """The configuration that its class makes, with what a model needs and the class leaves out filled in."""
    import transformers

    arguments: dict[str, Any] = dict(REQUIRED.get(known.model_type, {}))
    arguments |= REQUIRED_FOR_TASK.get((known.model_type, known.task), {})
    for part, name in COMPOSED.get(known.model_type, {}).items():
        extra = DECODER_PARTS.get(known.model_type, {}) if part == "decoder" else {}
        arguments[part] = getattr(transformers, name)(**extra)
        if part in ("encoder", "decoder"):  # these classes want them as dictionaries
            arguments[part] = arguments[part].to_dict()
    return getattr(transformers, known.config_class)(**arguments)
