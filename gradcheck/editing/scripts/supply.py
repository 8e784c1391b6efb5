"""Whether the first checkpointed block of a model already gets an input that requires a gradient, and from whom."""

import re

import libcst as cst

from gradcheck.editing.scripts.checkpointing import (
    ENABLING,
    Switch,
    effective,
    major,
    settled,
    switches,
)
from gradcheck.editing.scripts.models import Model
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, argument, flag, hidden_arguments, keywords, sites
from gradcheck.editing.scripts.training import trainers

SUPPLYING = "enable_input_require_grads"
PROMPTS = ("PromptTuning", "PromptEncoder", "MultitaskPrompt", "PrefixTuning", "CPTConfig")
"""Adapters that put trained vectors in front of the embedded tokens."""
EMBEDDINGS = frozenset({"embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings"})
"""What libraries call the input embedding; an adapter on it makes its output require a gradient."""
NO_TOKENS = re.compile(
    r"ViT|Vision(?!2Seq)|Swin|Dino|ConvNext|Beit|DeiT|ImageClassification|ImageSegmentation|ObjectDetection"
    r"|SemanticSegmentation|MaskedImage|VideoClassification|Wav2Vec|Hubert|WavLM|AudioClassification|CTC"
)
"""Models that are fed pixels or sound: no token embedding to put a hook on."""
SPEECH = re.compile(r"Whisper|SpeechSeq2Seq|SpeechEncoderDecoder|Speech2Text")
"""Their input embedding is the decoder's; the encoder starts from sound."""
TOWER_TARGETS = re.compile(r"visual|vision|image_encoder|audio")
"""In an adapter's ``target_modules``: layers of a tower, in front of which there is no token embedding."""
EVERY_TOWER_SINCE = 5
"""The major version of transformers whose ``enable_input_require_grads`` also reaches the towers (5.23)."""
REQUIRES_GRAD = re.compile(r"requires?_grad|input_grad")


def needs_input(script: Script, model: Model) -> bool:
    """Whether a model with adapters is checkpointed reentrantly, or may be, while nothing supplies a gradient."""
    return may_be_starved(script, model) and not supplied(script, model)


def may_be_starved(script: Script, model: Model) -> bool:
    """Whether a model with adapters is, or may be, checkpointed reentrantly."""
    if model.origin == "unsloth" or not trains_adapter(script, model):
        return False
    found = switches(script, model)
    mode = effective(script, found)
    if mode == "off":
        return unseen_class(script, model) and bool(model.preparations)
    if mode == "unseen" and unseen_class(script, model):
        return True
    return mode != "non-reentrant"


def trains_adapter(script: Script, model: Model) -> bool:
    """Whether an adapter of the model trains: a new one, or one that is not loaded for inference."""
    return bool(model.adaptations) or any(
        hidden_arguments(script, site.call)
        or flag(script, argument(script, site.call, "is_trainable", 3), default=False) is not False
        for site in model.adapter_loads
    )


def unseen_class(script: Script, model: Model) -> bool:
    """Whether the model is of the user's own making and the class is in another file."""
    root = model.maker.split(".")[0]
    return model.origin == "own" and root not in script.definitions


def supplied(script: Script, model: Model) -> bool:
    """Whether something in the script makes the input of the first block require a gradient."""
    by_hand = any(_hook_by_hand(script, site) for site in sites(script))
    by_library = any(_enables(site, model) for site in sites(script)) or (
        _by_preparation(script, model) or _by_adapter(script, model) or _by_trl(script)
    )
    if SPEECH.search(model.maker) or _adapts_tower(script):
        return by_hand
    return by_hand or by_library


def _hook_by_hand(script: Script, site: Site) -> bool:
    """``model.get_input_embeddings().register_forward_hook(...)``, and what people write in its place."""
    if site.last not in {"register_forward_hook", "register_forward_pre_hook"}:
        return False
    given = argument(script, site.call, "hook", 0)
    function = script.definitions.get(dotted(given)) if given is not None else None
    body = " ".join(script.code(n) for n in (given, function) if n is not None)
    return bool(REQUIRES_GRAD.search(body))


def _enables(site: Site, model: Model) -> bool:
    if site.last != SUPPLYING:
        return False
    return (
        model.has(site.receiver)
        or "." in site.receiver
        or not site.receiver.startswith(("ref", "teacher"))
    )


def _by_preparation(script: Script, model: Model) -> bool:
    """PEFT puts the hook where the model is quantized and the checkpointing it switches on is reentrant.

    peft 0.21.2, utils/other.py. A class of the user's own seldom says that it is quantized.
    """
    known = says_quantized(script) if model.origin == "own" else model.quantized or _hides(model)
    if not known and model.origin != "unknown":
        return False
    return any(
        switch.place == "preparation" and switch.mode != "non-reentrant"
        for switch in switches(script, model)
    )


def says_quantized(script: Script) -> bool:
    """Whether the script marks a model of its own as quantized, as PEFT asks."""
    return "is_loaded_in_" in script.text


def _hides(model: Model) -> bool:
    """Whether the call that loads it may quantize without saying so: a checkpoint that is quantized as it is."""
    return any(len(site.call.args) > 0 for site in model.loads) and bool(model.preparations)


def _by_adapter(script: Script, model: Model) -> bool:
    """What the adapter brings: trained prompts, a trained embedding, or PEFT's own hook.

    PEFT puts the hook where checkpointing is on already and the model does not say that it is quantized (peft 0.21.2,
    peft_model.py).
    """
    if _trains_inputs(script):
        return True
    if model.quantized or says_quantized(script) or not model.adaptations:
        return False
    first = model.adaptations[0]
    on = [s for s in sites(script) if s.last in ENABLING and s.receiver in model.names]
    if model.origin == "library" and any(site.order < first.order for site in on):
        return True
    made = script.definitions.get(model.maker)
    return isinstance(made, cst.ClassDef) and not _is_library_class(made) and _finds_embedding(made)


def _is_library_class(made: cst.ClassDef) -> bool:
    return any(
        "PreTrained" in dotted(base.value) or "For" in dotted(base.value) for base in made.bases
    )


def _finds_embedding(made: cst.ClassDef) -> bool:
    return defines(made, "get_input_embeddings") or defines(made, SUPPLYING)


def defines(made: cst.ClassDef, name: str) -> bool:
    """Whether a class of the script has a method called ``name``."""
    return any(
        isinstance(node, cst.FunctionDef) and node.name.value == name for node in made.body.body
    )


def _trains_inputs(script: Script) -> bool:
    """Whether an adapter's configuration names the embedding or puts trained prompts before it."""
    for site in sites(script):
        if site.last.startswith(PROMPTS) and site.of("peft"):
            return True
        if site.last.endswith("Config") and site.of("peft"):
            for name in ("target_modules", "modules_to_save", "trainable_token_indices"):
                given = argument(script, site.call, name)
                if given is not None and _names_embedding(script, given):
                    return True
    return False


def _names_embedding(script: Script, given: cst.BaseExpression) -> bool:
    value = script.value(given)
    values = value if isinstance(value, (list, tuple, set)) else ()
    return any(str(name).rpartition(".")[2] in EMBEDDINGS for name in values)


def _by_trl(script: Script) -> bool:
    """TRL's trainers prepare the model where they attach the adapter themselves."""
    return any(
        argument(script, site.call, "peft_config") is not None
        for site in trainers(script)
        if site.home != "transformers"
    )


def bypasses_embedding(script: Script, model: Model) -> bool:
    """Whether a hook on the token embedding cannot help: the model is not fed tokens."""
    if NO_TOKENS.search(model.maker) or SPEECH.search(model.maker) or _adapts_tower(script):
        return True
    calls = [site.call for site in sites(script)]
    embeds = any(name == "inputs_embeds" for call in calls for name, _ in keywords(script, call))
    through = any("get_input_embeddings()(" in script.code(call) for call in calls)
    named = any(".embed_tokens(" in script.code(call) for call in calls)
    return embeds and not through and not named


def _adapts_tower(script: Script) -> bool:
    """Whether an adapter goes into a vision or audio tower that the hook on the embedding does not reach."""
    if major(script.transformers) >= EVERY_TOWER_SINCE:
        return False
    configs = (site for site in sites(script) if site.last.endswith("Config") and site.of("peft"))
    given = (argument(script, site.call, "target_modules") for site in configs)
    texts = [script.code(value) for value in given if value is not None]
    return any(TOWER_TARGETS.search(text) and "(?!" not in text for text in texts)


def reentrant_switches(script: Script, found: tuple[Switch, ...]) -> list[Switch]:
    """The switches that make the step's checkpointing reentrant, or may."""
    return [switch for switch in found if settled(script, switch) in {"reentrant", "default"}]
