"""The page in a real browser: what it shows, what a click and a key do, and that it is harmless and reachable."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gradcheck.gates.gate import Judged
from gradcheck.reports.report import Link, Report
from tests.formats import fixes, gates, reports
from tests.formats.chromium import DESK, PHONE, Opened, chromium, written
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

MADE: dict[str, Callable[[], Judged]] = {
    **REPORTS,
    **{f"fix-{name}": make for name, make in FIXES.items()},
    **{f"gate-{name}": make for name, make in GATES.items() if name != "endless"},
}
Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a report; after the test, nothing may have gone wrong in it."""
    pages: list[Opened] = []

    def open_(report: Judged, **options: Any) -> Opened:
        pages.append(Opened(browser, written(tmp_path, report), **options))
        return pages[-1]

    yield open_
    for page in pages:
        page.close()


def large() -> Report:
    """The shape of Llama 3.1 405B with LoRA on all linear layers: 1,764 trainable tensors in 126 layers."""
    healthy = reports.healthy()
    of_a_layer = [p for p in healthy.parameters if ".layers.0." in p.fqn]
    records = tuple(
        dataclasses.replace(
            record,
            fqn=record.fqn.replace(".layers.0.", f".layers.{layer}."),
            group=record.group.replace("0-29", "0-125"),
        )
        for layer in range(126)
        for record in of_a_layer
    )
    frozen, layers, *rest = healthy.chain
    name = layers.name.replace("0-29", "0-125")
    link = dataclasses.replace(layers, name=name, count=126, trainable=1764, reached=1764)
    return dataclasses.replace(healthy, parameters=records, chain=(frozen, link, *rest))


# Nothing goes wrong


@pytest.mark.parametrize("name", MADE)
def test_no_page_says_asks_for_or_runs_anything_or_is_wider_than_the_window(
    opened: Open, name: str
) -> None:
    page = opened(MADE[name](), viewport=PHONE).page
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.locator("h1").count() == 1


def test_something_wider_than_the_window_would_be_noticed(opened: Open) -> None:
    page = opened(reports.healthy(), viewport=PHONE).page
    page.evaluate("document.querySelector('main').style.width = '500px'")
    assert page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]


PROBES = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "<svg/onload=alert(3)>",
    "<a href=javascript:alert(4)>here</a>",
    "--><!--<style>*{display:none}</style>",
)


def hostile(probe: str) -> Report:
    """``probe`` wherever a model's or a user's text is shown."""
    report = reports.hostile()
    fields = {"fqn": probe, "group": f"{probe} {probe}", "dtype": probe, "explanation": probe}
    records = [dataclasses.replace(p, **fields) for p in report.parameters]  # type: ignore[arg-type]
    layers = [
        dataclasses.replace(records[0], fqn=f"{probe}.layers.{n}.{probe}.w") for n in range(3)
    ]
    finding = dataclasses.replace(
        report.findings[0],
        code=probe,
        rule=probe,
        message=probe,
        module=probe,
        evidence=((probe, probe),),
        parameters=(probe,),
    )
    links = (
        Link(
            name=f"{probe}.layers.0-2", type=probe, count=3, trainable=3, reached=0, state="starved"
        ),
        Link(name=probe, type=probe, count=1, trainable=1, reached=0, state="starved", cut=True),
    )
    return dataclasses.replace(
        report,
        findings=(finding,),
        parameters=(*records, *layers),
        chain=links,
        setup=((probe, probe), ("model", probe)),
        notes=(probe,),
    )


@pytest.mark.parametrize("probe", PROBES)
def test_hostile_text_is_shown_and_never_run(opened: Open, probe: str) -> None:
    page = opened(hostile(probe)).page
    for toggle in page.locator(".chain .toggle").all():
        toggle.click()
    page.locator("details.tensors > summary").click()
    page.locator("table.map td").last.click()
    assert page.locator(".message").inner_text() == " ".join(probe.split())
    rows = page.locator("details.tensors tbody tr")
    rows.last.wait_for()
    assert rows.count() == 4
    assert page.locator("img").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.locator("h1").is_visible()


def test_a_script_that_ran_would_be_noticed(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(f"<p>{PROBES[1]}</p>", "utf-8")
    page = Opened(browser, path)
    page.page.wait_for_timeout(200)
    assert any(text.startswith("dialog: 2") for text in page.trouble)
    page.trouble.clear()
    page.close()


def test_the_policy_lets_no_other_script_run(opened: Open) -> None:
    page = opened(reports.classic())
    page.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    page.page.evaluate("fetch('https://example.com/').catch(() => 0)")
    page.page.wait_for_timeout(100)
    assert page.page.evaluate("window.ran") is None
    assert len([text for text in page.trouble if "Content Security Policy" in text]) >= 2
    page.trouble.clear()


# The chain


def test_a_link_opens_and_closes_by_click_down_to_its_parameters(opened: Open) -> None:
    page = opened(reports.classic()).page
    layers = page.get_by_role("button", name="layers.0–29")
    assert layers.get_attribute("aria-expanded") == "false"
    layers.click()
    assert layers.get_attribute("aria-expanded") == "true"
    item = page.locator(".chain > li[data-wire=cut]")
    assert item.locator("> .tree > li").count() == 30
    item.get_by_role("button", name="7", exact=True).click()
    item.get_by_role("button", name="self_attn", exact=True).click()
    item.get_by_role("button", name="q_proj", exact=True).click()
    adapter = item.locator(".leaf", has_text="lora_B.default.weight")
    assert adapter.inner_text().split() == [
        "lora_B.default.weight", "fp32[576,", "16]", "○", "starved",
    ]  # fmt: skip
    layers.click()
    assert not adapter.is_visible()


def test_a_link_opens_and_closes_by_keyboard(opened: Open) -> None:
    page = opened(reports.classic()).page
    layers = page.get_by_role("button", name="layers.0–29")
    layers.focus()
    for key, expanded in (
        ("Enter", "true"),
        ("Space", "false"),
        ("ArrowRight", "true"),
        ("ArrowRight", "true"),
        ("ArrowLeft", "false"),
    ):
        page.keyboard.press(key)
        assert layers.get_attribute("aria-expanded") == expanded
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "0"


def test_the_cut_the_starved_and_the_incomplete_are_told_by_words_and_by_the_wire(
    opened: Open,
) -> None:
    page = opened(reports.partial()).page
    wires = [li.get_attribute("data-wire") for li in page.locator(".chain > li").all()]
    assert wires == [
        "incomplete",
        "incomplete",
        "incomplete",
        "cut",
        "flows",
        "flows",
        "flows",
        "flows",
    ]
    assert "cut here · GC202 · train/model.py:88" in page.locator(".chain .cut").inner_text()
    page = opened(reports.classic()).page
    wires = [li.get_attribute("data-wire") for li in page.locator(".chain > li").all()]
    assert wires == ["none", "none", "cut", "idle", "idle", "idle"]
    starved = page.locator(".chain > li[data-wire=cut]").inner_text()
    assert "starved" in starved
    assert "0 of 420" in starved


# The tables


def column(page: Any, table: str, index: int) -> list[str]:
    cells = page.locator(f"{table} > tbody > tr").all()
    return [row.locator("th, td").nth(index).inner_text() for row in cells]


def test_the_groups_are_sorted_by_click_and_by_keyboard(opened: Open) -> None:
    page = opened(reports.healthy()).page
    head = page.locator("#parameters thead th", has_text="elements")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    sizes = [int(text.replace(",", "")) for text in column(page, "#parameters table", 2)]
    assert sizes == sorted(sizes, reverse=True)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    sizes = [int(text.replace(",", "")) for text in column(page, "#parameters table", 2)]
    assert sizes == sorted(sizes)
    norm = page.locator("#parameters thead th", has_text="norm")
    norm.get_by_role("button").press("Space")
    assert page.locator("#parameters thead th[aria-sort]").count() == 1
    norms = column(page, "#parameters table", 6)
    known = [float(text) for text in norms if text]
    assert known == sorted(known, reverse=True)
    assert norms[len(known) :] == [""] * (len(norms) - len(known))  # without a number: last


def test_every_tensor_is_found_sorted_and_filtered(opened: Open) -> None:
    page = opened(reports.healthy()).page
    page.locator("details.tensors > summary").press("Enter")
    rows = page.locator("details.tensors tbody tr")
    rows.last.wait_for()  # they are made when the browser says that the list was opened
    assert rows.count() == 100
    page.get_by_role("button", name="Show 100 more").click()
    assert rows.count() == 200
    page.get_by_label("Name contains").fill("layers.7.mlp.up")
    assert rows.count() == 2
    assert page.get_by_role("status").inner_text() == "2 of 420 tensors"
    page.locator(".tools select").select_option("zero")
    assert rows.count() == 1
    assert "lora_A" in rows.inner_text()
    page.get_by_label("Name contains").fill("")
    page.locator(".tools select").select_option("flows")
    page.locator("details.tensors thead th", has_text="norm").get_by_role("button").click()
    norms = [float(text) for text in column(page, "details.tensors table", 5)]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] == 0.07


# The map


def test_the_map_is_walked_with_the_arrow_keys_and_read_out(opened: Open) -> None:
    page = opened(reports.healthy()).page
    readout = page.locator(".readout")
    page.locator("table.map td[tabindex='0']").focus()
    assert readout.inner_text().endswith(
        "layers.0 self_attn.q_proj lora_A: as it should: waits for lora_B"
    )
    for key in ("ArrowRight", "End", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert "layers.28 self_attn.k_proj lora_A" in readout.inner_text()
    page.locator("table.map tr", has_text="mlp.up_proj lora_B").locator("td").nth(3).hover()
    assert readout.inner_text() == "base_model.model.model.layers.3 mlp.up_proj lora_B: 0.015"
    assert page.locator("table.map td[tabindex='0']").count() == 1


def test_missing_zero_and_non_finite_differ_in_more_than_color(opened: Open) -> None:
    healthy = reports.healthy()
    states = ("missing", "zero", "non-finite", "flows")
    records = tuple(
        dataclasses.replace(p, gradient=states[i % 4], explanation="")  # type: ignore[arg-type]
        for i, p in enumerate(p for p in healthy.parameters if p.requires_grad)
    )
    page = opened(dataclasses.replace(healthy, parameters=records)).page
    marks = page.evaluate(
        """['m', 'z', 'n', 'f4'].map((name) => {
            const cell = document.querySelector(`table.map td.${name}`) || document.querySelector('.shades .f4');
            return getComputedStyle(cell, '::before').content + (getComputedStyle(cell).backgroundImage !== 'none');
        })"""
    )
    assert len(set(marks)) == 4
    assert page.locator("#gradients .legend dd").all_inner_texts() == [
        "norm, in logarithmic shades",
        "no gradient",
        "a gradient of exactly zero",
        "NaN or infinity in it",
    ]


# Before and after; several targets


def test_before_and_after_stand_side_by_side_and_below_each_other_on_a_phone(opened: Open) -> None:
    page = opened(fixes.two_repairs()).page
    before, after = (side.bounding_box() for side in page.locator(".side").all())
    assert before["y"] == after["y"]
    page.set_viewport_size(PHONE)
    before, after = (side.bounding_box() for side in page.locator(".side").all())
    assert before["x"] == after["x"]
    assert page.locator(".outcome h3 .name").all_inner_texts() == [
        "use-non-reentrant-checkpointing",
        "enable-input-require-grads",
        "hook-entries",
    ]
    assert "cured" in page.locator(".finding h3").inner_text()
    assert page.locator("table.map").count() == 2


def test_a_gate_lists_its_targets_and_leads_to_each(opened: Open) -> None:
    page = opened(gates.mixed()).page
    assert column(page, "#targets table", 0) == list(gates.NAMES)
    healthy = page.locator("#target-1-target")
    assert not healthy.get_attribute("open")
    page.locator("#targets").get_by_role("link", name="healthy", exact=True).click()
    page.wait_for_function("document.getElementById('target-1-target').open")
    assert healthy.locator("h2").inner_text().startswith("healthy")
    page.locator("#targets thead th", has_text="status").get_by_role("button").click()
    assert column(page, "#targets table", 0)[0] == "hangs"
    assert page.locator("nav a").all_inner_texts() == ["Targets", *gates.NAMES]


def test_a_rule_told_of_twice_is_there_once_and_the_link_opens_it(opened: Open) -> None:
    report = reports.partial()
    twice = dataclasses.replace(report, findings=(report.findings[1], report.findings[1]))
    page = opened(twice).page
    assert page.locator("details.rule").count() == 1
    page.get_by_role("link", name="Rule GC202").click()
    page.wait_for_function("document.getElementById('rule-GC202').open")
    text = page.locator("details.rule").inner_text()
    for heading in ("What it does", "Why this breaks training", "Example", "Repair", "References"):
        assert heading in text
    assert page.locator("details.rule pre").inner_text().startswith("features = self.encoder")


# Light, dark, copying


def ground(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_page_follows_the_system_and_its_button_overrides_it(opened: Open) -> None:
    light = ground(opened(reports.classic(), color_scheme="light").page)
    page = opened(reports.classic(), color_scheme="dark").page
    dark = ground(page)
    assert light != dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert ground(page) == light
    page.reload()
    assert ground(page) == light
    page.get_by_role("button", name="Switch between light and dark").click()
    assert ground(page) == dark


def test_the_environment_is_copied_for_a_bug_report(opened: Open) -> None:
    page = opened(reports.classic(), permissions=["clipboard-read", "clipboard-write"]).page
    page.locator(".paste > summary").click()
    page.locator(".paste").get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("BROKEN: none of the 420 trainable tensors gets a gradient")
    assert "error GC301 reentrant-checkpoint-without-grad-input in base_model.model" in copied
    assert "\ntorch          2.13.0\n" in copied
    assert "lora_A" not in copied


def test_a_snippet_is_copied_as_it_stands(opened: Open) -> None:
    page = opened(fixes.two_repairs(), permissions=["clipboard-read", "clipboard-write"]).page
    page.locator(".outcome").last.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == fixes.HOOK.snippet


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "make", [reports.classic, reports.partial, reports.healthy, fixes.two_repairs, gates.mixed]
)
def test_axe_finds_no_barrier(opened: Open, make: Callable[[], Judged], scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe is not installed: pip install -e .[dev]",
    )
    page = opened(make(), color_scheme=scheme).page
    for summary in page.locator("details:not([open]) > summary").all():
        if summary.is_visible():
            summary.click()
    for _ in range(4):
        toggles = page.locator(".toggle[aria-expanded=false]")
        if toggles.count():
            toggles.first.click()
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
    assert [
        (each["id"], node["html"][:200])
        for each in found.response["violations"]
        for node in each["nodes"][:3]
    ] == []


def test_axe_would_notice_a_barrier(opened: Open) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = opened(reports.failure()).page
    page.evaluate("document.querySelector('.sentence').style.color = '#ddd'")
    found = axe.Axe().run(page)
    assert "color-contrast" in {each["id"] for each in found.response["violations"]}


def test_the_focus_is_seen_and_starts_with_a_way_past_the_bar(opened: Open) -> None:
    page = opened(reports.classic()).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert page.locator(".skip").bounding_box()["width"] > 50
    page.keyboard.press("Tab")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


def test_what_scrolls_sideways_is_reached_by_keyboard_and_nothing_else(opened: Open) -> None:
    page = opened(reports.classic()).page
    stops = page.locator(".scroller[tabindex='0']")
    page.set_viewport_size(PHONE)
    stops.wait_for()
    assert stops.get_attribute("aria-label") == "By group"
    page.set_viewport_size(DESK)
    stops.wait_for(state="detached")


def test_nothing_moves_for_those_who_ask_for_that(opened: Open) -> None:
    moves = "getComputedStyle(document.querySelector('.toggle'), '::before').transitionDuration"
    assert opened(reports.classic()).page.evaluate(moves) == "0.12s"
    still = opened(reports.classic(), reduced_motion="reduce").page
    assert still.evaluate(moves) == "0s"
    assert still.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_without_scripts_the_page_says_all_but_the_single_tensors(opened: Open) -> None:
    page = opened(reports.classic(), java_script_enabled=False).page
    text = page.locator("main").inner_text()
    for words in (
        "Broken",
        "model.enable_input_require_grads()",
        "cut in each",
        "lora_A q_proj",
        "2.13.0",
    ):
        assert words in text
    assert page.locator(".chain > li").count() == 6
    assert page.locator("button").count() == 0


# Size


@pytest.mark.parametrize("make", [large, reports.many_findings, fixes.large])
def test_a_large_report_is_under_two_megabytes_and_there_within_two_seconds(
    browser: Any, tmp_path: Path, make: Callable[[], Judged]
) -> None:
    """In seconds of a processor: what else the machine does is not the page's business."""
    path = written(tmp_path, make())
    assert path.stat().st_size < 2_000_000
    assert busy_s(browser, path) < 2


def busy_s(browser: Any, path: Path) -> float:
    """How long the page keeps a processor busy until it is there, drawn and laid out."""
    page = browser.new_page(viewport=DESK)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.evaluate("document.body.offsetHeight")
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    page.close()
    return float(metrics["TaskDuration"])


def test_a_page_that_is_slow_would_be_noticed(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "slow.html"
    path.write_text("<script>for (const t = Date.now(); Date.now() - t < 6000;);</script>", "utf-8")
    assert busy_s(browser, path) > 0.5


def test_the_map_of_126_layers_fits_a_desk_without_scrolling(opened: Open) -> None:
    page = opened(large()).page
    box = page.evaluate(
        "(() => { const s = document.querySelector('#gradients .scroller'); return [s.scrollWidth, s.clientWidth]; })()"
    )
    assert box[0] <= box[1]
    assert page.locator("table.map td").count() == 14 * 126
