"""The command's help in Chinese: what cyclopts shows, with each text said by chinese.py."""

from typing import Any

from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions

from residuum.chinese import said

WIDE = 10_000


class ChineseHelp(DefaultFormatter):
    """See cyclopts' HelpFormatter."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Show a panel."""
        entries = [_said(entry, console) for entry in panel.entries]
        title = _plain(panel.title, console)
        said_title = "参数" if title == "Parameters" else said(title)  # on pages these are a net's
        super().__call__(console, options, panel.copy(title=said_title, entries=entries))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Show how a verb is called."""
        if usage:
            console.print(f"用法：{usage}", markup=False, highlight=False)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Show what a verb does."""
        lines = _plain(description, console).splitlines()
        told = (line if line.startswith("residuum ") else said(line) for line in lines)
        super().render_description(console, options, "\n".join(told) + "\n")


def _said(entry: HelpEntry, console: Console) -> HelpEntry:
    """Return an entry in Chinese; what cyclopts would add in English stands in its text."""
    parts = [said(_plain(entry.description, console))]
    parts += [f"[可选：{', '.join(entry.choices)}]"] if entry.choices else []
    parts += [f"[默认：{entry.default}]"] if entry.default is not None else []
    parts += ["[必需]"] if entry.required else []
    return entry.copy(description=" ".join(filter(None, parts)), choices=None, default=None, required=False)


def _plain(shown: Any, console: Console) -> str:
    """Return what rich would show, without its lines' ends."""
    if isinstance(shown, str):
        return shown
    rendered = console.render(shown, console.options.update(width=WIDE))
    return "\n".join(line.rstrip() for line in "".join(one.text for one in rendered).splitlines()).strip()
