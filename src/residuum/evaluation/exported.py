"""The verb `evaluate` for what `residuum export` wrote: its engine answers, and the answers are judged as a net's are.

Letters: N pictures, S the side of a view in pixels, K classes.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from residuum import ranks
from residuum.console import say, show_progress
from residuum.data.cache import Progress, fingerprint
from residuum.data.class_names import numbered_as
from residuum.data.contract import ColumnNames, ImageData, Pictures, Subset
from residuum.data.decode import BrokenPicture, Pixels, decode
from residuum.data.look import all_broken, readable
from residuum.data.open import open_data
from residuum.data.resize import evaluation_view
from residuum.data.threads import in_threads
from residuum.engines.choose import open_engine
from residuum.engines.described import Described
from residuum.errors import UserError
from residuum.evaluation.evaluate import choose_split, evaluate, protocol, refuse_calling
from residuum.evaluation.metrics import judge
from residuum.evaluation.opening import refuse_other_kind, with_own_columns
from residuum.plain_data import quoted
from residuum.records.evaluation import ALL, DataEvaluation
from residuum.records.model import View
from residuum.runs import MODEL, exported_file
from residuum.settings import EvaluateSettings


def evaluate_run_or_export(settings: EvaluateSettings) -> DataEvaluation:
    """Judge a run, a model file or an export: see `evaluate` and `evaluate_export`."""
    place = None if settings.run is None else Path(settings.run)
    if place is None or (place / MODEL).is_file() or not exported_file(place):
        return evaluate(settings)
    return evaluate_export(place, settings)


def evaluate_export(export: Path, settings: EvaluateSettings) -> DataEvaluation:
    """Judge the answers that an export's engine gives, in the precision that it was exported in if not told otherwise.

    An export does not say which pictures its training saw: of data without a split to judge on, all are judged.

    Raises:
        UserError: it cannot be opened; no data are named, or have classes that it does not know, or no such split; or
            something is asked that needs the net.
    """
    _refuse_what_needs_the_net(export, settings)
    opened = open_engine(export, "auto", settings.precision, settings.device, settings.threads)
    data, digest = _open_data(settings, opened.model)
    name, split = choose_split(data, data.train, data.validation, settings.split)
    refuse_calling(settings, several=opened.model.several)
    which = ALL if name == "train" and settings.split is None else name
    if name == "train":
        say("an export does not say which pictures it was trained on: they may be among these")
    view = opened.model.view
    how = protocol(view, view.views)
    progress = show_progress(f"judging {len(split):,} pictures by {opened.model.name}, {how}")
    batches = _views(split.pictures, view, settings.batch_size, progress)
    answers = np.concatenate([opened.engine(views).probabilities for views in batches])
    judged = judge(answers, split.labels, opened.model.classes, split=which, protocol=how, call_from=settings.call_from)
    return DataEvaluation(
        **structs.asdict(judged),
        data=str(settings.data),
        fingerprint=digest,
        same_data_as_training=None,
        models=(opened.model.name,),
        engine=opened.engine.name,
        precision=opened.engine.precision,
    )


def _refuse_what_needs_the_net(export: Path, settings: EvaluateSettings) -> None:
    if ranks.launched() > 1:
        raise UserError(f"{export} is an export, which one process judges", "", "call it without torchrun")
    if settings.data is None:
        raise UserError(
            f"on which pictures should {export} be judged?",
            "an export does not say where pictures of its classes lie",
            f"name a data set, as in: residuum evaluate {quoted(export)} DATA",
        )
    asked = {
        "--with": (settings.with_, "an export is judged alone"),
        "--views": (settings.views, "an export holds how each picture is shown"),
        "--workers": (settings.workers is not None, "pictures for an export are decoded in threads"),
    }
    for flag, (told, why) in asked.items():
        if told:
            mend = f"leave it out, or give the run or model file that {export} was exported from"
            raise UserError(f"{flag} needs the net", why, mend)


def _open_data(settings: EvaluateSettings, model: Described) -> tuple[ImageData, str]:
    """Open the data named, their classes numbered as the export's, some of which may be missing; and a fingerprint.

    Raises:
        UserError: there are none, or they have one label a picture where the export answers several, or the reverse.
    """
    opened = partial(open_data, str(settings.data), progress=show_progress("fetching"), judging=True)
    data, _ = with_own_columns(opened, ColumnNames.told(settings), model.columns)
    data = readable(data, skip_broken=True) if settings.skip_broken else data
    refuse_other_kind(data, model.several, str(settings.run))
    return numbered_as(data, model.classes), fingerprint(data)


# --- what an engine is shown ----------------------------------------------------------------------


def _views(pictures: Pictures, view: View, batch_size: int, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """Yield the views of so many pictures at a time, in order; tell how many are done when the next are asked for.

    Raises:
        BrokenPicture: some cannot be read; all of them are named.
    """
    for start in range(0, len(pictures), batch_size):
        progress(start, len(pictures))
        rows = np.arange(start, min(start + batch_size, len(pictures)))
        try:
            yield views_of(Subset(pictures, rows), view)
        except BrokenPicture as error:
            raise all_broken(pictures, error) from None
    progress(len(pictures), len(pictures))


def views_of(pictures: Pictures, view: View) -> NDArray[np.uint8]:
    """Return the views, (N, S, S, 3), that the net sees."""

    def some(rows: range) -> list[Pixels]:
        return [cut(decode(pictures.encoded(row), pictures.name(row), span=view.greys), view) for row in rows]

    found = [each for chunk in in_threads(len(pictures), some) for each in chunk]
    return np.stack(found) if found else np.zeros((0, view.image_size, view.image_size, 3), np.uint8)


def cut(picture: Pixels, view: View) -> Pixels:
    """Return the view (S, S, 3) of a decoded picture."""
    return evaluation_view(picture, view.image_size, view.resize_to, view.interpolation)
