"""A report in the tools where people look at their trainings: TensorBoard and Weights & Biases."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from gradcheck.reports.formatter import RenderOptions, render
from gradcheck.reports.report import Report

TAG = "gradcheck"


def write_summary(report: Report, writer: Any) -> None:
    """Writes ``report`` to ``writer``, a ``SummaryWriter`` of TensorBoard or a run of W&B; anything else is left alone.

    TensorBoard gets the report as Markdown under *Text*; W&B gets verdict, number of findings and codes in the run's
    summary. A writer that raises is warned of, and the training goes on.
    """
    try:
        if hasattr(writer, "add_text"):
            writer.add_text(TAG, render(report, "markdown", RenderOptions()), 0)
            writer.flush()
        elif hasattr(writer, "summary"):
            writer.summary.update(_row(report))
    except Exception as error:
        warnings.warn(f"gradcheck could not write its summary: {error}", stacklevel=2)


def wandb_runs() -> Sequence[Any]:
    """The run of W&B that is active in this process, where there is one; nothing is imported for it."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return [] if run is None else [run]


def _row(report: Report) -> dict[str, object]:
    trainable = [parameter for parameter in report.parameters if parameter.requires_grad]
    learning = [parameter for parameter in trainable if parameter.gradient == "flows"]
    return {
        f"{TAG}/verdict": report.verdict,
        f"{TAG}/errors": sum(finding.severity == "error" for finding in report.findings),
        f"{TAG}/codes": ", ".join(dict.fromkeys(finding.code for finding in report.findings)),
        f"{TAG}/trainable_tensors": len(trainable),
        f"{TAG}/tensors_with_gradient": len(learning),
    }
