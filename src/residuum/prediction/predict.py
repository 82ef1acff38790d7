"""The verb `predict`: what a model says of pictures, of any number of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from residuum import machine
from residuum.choices import AnswerFormat
from residuum.console import show_progress
from residuum.data.picture_files import is_text_table
from residuum.errors import Stopped, UserError
from residuum.prediction.answer import Answer, Unanswered
from residuum.prediction.pictures import Source, is_address, sources
from residuum.prediction.predictor import Predictor, load
from residuum.prediction.sorting import class_folders, sort_copy
from residuum.prediction.writing import format_of, heading, line, new_file
from residuum.settings import PredictSettings

FEW = 4
"""Pictures below which one thread computes: more wait for each other, busily, about as long as they save."""
MANY = 100
"""Pictures from which on it is said how far it is."""


def predict(settings: PredictSettings) -> Iterator[Answer | Unanswered]:
    """Answer for each picture, in the order given; folders are walked. Those that cannot be read come last.

    Raises:
        UserError: no such run, folder or engine; or answers or copies cannot be written.
        Stopped: on Ctrl-C; the answers so far are where they were to be.
    """
    if settings.run is None or not settings.images:
        raise UserError("which model, and which pictures?", "", "residuum predict RUN PICTURE...")
    form = format_of(settings.out, settings.format)
    named = _named(settings)
    with _threads(settings.threads, len(named)) as threads:
        yield from _answers(settings, form, named, threads)


def _answers(
    settings: PredictSettings, form: AnswerFormat, named: list[Source], threads: int | None
) -> Iterator[Answer | Unanswered]:
    predictor = load(
        settings.run or "",
        engine=settings.engine,
        precision=settings.precision,
        device=settings.device,
        threads=threads,
        call_from=settings.call_from,
        at_least=settings.at_least,
    )
    copy = _copies(settings, predictor)
    top = min(settings.top, len(predictor.classes))
    progress = show_progress("pictures answered") if len(named) >= MANY else None
    done = 0
    try:
        with new_file(Path(settings.out)) if settings.out else nullcontext() as file:
            if file is not None:
                file.write(heading(form, top, several=predictor.several))
            for done, one in enumerate(_bad_last(predictor.answers_to(named, top)), 1):
                if file is not None:
                    file.write(line(one, form, top, several=predictor.several))
                if isinstance(one, Answer):
                    copy(one)
                if progress is not None:
                    progress(done, len(named))
                yield one
    except KeyboardInterrupt:
        raise Stopped(f"stopped: {done:,} of {len(named):,} pictures are answered", 130) from None


@contextmanager
def _threads(told: int | None, pictures: int) -> Iterator[int | None]:
    """Yield how many threads compute, None for what is fastest; leave torch as many as it had where they are few."""
    if told or pictures >= FEW:
        yield told
        return
    torch = sys.modules.get("torch")  # not imported for this
    before = torch.get_num_threads() if torch else machine.cores()
    try:
        yield 1
    finally:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(before)


def _bad_last(answers: Iterator[Answer | Unanswered]) -> Iterator[Answer | Unanswered]:
    bad = []
    for one in answers:
        if isinstance(one, Unanswered):
            bad.append(one)
        else:
            yield one
    yield from bad


def _named(settings: PredictSettings) -> list[Source]:
    """Return the pictures meant (UserError: an address, which was not allowed; a folder without pictures)."""
    found = list[Source]()
    for place in settings.images:
        if not is_address(place):
            found += sources(place)
        elif settings.allow_urls:
            from residuum.prediction.addresses import fetched  # imports what speaks HTTP

            found.append(Source(str(place), partial(fetched, str(place))))
        else:
            raise UserError(
                f"{place} is an address, and nothing is fetched from the network unasked", "", "--allow-urls fetches it"
            )
    return found


def _copies(settings: PredictSettings, predictor: Predictor) -> Callable[[Answer], object]:
    """Return what copies a picture into its class's folder, or does nothing.

    Raises:
        UserError: as `class_folders`; or pictures at addresses or of several labels cannot be sorted.
    """
    if settings.sort_into is None:
        return lambda _: None
    if predictor.several:
        raise UserError(
            "--sort-into has one folder for each picture, and a picture may have several labels here",
            f"{settings.run} answers each label for itself",
            "--out ANSWERS.csv has the labels of each picture in one column",
        )
    if any(is_address(place) for place in settings.images):
        raise UserError("--sort-into copies files, not what lies at addresses", "", "save those pictures first")
    places = [Path(place).parent if is_text_table(place) else Path(place) for place in settings.images]
    folders = class_folders(Path(settings.sort_into), predictor.classes, places)
    return lambda answer: sort_copy(answer, folders)
