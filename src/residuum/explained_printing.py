"""What `residuum explain` prints. The reports are imported when there is one to print, so that help is instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum.console import one_line
from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.printing import print_json, say_unread

if TYPE_CHECKING:
    from residuum.explanation.explain import Explanation


def print_explained(settings: object, explanation: Explanation, json: bool) -> None:
    """Print, for each picture, the answers, where what speaks for them lies, from which block on, and what is alike;
    raise PartlyDone if some cannot be read."""
    print_json(explanation.as_json()) if json else _print_explained(explanation)
    say_unread([f"not explained: {error}" for error in explanation.unread], len(explanation.pictures))


def _print_explained(explanation: Explanation) -> None:
    from residuum.reporting.explained_view import disagreement, trained_on
    from residuum.reporting.wording import where
    from residuum.runs import REPORT

    for one in explanation.pictures:
        doubt = f"unsure ({one.doubt})  " if one.doubt else ""
        answers = "  ".join(f"{said.name} {said.probability:.1%}" for said in one.answers)
        print(one_line(f"{one.name}  {doubt}{answers}"))
        if one.labels is not None:
            print(one_line(f"  {'calls':<10} {', '.join(one.labels) or 'nothing: no class reaches 50 %'}"))
        if known := trained_on(one, unseen=explanation.unseen):
            print(f"  {'known':<10} {known}")
        for heat in one.heat:
            print(f"  {heat.method:<10} what speaks for {one_line(one.heat_of)} is strongest {where(heat)}")
        if disagreement(one.heat):
            apart = "are strongest in different places" if len({where(heat) for heat in one.heat}) == 1 else "disagree"
            print(f"  {'maps':<10} they {apart}: trust neither alone; the report says more")
        print(f"  {'blocks':<10} the answer stands from {one.settled} on")
        for near in one.nearest:
            print(f"  like {near.similarity:<5.3f} {one_line(f'{near.name} ({near.truth})')}")
    print(f"report   {explanation.path / REPORT}")
