"""Which transformers class a checkpoint is loaded with."""

from typing import Any

from gradcheck.errors import TargetError

_AUTO_CLASSES = {
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForImageClassification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForAudioClassification": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForCTC": "MODEL_FOR_CTC_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}
"""In the order of preference for a bare model: bart also has a causal and a masked class, bert a causal one."""

TASK_HEADS = {"TOKEN_CLS": ("classifier", "score"), "QUESTION_ANS": ("qa_outputs",)}
"""The modules that PEFT trains whole for a task (peft 0.21), and that ``all-linear`` would give a LoRA as well."""
_TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}


def model_class(config: Any, *, trust_remote_code: bool) -> Any:
    """The class whose ``from_pretrained`` gives a model with a loss: the checkpoint's own where that has one.

    Raises:
        TargetError: where transformers has no class with a loss for it.
    """
    import transformers

    if trust_remote_code:
        remote = _remote_auto_class(config)
        if remote is not None:
            return getattr(transformers, remote)
    for name in config.architectures or ():
        if hasattr(transformers, name) and name not in _classes(
            "MODEL_MAPPING_NAMES", config.model_type
        ):
            return getattr(transformers, name)
    for auto_class, mapping in _AUTO_CLASSES.items():
        if _classes(mapping, config.model_type):
            return getattr(transformers, auto_class)
    raise TargetError(
        f"transformers has no class with a training loss for model type {config.model_type!r} "
        f"(architectures: {', '.join(config.architectures or ()) or 'none'}); "
        "write a factory that returns model, batch and loss_fn"
    )


def task_type(model: Any) -> str | None:
    """PEFT's task type for ``model``, None where PEFT's wrappers for tasks do not fit (they need ``input_ids``)."""
    if getattr(model, "main_input_name", None) != "input_ids" or has_towers(model.config):
        return None
    name = type(model).__name__
    for suffix, task in _TASK_TYPES.items():
        if name.endswith(suffix):
            return task
    if model.config.is_encoder_decoder:
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if model.can_generate() else None


def has_towers(config: Any) -> bool:
    """Whether the model also takes images or sound."""
    return any(
        getattr(config, name, None) is not None for name in ("vision_config", "audio_config")
    )


def _remote_auto_class(config: Any) -> str | None:
    auto_map = getattr(config, "auto_map", None) or {}
    return next((name for name in _AUTO_CLASSES if name in auto_map), None)


def _classes(mapping: str, model_type: str) -> tuple[str, ...]:
    """The class names for ``model_type`` in one of transformers' auto mappings; a mapping may hold one or several."""
    from transformers.models.auto import modeling_auto

    names = getattr(modeling_auto, mapping, {}).get(model_type, ())
    return (names,) if isinstance(names, str) else tuple(names)
