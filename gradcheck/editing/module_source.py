"""Verified repairs as a small Python module that a training script imports; it needs torch and not gradcheck."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from typing_extensions import assert_never

from gradcheck.editing.checkpointing import CHECKPOINT_OPTIONS, FLAG
from gradcheck.findings import edit as kinds
from gradcheck.internals.libraries import CHECKPOINTING_FUNCTION
from gradcheck.internals.modules import FORWARD_HOOKS, FORWARD_PRE_HOOKS
from gradcheck.reports.outcome import FixReport, Verified

MAX_COLUMNS = 96
MAX_TARGET = 50


@dataclass
class _Module:
    """The parts of the module that is being written."""

    imports: set[str] = field(default_factory=set)
    helpers: dict[str, str] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)


def module_source(report: FixReport, target: str) -> str:
    """The text of a module with ``apply(model)``, which repeats the verified repairs on a model made the same way.

    Where one of them concerns the optimizer it is ``apply(model, optimizer)``.
    """
    parts = _Module()
    needs_optimizer = False
    for outcome in report.verified:
        parts.body += _comment(outcome)
        for edit in outcome.edits:
            needs_optimizer |= isinstance(edit, kinds.AddToOptimizer)
            parts.body += _lines(edit, parts)
    signature = "model, optimizer" if needs_optimizer else "model"
    names = ", ".join(outcome.repair.name for outcome in report.verified) or "nothing to repair"
    first = f"Repairs of {_quoted(target)[-MAX_TARGET:]}, found and verified by gradcheck."
    top = "\n".join((f'"""{first}', "", *textwrap.wrap(names, MAX_COLUMNS), '"""'))
    imports = [f"{line}" for line in sorted(parts.imports)]
    body = [f"    {line}" if line else "" for line in (*parts.body, "return model")]
    apply = [
        f"def apply({signature}):",
        '    """Makes the repairs on the model, in place, and gives it back; call it before the first step."""',
        *body,
    ]
    blocks = [top, *(["\n".join(imports)] if imports else [])]
    text = "\n\n".join(blocks)
    functions = [helper.strip("\n") for helper in parts.helpers.values()]
    return "\n\n\n".join([text, *functions, "\n".join(apply)]) + "\n"


def _quoted(target: str) -> str:
    return target.replace("\\", "/").replace('"', "'")


def _comment(outcome: Verified) -> Iterator[str]:
    text = f"{outcome.code} {outcome.repair.name}: {outcome.repair.summary}"
    yield from textwrap.wrap(text, MAX_COLUMNS - 6, initial_indent="# ", subsequent_indent="# ")


def _lines(edit: kinds.Edit, parts: _Module) -> list[str]:  # noqa: C901, PLR0911, PLR0912 (one case a kind of edit)
    match edit:
        case kinds.EnableInputRequireGrads(modules=fqns):
            return [f"{_place(fqn)}.enable_input_require_grads()" for fqn in fqns]
        case kinds.LetOutputsRequireGrad(modules=fqns):
            parts.helpers["mapped"] = _MAPPED
            parts.helpers["require_grad"] = _REQUIRE_GRAD
            parts.imports.add("import torch")
            return _hooked(fqns, "_require_grad")
        case kinds.CloneOutputs(modules=fqns):
            parts.helpers["mapped"] = _MAPPED
            parts.helpers["clone"] = _CLONE
            parts.imports.add("import torch")
            return _hooked(fqns, "_clone")
        case kinds.LetInputsRequireGrad(names=names):
            parts.helpers["inputs"] = _INPUTS.format(names=names)
            return [
                f"if _inputs_require_grad not in model.{FORWARD_PRE_HOOKS}.values():",
                "    model.register_forward_pre_hook(_inputs_require_grad, with_kwargs=True)",
            ]
        case kinds.SetCheckpointing(mode=mode):
            return _checkpointing(mode, parts)
        case kinds.SetTraining(module=fqn):
            return [f"{_place(fqn)}.train()"]
        case kinds.SetRequiresGrad(parameters=fqns, value=value):
            return _over(fqns, f"parameter.requires_grad_({value})")
        case kinds.CastParameters(parameters=fqns, dtype=dtype):
            parts.imports.add("import torch")
            return _over(fqns, f"parameter.data = parameter.data.to(torch.{dtype})")
        case kinds.AddToOptimizer(gathered=gathered):
            return [*(_RESHARD if gathered else ()), *_ADD_TO_OPTIMIZER.splitlines()]
        case kinds.CallAdapters(call=call, name=name):
            return _adapters(call, name, parts)
        case kinds.AttachAdapter():
            return _attach(edit, parts)
        case kinds.DropAdapters(modules=fqns):
            parts.helpers["dropped"] = _DROPPED
            parts.imports.add("import re")
            return [*_tuple_lines("for fqn in", fqns), "    _drop_adapter(model, fqn)"]
        case kinds.UnwrapMethod(module=fqn, method=method):
            bound = f"type(module).{method}.__wrapped__.__get__(module)"
            return [f"module = {_place(fqn)}", f"module.{method} = {bound}"]
        case kinds.SetArgument(module=fqn, name=name, value=value):
            parts.helpers["held"] = _HELD
            parts.imports |= {"import functools", "import inspect"}
            return [
                f"module = {_place(fqn)}",
                f"module.forward = _with_argument(module.forward, {name!r}, {value!r})",
            ]
        case kinds.KeepUnquantized(modules=fqns):
            parts.helpers["unquantized"] = _UNQUANTIZED
            parts.imports |= {
                "import torch",
                "from peft.utils.integrations import dequantize_module_weight",
            }
            return [*_tuple_lines("for fqn in", fqns), "    _unquantize(model, fqn)"]
        case kinds.SwitchOffCache():
            return [
                "for module in model.modules():",
                '    if getattr(getattr(module, "config", None), "use_cache", None) is True:',
                "        module.config.use_cache = False",
            ]
        case kinds.TieParameters(source=source, target=target):
            owner, _, name = target.rpartition(".")
            return [f"{_place(owner)}.{name} = model.get_parameter({source!r})"]
        case _:
            assert_never(edit)


def _place(fqn: str) -> str:
    return f"model.get_submodule({fqn!r})" if fqn else "model"


def _hooked(fqns: tuple[str, ...], hook: str) -> list[str]:
    return [
        *_tuple_lines("for fqn in", fqns),
        "    module = model.get_submodule(fqn)",
        f"    if {hook} not in module.{FORWARD_HOOKS}.values():",
        f"        module.register_forward_hook({hook})",
    ]


def _over(fqns: tuple[str, ...], statement: str) -> list[str]:
    """``statement`` for each of the parameters, named one by one: what was verified and nothing else."""
    return [
        "parameters = dict(model.named_parameters(remove_duplicate=False))",
        *_tuple_lines("for fqn in", fqns),
        "    parameter = parameters[fqn]",
        f"    {statement}",
    ]


def _tuple_lines(start: str, items: tuple[str, ...]) -> list[str]:
    """``for fqn in (...):``, on one line where it fits."""
    inside = ", ".join(repr(item) for item in items) + ("," if len(items) == 1 else "")
    line = f"{start} ({inside}):"
    if len(line) <= MAX_COLUMNS:
        return [line]
    return [f"{start} (", *(f"    {item!r}," for item in items), "):"]


def _checkpointing(mode: str, parts: _Module) -> list[str]:
    loop = "for module in model.modules():"
    if mode == "off":
        parts.imports |= {"import re", "from torch.utils.checkpoint import checkpoint"}
        parts.helpers["plainly"] = _PLAINLY
        return [
            loop,
            "    for name, held in list(vars(module).items()):",
            f'        if held is True and re.fullmatch(r"{FLAG.pattern}", name):',
            "            setattr(module, name, False)",
            f'        elif name != "{CHECKPOINTING_FUNCTION}" and getattr(held, "func", held) is checkpoint:',
            "            setattr(module, name, _plainly)",
        ]
    parts.imports |= {"import functools", "from torch.utils.checkpoint import checkpoint"}
    parts.helpers["checkpointing"] = _CHECKPOINTING
    over = [loop, "    for name, held in _checkpointing_functions(module):"]
    if mode == "non-reentrant":
        return [
            *over,
            '        options = {**getattr(held, "keywords", {}), "use_reentrant": False}',
            "        setattr(module, name, functools.partial(checkpoint, **options))",
            '    if getattr(module, "use_reentrant", None) is True:',
            "        module.use_reentrant = False",
        ]
    parts.imports.add("import torch")
    parts.helpers["anchored"] = _ANCHORED
    return [
        *over,
        '        if getattr(held, "func", None) is not _anchored:',
        "            setattr(module, name, functools.partial(_anchored, held))",
    ]


def _attach(edit: kinds.AttachAdapter, parts: _Module) -> list[str]:
    parts.imports.add("from peft import LoraConfig, get_peft_model")
    targets = [f"        {target!r}," for target in edit.targets]
    named = ["    target_modules=[", *targets, "    ],"]
    chosen = ['    target_modules="all-linear",'] if edit.targets == ("all-linear",) else named
    options = [f"    r={edit.rank},", f"    lora_alpha={edit.alpha},", *chosen]
    return ["config = LoraConfig(", *options, ")", "model = get_peft_model(model, config)"]


def _adapters(call: str, name: str, parts: _Module) -> list[str]:
    if call == "activate":
        parts.helpers["outermost"] = _OUTERMOST
        return [
            'for module in _outermost(model, "set_adapter"):',
            '    if hasattr(module, "peft_config"):',
            f"        module.set_adapter({name!r})",
        ]
    parts.imports.add("from peft.tuners.tuners_utils import BaseTunerLayer")
    action = "module.enable_adapters(True)" if call == "enable" else "module.unmerge()"
    state = "disable_adapters" if call == "enable" else "merged"
    return [
        "for module in model.modules():",
        f"    if isinstance(module, BaseTunerLayer) and module.{state}:",
        f"        {action}",
    ]


_OUTERMOST = '''
def _outermost(model, method):
    """The modules that have the method and lie in no other one that has it."""
    covered = []
    for fqn, module in model.named_modules():
        if not any(not outer or f"{fqn}.".startswith(f"{outer}.") for outer in covered):
            if callable(getattr(module, method, None)):
                covered.append(fqn)
                yield module
'''
_MAPPED = '''
def _mapped(value, change):
    """The value with the change made to the floating-point tensors in it."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        for key in list(value):
            value[key] = _mapped(value[key], change)
        return value
    if isinstance(value, (tuple, list)):
        items = [_mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
'''
_REQUIRE_GRAD = '''
def _require_grad(module, inputs, output):
    """Frozen outputs become copies of leaves that require a gradient; a leaf itself must not be written in place."""
    return _mapped(output, lambda t: t if t.requires_grad else t.detach().requires_grad_(True).clone())
'''
_CLONE = '''
def _clone(module, inputs, output):
    """A copy, which may be written in place."""
    return _mapped(output, torch.Tensor.clone)
'''
_INPUTS = '''
def _inputs_require_grad(module, args, kwargs):
    """Floating-point inputs require a gradient."""
    for name in {names!r}:
        value = kwargs.get(name)
        if value is not None and value.is_floating_point() and not value.requires_grad:
            kwargs[name] = value.detach().requires_grad_(True)
    return args, kwargs
'''
_PLAINLY = f'''
def _plainly(block, *args, **options):
    """The block itself, for a function that was to checkpoint it."""
    own = {sorted(CHECKPOINT_OPTIONS)!r}
    return block(*args, **{{key: value for key, value in options.items() if key not in own}})
'''
_CHECKPOINTING = f'''
def _checkpointing_functions(module):
    """The attributes that the module calls to checkpoint, by name."""
    for name, held in list(vars(module).items()):
        if name == "{CHECKPOINTING_FUNCTION}" or getattr(held, "func", held) is checkpoint:
            if callable(held):
                yield name, held
'''
_ANCHORED = '''
def _anchored(checkpoint, block, *args, **options):
    """Checkpoints with one more argument, which requires a gradient."""
    device = next((a.device for a in args if isinstance(a, torch.Tensor)), None)
    anchor = torch.ones((), device=device, requires_grad=True)
    return checkpoint(lambda _anchor, *inner: block(*inner), anchor, *args, **options)
'''
_HELD = '''
def _with_argument(forward, name, value):
    """The forward with one keyword argument held at a value."""
    signature = inspect.signature(forward)

    @functools.wraps(forward)
    def held(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.arguments[name] = value
        return forward(*bound.args, **bound.kwargs)

    return held
'''
_UNQUANTIZED = '''
def _unquantize(model, fqn):
    """Puts an ordinary, frozen linear layer in the place of a quantized one."""
    parent, _, name = fqn.rpartition(".")
    layer = model.get_submodule(fqn)
    dtype = getattr(getattr(layer.weight, "quant_state", None), "dtype", torch.float32)
    weight = dequantize_module_weight(layer).detach().to(dtype)
    plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.weight = torch.nn.Parameter(weight, requires_grad=False)
    plain.bias = layer.bias
    if plain.bias is not None and not plain.bias.is_floating_point():
        plain.bias = torch.nn.Parameter(layer.bias.to(dtype), requires_grad=False)
    setattr(model.get_submodule(parent), name, plain.train(layer.training))
'''
_DROPPED = '''
def _drop_adapter(model, fqn):
    """Puts the layer itself in the place of the adapted one, and has it left out where the adapter is loaded again."""
    parent, _, name = fqn.rpartition(".")
    layer, inside = model.get_submodule(fqn), fqn.rpartition("base_model.model.")[2]
    if not hasattr(layer, "get_base_layer"):
        return
    setattr(model.get_submodule(parent), name, layer.get_base_layer())
    for config in getattr(model, "peft_config", {}).values():
        excluded = config.exclude_modules or []
        if isinstance(excluded, str):
            config.exclude_modules = f"(?:{excluded})|{re.escape(inside)}"
        else:
            config.exclude_modules = sorted({*excluded, inside})
'''
_RESHARD = (
    "for module in model.modules():",
    '    if hasattr(module, "reshard"):',
    "        module.reshard()",
)
_ADD_TO_OPTIMIZER = """\
held = {id(p) for group in optimizer.param_groups for p in group["params"]}
missing = [p for p in model.parameters() if p.requires_grad and id(p) not in held]
if missing:
    options = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    optimizer.add_param_group({**options, "params": missing})"""
