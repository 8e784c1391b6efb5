"""Every architecture that the installed transformers can train: read from its auto mappings, without importing one."""

from dataclasses import dataclass

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


_RICHEST_FIRST = ("image-text-to-text", "speech-seq2seq")
"""transformers lists models that read images or sound under plain text as well."""


def task_of(model_class: str) -> str | None:
    """The task that a class is trained for, the one with most kinds of input; None where transformers lists none."""
    tasks = {known.task for known in architectures() if known.model_class == model_class}
    return next((task for task in (*_RICHEST_FIRST, *TASKS) if task in tasks), None)
