"""Holds the rooms of the package apart: who imports whom, and who alone may touch the world."""

from pathlib import Path

from tests.architecture import (
    HOOKS_AND_MODES,
    LEVELS,
    MUTATING_NAMES,
    PACKAGE,
    PURE_ROOMS,
    SOURCES,
    attributes_assigned,
    circle,
    file_writes,
    foreign_imports,
    lines_using,
    module_state,
    modules_imported,
    modules_loaded_by,
    offenders,
    prints_and_exits,
    room_of,
    text_of,
    wrong_imports,
)
from tests.private_names import foreign_private_uses

HELP = """
import sys
from gradcheck.cli.app import main
sys.argv[1:] = ["--help"]
try:
    main()
except SystemExit:
    pass
"""


def _package_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1])


def sources_outside(*rooms: str) -> list[Path]:
    return [path for path in SOURCES if room_of(path) not in rooms]


def sources_inside(*rooms: str) -> list[Path]:
    return [path for path in SOURCES if room_of(path) in rooms]


def test_every_file_belongs_to_a_room() -> None:
    rooms = {"__init__", "__main__"}.union(*LEVELS)
    assert [str(path) for path in SOURCES if room_of(path) not in rooms] == []


def test_imports_go_one_way() -> None:
    def wrong(path: Path) -> list[str]:
        return wrong_imports(text_of(path), room_of(path), _package_of(path))

    assert offenders(sources_outside("__init__", "__main__"), wrong) == []


def test_a_wrong_import_is_noticed() -> None:
    wrong = [
        ("core", "import gradcheck.recording.session"),
        ("core", "from gradcheck import pipeline"),
        ("core", "from gradcheck import inspect"),
        ("trace", "from gradcheck.judging.judge import chain_of"),
        ("reading", "from gradcheck.findings.finding import Finding"),
        ("rules", "from gradcheck.subject import Subject"),
        ("formats", "from gradcheck.rules import anything"),
        ("recording", "from gradcheck.loading import hub"),
        ("recording", "def late():\n    from gradcheck.diagnose import diagnose"),
        ("diagnose", "from gradcheck.pipeline import inspect"),
        ("loading", "if True:\n    from ..cli import app"),
        ("pipeline", "from gradcheck.isolation import Worker"),
        ("cli", "from gradcheck.integrations import pytest_plugin"),
    ]
    package = {True: "gradcheck.loading", False: "gradcheck.any"}
    assert [w for w in wrong if not wrong_imports(w[1], w[0], package[".." in w[1]])] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(modules_imported()) == []


def test_a_circle_is_noticed() -> None:
    graph = modules_imported()
    assert "gradcheck.trace.trace" in graph["gradcheck.judging.judge"]
    graph["gradcheck.trace.trace"] = {*graph["gradcheck.trace.trace"], "gradcheck.judging.judge"}
    assert "gradcheck.trace.trace" in circle(graph)


def test_pure_rooms_need_the_standard_library_only() -> None:
    pure = sources_inside(*PURE_ROOMS)
    assert offenders(pure, lambda path: foreign_imports(text_of(path), room_of(path))) == []


def test_a_foreign_import_in_a_pure_room_is_noticed() -> None:
    assert foreign_imports("def late():\n    import torch", "rules")
    assert foreign_imports("from rich.text import Text", "core")
    assert not foreign_imports("from rich.text import Text", "formats")
    assert foreign_imports("def late():\n    from pydantic import TypeAdapter", "trace")
    assert not foreign_imports("def late():\n    from pydantic import TypeAdapter", "core")


def test_importing_the_command_line_imports_no_torch() -> None:
    """It imports ``gradcheck`` and ``gradcheck.cli`` as well."""
    loaded = modules_loaded_by("import gradcheck.cli.app")
    assert "gradcheck" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "peft", "bitsandbytes", "numpy"})


def test_rules_and_formats_import_no_torch() -> None:
    statement = (
        "from gradcheck.findings.rule import RULES\nfrom gradcheck.reports.formatter import FORMATS\n"
        "import gradcheck.diagnose\nRULES.all(), FORMATS.all()"
    )
    assert "torch" not in modules_loaded_by(statement)


def test_whoever_isolates_imports_no_torch() -> None:
    parents = "gradcheck.isolation.child, gradcheck.cli.isolated, gradcheck.cli.gate_run"
    assert modules_loaded_by(f"import {parents}").isdisjoint({"torch", "transformers", "libcst"})


def test_pydantic_is_imported_when_a_document_is_read_or_written() -> None:
    """The command line's own library imports it for the values of options; help has none."""
    statements = [
        "import gradcheck.cli.app",
        HELP,
        "import gradcheck.cli.rule\nfrom gradcheck.findings.rule import RULES\nRULES.all()",
        "import gradcheck.trace.file, gradcheck.isolation.child, gradcheck.diagnose",
    ]
    loaded = {statement: modules_loaded_by(statement) for statement in statements}
    assert [s for s in statements if "gradcheck" not in loaded[s]] == []
    assert [s for s in statements if loaded[s] & {"pydantic", "pydantic_core"}] == []


def test_an_import_of_pydantic_is_noticed() -> None:
    statement = "from gradcheck.core.codec import dumps\nfrom gradcheck.settings import Settings"
    assert "pydantic" in modules_loaded_by(f"{statement}\ndumps(Settings())")


def test_an_import_of_torch_is_noticed() -> None:
    assert "torch" in modules_loaded_by("import gradcheck\ngradcheck.inspect")


def test_only_recording_registers_hooks_and_enters_modes() -> None:
    paths = set(sources_outside("recording")) - {PACKAGE / "editing" / "hooks.py"}  # the repair
    used = offenders(sorted(paths), lambda path: lines_using(text_of(path), HOOKS_AND_MODES))
    assert used == []


def test_only_editing_changes_modules() -> None:
    """Loading sets up models of its own making, and recording puts back what the step changed."""

    def changes(path: Path) -> list[str]:
        return lines_using(text_of(path), MUTATING_NAMES) + attributes_assigned(text_of(path))

    paths = sources_outside("editing", "loading", "recording", "__init__")
    assert offenders(paths, changes) == []


def test_only_editing_and_the_command_line_write_files() -> None:
    """The command line writes the files that an option of its own names; isolation a folder of its own, for a while."""
    paths = sources_outside("editing", "cli", "isolation")
    assert offenders(paths, lambda path: file_writes(text_of(path))) == []


def test_only_the_command_line_prints_or_exits() -> None:
    paths = sources_outside("cli", "__main__")
    assert offenders(paths, lambda path: prints_and_exits(text_of(path))) == []


def test_recording_has_no_module_level_state() -> None:
    paths = sources_inside("recording")
    assert offenders(paths, lambda path: module_state(text_of(path))) == []


def test_each_check_reads_files_and_names_those_that_offend() -> None:
    """A check over no files, or one whose answer is lost, would hold nothing."""
    assert len(SOURCES) > 200
    rooms = {room_of(path) for path in SOURCES}
    assert rooms >= set().union(*LEVELS)
    path = PACKAGE / "recording" / "session.py"
    assert offenders([path], lambda _: ["line 1: a", "line 2: b"]) == [
        "recording/session.py, line 1: a",
        "recording/session.py, line 2: b",
    ]


def test_what_only_one_room_may_do_is_noticed() -> None:
    assert lines_using("module.register_forward_hook(f)", HOOKS_AND_MODES)
    assert lines_using("class M(TorchFunctionMode): pass", HOOKS_AND_MODES)
    assert lines_using("with torch.autograd.graph.saved_tensors_hooks(a, b): pass", HOOKS_AND_MODES)
    assert lines_using("p.requires_grad_(True)", MUTATING_NAMES)
    assert attributes_assigned("p.requires_grad = True")
    assert not attributes_assigned("self.training = True")
    assert file_writes("open('x', 'w')")
    assert file_writes("Path('x').open(mode='wb')")
    assert not file_writes("open('x')")
    for source in ("print(1)", "raise SystemExit(2)", "raise SystemExit", "sys.stderr.write('')"):
        assert prints_and_exits(source)
    assert not prints_and_exits("try:\n    f()\nexcept SystemExit:\n    raise ValueError from None")


def test_module_level_state_is_noticed() -> None:
    state = [
        "SEEN = {}",
        "seen: list[int] = []",
        "import threading\nx = threading.local()",
        "class A:\n    seen = set()",
        "def f():\n    global x\n    x = 1",
        "T = {1: 2}\ndef f():\n    T[3] = 4",
        "T = [1]\ndef f():\n    T.append(2)",
        "@functools.lru_cache(maxsize=None)\ndef f(): ...",
    ]
    assert [source for source in state if not module_state(source)] == []


def test_a_table_is_no_state() -> None:
    assert module_state("KINDS = {'detach': 1}\nNAMES = ('a',)\ndef f():\n    x = []") == []


def test_private_names_of_other_libraries_stand_in_internals_alone() -> None:
    """See CONTRIBUTING.md, "A private name of another library"."""
    paths = sources_outside("internals")
    assert offenders(paths, lambda path: foreign_private_uses(text_of(path))) == []


def test_a_private_name_of_another_library_is_noticed() -> None:
    private = [
        "x = tensor._version",
        "x = tensor._never_seen_before",
        "x = torch._C",
        "torch._C._set_grad_enabled(False)",
        "from torch._dynamo import disable",
        "import torch._inductor.config as config",
        "from torch.nn.modules.module import _global_forward_hooks",
        "def late():\n    import peft.tuners._buffer_dict",
        "hooks = module._forward_hooks",
        "class Mine(torch.nn.Module):\n    def f(self):\n        return self._parameters",
        "class Mine(Mode):\n    def f(self):\n        return self._inner_state_of_the_base",
        "getattr(module, '_hf_hook', None)",
        "operator.attrgetter('_saved_self')(node)",
        "vars(module)['_hf_hook']",
        "replace(stack, torch.Tensor, '_make_subclass', mine)",
        "inventory.holding('_require_grads_hook')",
        "line = f'if hook not in {name}._forward_hooks.values():'",
        "layers = sys.modules.get('transformers.integrations._hub')",
        "class A:\n    def _version(self): ...\n\ndef f(tensor):\n    return tensor._version",
    ]
    assert [source for source in private if not foreign_private_uses(source)] == []


def test_ones_own_names_and_pythons_are_not() -> None:
    own = [
        "class A:\n    def __init__(self):\n        self._held = 1\n\ndef f(a: A):\n    return a._held",
        "class B(Base):\n    def f(self):\n        return self._ledger",
        "class A:\n    def __init__(self):\n        self._version = 1\n    def f(self):\n        return self._version",
        "sys._getframe(1)",
        "row._replace(name='x')",
        "hasattr(value, '_fields')",
        "from gradcheck.rules import _private",
        "from __future__ import annotations",
        "import _thread",
        'def f():\n    """Reads ``tensor._version``."""',
        "suffixes = ('_token_id', '_index')",
        "tensor._gradcheck_region = 1",
        "type(x).__name__",
    ]
    assert [source for source in own if foreign_private_uses(source)] == []
