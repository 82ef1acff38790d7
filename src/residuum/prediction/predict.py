"""The verb `predict`: what a model says pictures show."""

from collections.abc import Iterator

from residuum.errors import UserError
from residuum.prediction.answer import Answer
from residuum.prediction.predictor import answered, load
from residuum.settings import PredictSettings


def predict(settings: PredictSettings) -> Iterator[Answer]:
    """Answer for each picture, in the order given; folders are walked.

    Raises:
        UserError: no such run or picture; or (BrokenPicture) a picture cannot be read.
    """
    if settings.run is None or not settings.images:
        raise UserError("which model, and which pictures?", "", "residuum predict RUN IMAGE...")
    predictor = load(settings.run, device=settings.device, threads=settings.threads)
    for one in predictor.answers(settings.images, top=settings.top):
        yield answered(one)
