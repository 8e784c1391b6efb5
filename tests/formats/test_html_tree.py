"""The modules inside the links of the chain."""

import dataclasses
from collections.abc import Iterator

from gradcheck.formats.views.module_tree import ModuleTree, Node
from gradcheck.formats.views.module_tree import module_tree as tree_with
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Break, Link, ParameterRecord, Report
from gradcheck.trace.model import GradientState
from tests.formats import reports
from tests.formats.reports import parameter

STEM = "base_model.model.model.layers"


def module_tree(report: Report) -> ModuleTree:
    return tree_with(report, RenderOptions())


def inside(tree: ModuleTree, node: Node) -> list[Node]:
    return [tree.nodes[index] for index in node.children]


def named(tree: ModuleTree, start: list[Node], *path: str) -> Node:
    for name in path:
        (found,) = [node for node in start if node.name == name]
        start = inside(tree, found)
    return found


def opened(tree: ModuleTree, link: int) -> list[Node]:
    return [tree.nodes[index] for index in tree.links[link]]


def test_a_folded_link_opens_to_its_layers_and_a_layer_to_its_parameters() -> None:
    tree = module_tree(reports.classic())
    layers = opened(tree, 1)
    assert [layer.name for layer in layers] == [str(number) for number in range(30)]
    assert {(layer.state, layer.trainable, layer.reached) for layer in layers} == {
        ("starved", 14, 0)
    }
    adapter = named(tree, layers, "29", "self_attn", "q_proj", "lora_A.default.weight")
    assert (adapter.state, adapter.note) == ("starved", "fp32[16, 576]")
    assert named(tree, layers, "0", "input_layernorm.weight").state == "frozen"


def test_equal_layers_are_kept_once() -> None:
    tree = module_tree(reports.classic())
    first, *others = opened(tree, 1)
    assert all(layer.children == first.children for layer in others[1:])
    assert len(tree.nodes) < 2 * 30 + 60


def test_the_counts_are_those_of_the_links() -> None:
    for make in (reports.classic, reports.healthy, reports.failure, reports.partial):
        report = make()
        tree = module_tree(report)
        for index, link in enumerate(report.chain):
            assert sum(node.trainable for node in opened(tree, index)) == link.trainable
            assert sum(node.reached for node in opened(tree, index)) == link.reached


def test_a_cut_is_marked_where_it_sits_and_on_the_way_to_it() -> None:
    tree = module_tree(reports.partial())
    layer = opened(tree, 2)
    mlp = named(tree, layer, "mlp")
    assert mlp.mark == "partly-cut"
    assert mlp.note == "Tensor.detach · train/model.py:88"
    assert named(tree, layer, "self_attn").mark == ""
    folded = dataclasses.replace(reports.partial(), chain=_layers_in_one())
    twelve = opened(module_tree(folded), 0)[12]
    assert (twelve.name, twelve.mark) == ("12", "cut-inside")


def _layers_in_one() -> tuple[Link, ...]:
    return (
        Link(name=f"{STEM}.0-29", type="L", count=30, trainable=420, reached=420, state="live"),
    )


def test_parameters_that_lose_some_paths_are_incomplete_and_not_lost() -> None:
    report = reports.partial()
    tree = module_tree(report)
    nodes = [node for index in range(len(report.chain)) for node in opened(tree, index)]
    assert sum(node.incomplete for node in nodes) == len(report.breaks[0].partial) == 40
    assert sum(node.reached for node in nodes) == 420


def experts(state: GradientState, numbers: range, layer: int = 0) -> Iterator[ParameterRecord]:
    for number in numbers:
        fqn = f"model.layers.{layer}.experts.{number}.up.weight"
        yield parameter(fqn, (8, 8), "weight up layers.0", state)


def report_of(*records: ParameterRecord, reached: int) -> Report:
    link = Link(
        name="model.layers.0",
        type="L",
        count=1,
        trainable=len(records),
        reached=reached,
        state="partial" if reached else "starved",
    )
    return Report(
        findings=(),
        parameters=records,
        breaks=(),
        skipped=(),
        environment=reports.ENVIRONMENT,
        chain=(link,),
    )


def test_experts_that_stand_alike_are_folded_and_the_odd_one_stays_apart() -> None:
    records = [
        *experts("flows", range(3)),
        *experts("missing", range(3, 4)),
        *experts("flows", range(4, 9)),
    ]
    tree = module_tree(report_of(*records, reached=8))
    shown = inside(tree, named(tree, opened(tree, 0), "experts"))
    assert [(n.name, n.state, n.reached) for n in shown] == [
        ("0–2", "live", 3),
        ("3", "missing", 0),
        ("4–8", "live", 5),
    ]


def test_a_break_names_the_parameters_that_starve_where_others_live() -> None:
    records = [*experts("zero", range(1)), *experts("flows", range(1, 3))]
    cut = Break(
        cause="zero-derivative",
        module="model.layers.0.experts.0.act",
        location=None,
        tensor="",
        made_by="",
        operation="torch.round",
        starved=(records[0].fqn,),
        partial=(),
    )
    report = dataclasses.replace(report_of(*records, reached=2), breaks=(cut,))
    tree = module_tree(report)
    zero = named(tree, opened(tree, 0), "experts", "0")
    assert (zero.state, zero.mark, zero.reached) == ("starved", "cut", 0)


def test_a_model_of_many_experts_has_few_distinct_nodes() -> None:
    records = [record for layer in range(60) for record in experts("flows", range(256), layer)]
    link = Link(
        name="model.layers.0-59", type="L", count=60, trainable=15360, reached=15360, state="live"
    )
    tree = module_tree(dataclasses.replace(report_of(*records, reached=1), chain=(link,)))
    assert len(tree.links[0]) == 60
    assert len(tree.nodes) < 400


def test_a_chain_whose_names_are_no_modules_opens_to_nothing() -> None:
    tree = module_tree(reports.hostile())
    assert tree.links == ((), ())


def test_a_name_of_a_thousand_parts_is_a_leaf() -> None:
    deep = parameter("model." + "a." * 5000 + "weight", (1,), "weight", "flows")
    link = Link(name="model", type="M", count=1, trainable=1, reached=1, state="live")
    tree = module_tree(dataclasses.replace(report_of(deep, reached=1), chain=(link,)))
    assert sum(node.reached for node in opened(tree, 0)) == 1


def test_what_a_cut_in_the_models_own_forward_takes_away_is_incomplete_too() -> None:
    whole = reports.partial()
    (cut,) = whole.breaks
    for module in ("", None):
        findings = tuple(
            dataclasses.replace(f, module=module) if f.severity == "error" else f
            for f in whole.findings
        )
        report = dataclasses.replace(
            whole, findings=findings, breaks=(dataclasses.replace(cut, module=module),)
        )
        lost = [node.incomplete for node in opened(module_tree(report), 1)]
        assert lost == [node.incomplete for node in opened(module_tree(whole), 1)]
        assert sum(lost) > 0
