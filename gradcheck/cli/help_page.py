"""The help page of a command: plain text, the options in sections."""

from typing import Any

from typer.core import TyperCommand


class SectionedCommand(TyperCommand):
    """A command whose options stand under the name of their panel.

    Typer's own sections come with rich's tables, which take longer than all the rest of a help page.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, the panels in the order in which they first occur, and the rest."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            general = "Arguments" if parameter.param_type_name == "argument" else "General"
            panel = getattr(parameter, "rich_help_panel", None) or general
            # Typer 0.19 escapes the bracket for rich even where rich writes nothing.
            name, text = record
            sections.setdefault(panel, []).append((name, text.replace("\\[", "[")))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
