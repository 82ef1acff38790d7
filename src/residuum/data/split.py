"""The splits of a data set: what people call them, and how validation is cut from training data."""

import re
import unicodedata
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.data.contract import ImageData, Split
from residuum.data.labels import Labels, is_several
from residuum.data.rng import order
from residuum.data.stratify import stratified_rows
from residuum.errors import UserError
from residuum.records.codec import read_record
from residuum.records.run import SplitRows

_NAMES: dict[SplitName, set[str]] = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing", "eval"},
}

KEPT_ASIDE = "kept aside in training"


_VARIANTS: dict[SplitName, set[str]] = {
    "train": {"trn", "训练", "訓練"},
    "validation": {"validate", "development", "验证", "驗證", "校验", "校驗", "开发", "開發"},
    "test": {"tst", "evaluation", "holdout", "heldout", "测试", "測試", "评估", "評估", "评测", "評測"},
}
_FILLING = re.compile(
    r"[\W_]+|(19|20)\d\d|(data)?sets?|data|images?|imgs?|pictures?|pics?|photos?|samples?|splits?|folders?|jpe?g|png"
    "|[集数据數據资料資样樣本图圖片像照]+"
)
"""What people add to a split's name: training_set, Train Images, val2017, 训练集."""


def split_called(name: str) -> SplitName | None:
    """Return the split that goes by `name`, in any case, or None."""
    return next((split for split, names in _NAMES.items() if name.casefold() in names), None)


def split_meant(name: str) -> SplitName | None:
    """Return the split that `name` is a usual variant of, in English or Chinese, or None."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    bare = _FILLING.sub("", plain)
    return next((split for split in _NAMES if {plain, bare} & (_NAMES[split] | _VARIANTS[split])), None)


def configuration(file: PurePath) -> str:
    """Return the folder of a file less the folders called like splits: "a" for a/x.png and a/train/x.png."""
    return PurePath(*(part for part in file.parent.parts if not split_meant(part))).as_posix()


class ValidationCut(NamedTuple):
    """Rows of the training pictures: those trained on, and those kept aside for validation; both sorted."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    share: float
    seed: int
    origin: str
    """Where they come from, in words."""


def cut_validation(labels: Labels, share: float, seed: int) -> ValidationCut | None:
    """Cut labels into training and validation, in the same shares in each class; None: none can be spared.

    A class of n >= 2 pictures gives round(share·n) of them, at least one, and keeps at least one. Of several labels a
    picture that is as nearly so as stratify.py finds it.

    Raises:
        UserError: share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UserError(
            f"cannot keep {share} of the training pictures for validation",
            "the share must lie between 0 and 1",
            "--validation 0.1 keeps a tenth",
        )
    if is_several(labels):
        rows = stratified_rows(labels, partial(_wanted, share), seed)
    else:
        rows = draw_rows(labels, _wanted(share, np.bincount(labels)), seed)
    percent = f"{share:.0%}".replace("%", " %")
    origin = f"cut from the training pictures ({percent}, seed {seed})"
    return _cut(len(labels), rows, share, seed, origin)


def _wanted(share: float, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many pictures of each class are kept aside, (K,)."""
    rounded = np.floor(share * counts + 0.5).astype(np.int64)
    wanted: NDArray[np.int64] = np.minimum(np.maximum(rounded, 1), np.maximum(counts - 1, 0))
    return wanted


def kept_aside(labels: Labels, share: float, seed: int, rows: Path) -> ValidationCut | None:
    """Return the cut that training made, by its share and seed; the file of `rows` that it wrote goes before all.

    Raises:
        UserError: the file holds no rows of these pictures.
    """
    cut = cut_validation(labels, share, seed) if share else None
    if cut is None:
        return None
    validation = np.array(read_record(rows, SplitRows).validation, np.int64) if rows.exists() else cut.validation
    if len(np.unique(validation)) != max(1, len(validation)) or not np.isin(validation, np.arange(len(labels))).all():
        why = f"there are {len(labels)} training pictures, and each is kept aside once"
        raise UserError(f"{rows} does not hold rows of the training pictures", why, "bring the file back, or remove it")
    return _cut(len(labels), validation, share, seed, KEPT_ASIDE)


def _cut(count: int, validation: NDArray[np.int64], share: float, seed: int, origin: str) -> ValidationCut | None:
    training = np.setdiff1d(np.arange(count), validation)
    return ValidationCut(training, validation, share, seed, origin) if len(validation) else None


def training_and_validation(data: ImageData, cut: ValidationCut | None) -> tuple[Split, Split | None]:
    """Return the pictures trained on and those for validation: the data's own splits, or as `cut`."""
    if cut is None:
        return data.train, data.validation
    return data.train.take(cut.training), data.train.take(cut.validation)


def drawn(split: Split, count: int, seed: int = 0) -> Split:
    """Return `count` of the pictures, the same ones for the same seed, in their order; or all if they are fewer."""
    return split.take(np.sort(order(seed, 0, len(split))[:count]))


def draw_rows(labels: NDArray[np.int64], wanted: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw `wanted[k]` rows of each class k without putting back; return all of them, sorted.

    Each row gets a random number and each class gives its smallest. The numbers are Philox's raw output,
    which no version of NumPy may change; how a Generator turns them into draws may change.
    """
    uniforms = np.random.Philox(key=seed).random_raw(len(labels))
    order = np.lexsort((uniforms, labels))
    counts = np.bincount(labels, minlength=len(wanted))
    first_of_class = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.arange(len(labels)) - first_of_class
    return np.sort(order[rank < np.repeat(wanted, counts)])
