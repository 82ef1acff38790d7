"""What a model says a picture shows: the same decoding and preprocessing as in training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET
from numpy.typing import NDArray
from torch import Tensor

from residuum.compute import Compute, choose_compute
from residuum.data.decode import decode, evaluation_view
from residuum.data.picture_files import KINDS, pictures_below, read_picture
from residuum.data.preprocess import normalise
from residuum.errors import UserError
from residuum.evaluation.likeness import directions, distances
from residuum.loading import Classifier, load
from residuum.settings import PredictSettings

BATCH = 32


@dataclass(frozen=True)
class Answer:
    """The likeliest classes of one picture, likeliest first, with their probabilities."""

    picture: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    distance: float | None = None
    """From the nearest pictures trained on (evaluation/likeness.py); None where the model does not know them."""
    threshold: float | None = None
    """The greatest distance of a picture that is like them."""

    @property
    def unsure(self) -> bool:
        """Say whether the picture is unlike those trained on, so that its answer means little."""
        return self.distance is not None and self.threshold is not None and self.distance > self.threshold

    @property
    def reason(self) -> str:
        """Return why it is unsure, in words; "" if it is not."""
        if not self.unsure:
            return ""
        return f"unlike the training pictures: {self.distance:.3f} from the nearest, {self.threshold:.3f} is the limit"

    def as_json(self) -> dict[str, Any]:
        """Return {"picture", "answers": [{"class", "probability"}, …]}, and where the model knows it
        {"unsure", "reason", "distance", "threshold"}.
        """
        pairs = zip(self.classes, self.probabilities, strict=True)
        found: dict[str, Any] = {"picture": self.picture, "answers": [{"class": c, "probability": p} for c, p in pairs]}
        if self.distance is None:
            return found
        limits = {"distance": self.distance, "threshold": self.threshold}
        return {**found, "unsure": self.unsure, "reason": self.reason, **limits}


def predict(settings: PredictSettings) -> Iterator[Answer]:
    """Answer for each picture, in the order given; folders are walked.

    Raises:
        UserError: no such run or picture; or (BrokenPicture) a picture cannot be read.
    """
    if settings.run is None or not settings.images:
        raise UserError("which model, and which pictures?", "", "residuum predict RUN IMAGE...")
    classifier = load(settings.run)
    compute = choose_compute(settings.device, "float32", threads=settings.threads)
    compute.place(classifier.net)
    files = [file for image in settings.images for file in picture_files(Path(image))]
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        pixels = [decode(read_picture(file), str(file)) for file in some]
        yield from answers(classifier, compute, pixels, [str(file) for file in some], settings.top)


def answers(
    classifier: Classifier,
    compute: Compute,
    pictures: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    top: int,
) -> Iterator[Answer]:
    """Answer for decoded pictures (H, W, 3), which may differ in size."""
    how = classifier.preprocessing
    views = [evaluation_view(each, how.image_size, how.resize_to, how.interpolation) for each in pictures]
    images = normalise(torch.from_numpy(np.stack(views)).to(compute.device), how)
    with torch.inference_mode():
        features = classifier.net.features(images)
        if how.views == "mirrored":  # the last layer is linear: the mean of the logits
            features = (features + classifier.net.features(images.flip(3))) / 2
        best = torch.softmax(classifier.net.fc(features).float(), 1).cpu().topk(min(top, len(classifier.classes)))
    apart, limit = _distances(classifier, features)
    for name, numbers, values, far in zip(names, best.indices.tolist(), best.values.tolist(), apart, strict=True):
        yield Answer(name, tuple(classifier.classes[number] for number in numbers), tuple(values), far, limit)


def _distances(classifier: Classifier, features: Tensor) -> tuple[Sequence[float | None], float | None]:
    """Return each picture's distance from the nearest trained on, and the limit; None where the model knows neither."""
    likeness = classifier.about.likeness
    if likeness is UNSET or classifier.kept is None:
        return [None] * len(features), None
    found = distances(directions(features.float().cpu().numpy()), classifier.kept, likeness.neighbours)
    return found.tolist(), likeness.threshold


def picture_files(path: Path) -> list[Path]:
    """Return the files meant: a picture stands for itself, a folder for those below it (UserError if it has none)."""
    if path.is_dir():
        found = sorted(path / name for name in pictures_below(path))
        if not found:
            raise UserError(f"{path} holds no pictures", f"known kinds: {KINDS}")
        return found
    return [path]
