"""A trained net opened with pictures: its own, or others of the same classes."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from residuum import runs
from residuum.choices import SplitName
from residuum.compute import Compute
from residuum.console import say, show_progress
from residuum.data.batches import Loader, open_loader
from residuum.data.cache import fingerprint
from residuum.data.class_names import OtherClasses, numbered_as
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData, Split
from residuum.data.look import readable, without_skipped
from residuum.data.open import open_data
from residuum.data.split import KEPT_ASIDE, ValidationCut, cut_validation, drawn, kept_aside, training_and_validation
from residuum.errors import UserError, listed
from residuum.files import Json
from residuum.loading import Classifier, how_to_name
from residuum.plain_data import quoted

BATCH = 125
"""Pictures in one step of lesion, trim and the studies; on a CPU as fast as any."""
RECALIBRATION = 2000
"""Training pictures that BN statistics are measured on."""
SHARE = 0.1
"""Share of the training pictures that is judged on, where nothing says what was kept aside."""


class NetWithData(NamedTuple):
    """A trained net, placed where it computes, and a data set whose classes are numbered as the net's.

    `same`: whether it is what the net was trained with; None where it was not trained here. `cut`: how validation is
    cut from the training pictures; None where the data have a validation split of their own, or none can be told.
    `columns` were read, of a table.
    """

    classifier: Classifier
    compute: Compute
    data: ImageData
    fingerprint: str
    same: bool | None
    cut: ValidationCut | None
    columns: ColumnNames = USUAL_COLUMNS

    @property
    def training(self) -> Split:
        """Return the pictures that training may see."""
        return training_and_validation(self.data, self.cut)[0]

    @property
    def validation(self) -> Split | None:
        """Return the pictures kept aside."""
        return training_and_validation(self.data, self.cut)[1]

    @property
    def validation_split(self) -> SplitName:
        """Return what `validation` holds: "train" where the net was trained on these pictures as well."""
        return "train" if self.same and self.cut and self.cut.origin != KEPT_ASIDE else "validation"

    def loader(self, split: Split, batch_size: int = BATCH, workers: int | None = None) -> Loader:
        """Return a split ready to be served, shown as the net was trained to see pictures."""
        how, compute = self.classifier.preprocessing, self.compute
        return open_loader(split, how, compute.device, compute.workers(workers), batch_size)

    def validation_loader(self, images: int | None = None) -> Loader:
        """Return the validation pictures, or `images` of them, the same ones each time."""
        assert self.validation is not None
        return self.loader(drawn(self.validation, images or len(self.validation)))

    def recalibration_loader(self, seed: int, *, even: bool = False) -> Loader:
        """Return 2,000 training pictures drawn with `seed`, or all where there are fewer, as evaluation sees them.

        `even`: all batches are of one length, the rest of the pictures left out.
        """
        split = drawn(self.training, RECALIBRATION, seed)
        rest = len(split) % BATCH if even and len(split) > BATCH else 0
        return self.loader(split.take(np.arange(len(split) - rest)) if rest else split)


def open_with_data(
    classifier: Classifier,
    compute: Compute,
    source: str | Path | None,
    columns: ColumnNames = USUAL_COLUMNS,
    *,
    judging: bool = False,
    skip_broken: bool = False,
    call: str = "evaluate {} DATA",
) -> NetWithData:
    """Open the data set at `source`, by default the one the net was trained with, and place the net.

    The data may lack some of the net's classes. `columns` says which of a table to read; where it names none, those
    that training read, if the table has them. `judging`: the data may have no training split. Pictures that training
    skipped are left out; with `skip_broken` all that cannot be read. `call`: how the verb is told of other data.

    Raises:
        UserError: no data set is named or known, or there is none.
        OtherClasses: it has classes that the net does not know.
    """
    trained_with = classifier.about.data
    place = source or (trained_with.source if trained_with else None)
    given = classifier.file.parent if runs.is_run(classifier.file.parent) else classifier.file
    if place is None:
        raise UserError(
            f"on which pictures should {classifier.file} be judged?",
            "it was not trained by residuum here, so it names none of its own",
            f"name a data set, as in: residuum {call.format(quoted(given))}",
        )
    own = ColumnNames.of(classifier.about.settings)
    if source is None:
        columns = own
        if Path(place).is_absolute() and not Path(place).exists():
            raise UserError(
                f"the pictures that {classifier.file} was trained with are no longer in {place}",
                "the folder has been moved, or is not mounted",
                f"if it has moved, say where to, as in: residuum {call.format(quoted(given))}",
            )
    asked = bool(source)  # what a file says alone asks no network
    progress, recorded = show_progress("fetching"), source is None
    opened = partial(open_data, str(place), asked, progress=progress, judging=judging, recorded=recorded)
    data, columns = with_own_columns(opened, columns, own)
    data = without_skipped(data, trained_with.skipped if trained_with else ())
    if skip_broken:
        data = readable(data, skip_broken=True)
    digest = fingerprint(data)
    return _placed(classifier, compute, _numbered(data, classifier), digest)._replace(columns=columns)


def with_own_columns(
    opened: Callable[..., ImageData], columns: ColumnNames, own: ColumnNames
) -> tuple[ImageData, ColumnNames]:
    """Open the data by the columns told and, where none is, by those that training read, if the table has them.

    Raises:
        UserError: it can be opened neither by those nor by the told ones alone; of both errors the first, which is of
            the columns trained with.
    """
    both = ColumnNames(*(told or trained for told, trained in zip(columns, own, strict=True)))
    if columns == both:
        return opened(columns=columns), columns
    try:
        data = opened(columns=both)
    except UserError as error:  # it may have others
        with suppress(UserError):
            return opened(columns=columns), columns
        raise error from None
    say("of the table those columns are read that the model was trained with")
    return data, both


def _numbered(data: ImageData, classifier: Classifier) -> ImageData:
    """Number the classes as the net does (OtherClasses if it knows one not; where it was not trained here, names may
    have been guessed)."""
    refuse_other_kind(data, classifier.several, str(classifier.file))
    try:
        return numbered_as(data, classifier.classes)
    except OtherClasses as error:
        if classifier.about.data is not None:
            raise
        order = listed(classifier.classes[:3]) + (", …" if len(classifier.classes) > 3 else "")
        mend = (
            f"if these are its classes under other names, call them as the folders are: names in the order of {order}, "
            f"one a line, into NAMES.txt; then {how_to_name(classifier.file)}"
        )
        raise OtherClasses(error.what, error.why, mend) from error


def refuse_other_kind(data: ImageData, several: bool, place: str) -> None:
    """Refuse pictures of one label each for a net at `place` that answers several, and the other way round (UserError).

    What a picture of one label shows besides is not known.
    """
    if data.several != several:
        one, many = "one label a picture", "several labels a picture"
        what, why = (one, many) if several else (many, one)
        table = "give a table with all labels of each picture; --label-separator says what parts them"
        mend = table if several else "give pictures of one label each"
        raise UserError(f"{data.source} has {what}", f"{place} was trained with {why}", mend)


def with_other_net(opened: NetWithData, classifier: Classifier) -> NetWithData:
    """Place another net where the first one computes, with the same pictures; their classes keep the first's numbers.

    Raises:
        UserError: it has other classes.
    """
    if classifier.several != opened.classifier.several:
        several, one = sorted((opened.classifier, classifier), key=lambda each: not each.several)
        why = f"{several.file} answers several labels a picture, {one.file} one"
        raise UserError("these nets do not answer the same question", why, "average nets of one kind")
    if set(classifier.classes) != set(opened.classifier.classes):
        raise UserError(
            f"{classifier.file} and {opened.classifier.file} know different classes",
            "; ".join(
                f"only {one.file} knows {listed(sorted(set(one.classes) - set(other.classes)))}"
                for one, other in ((classifier, opened.classifier), (opened.classifier, classifier))
                if set(one.classes) - set(other.classes)
            ),
            "nets whose answers are averaged need the same class names",
        )
    return _placed(classifier, opened.compute, opened.data, opened.fingerprint)


def _placed(classifier: Classifier, compute: Compute, data: ImageData, digest: str) -> NetWithData:
    """Place the net, and cut the pictures as its training did."""
    trained_with = classifier.about.data
    same = trained_with.fingerprint == digest if trained_with else None
    cut = None
    if same and data.validation is None:
        asked: Json = classifier.about.settings or {}
        share, seed = asked.get("validation", 0.0), asked.get("seed", 0)
        try:
            cut = kept_aside(data.train.labels, share, seed, classifier.file.parent / runs.SPLIT)
        except (TypeError, ValueError, OverflowError) as error:
            why = f"--validation {share!r} --seed {seed!r} cannot be"
            raise UserError(f"{classifier.file} does not say what was kept aside in training", why) from error
    compute.place(classifier.net)
    return NetWithData(classifier, compute, data, digest, same, cut)


def with_validation(opened: NetWithData) -> NetWithData:
    """Cut a tenth of the training pictures where none are known to be kept aside.

    Raises:
        UserError: there are too few pictures to keep any aside.
    """
    if opened.validation is not None:
        return opened
    if opened.same:
        say("no pictures were kept aside in training: a tenth of those it was trained on is judged on")
    cut = cut_validation(opened.data.train.labels, SHARE, 0)
    if cut is None:
        raise UserError(
            f"{opened.data.source} has too few pictures to keep any aside",
            "every class has one only",
            "add pictures",
        )
    return opened._replace(cut=cut)
