"""An engine asked for a picture and its mirror image, for models whose answers are the mean of both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residuum.choices import EngineName, EnginePrecision, Views
from residuum.engines.contract import Engine, Output


def answering(engine: Engine, views: Views) -> Engine:
    """Return the engine as a model with these views (`records/model.View.views`) is to be asked."""
    assert views != "shifted", "no model is saved with these"
    return Averaged(engine) if views == "mirrored" else engine


@dataclass(frozen=True)
class Averaged:
    """The mean of the logits, and of the features, of each view and its mirror image."""

    engine: Engine

    @property
    def name(self) -> EngineName:
        """Say what computes."""
        return self.engine.name

    @property
    def precision(self) -> EnginePrecision:
        """Say in what numbers."""
        return self.engine.precision

    def __call__(self, views: NDArray[np.uint8]) -> Output:
        """Answer for B square views (B, S, S, 3), all 2·B in one call of the engine."""
        found = self.engine(np.concatenate([views, views[:, :, ::-1]]))
        logits = np.log(np.maximum(found.probabilities, np.finfo(np.float32).tiny)).reshape(2, len(views), -1).mean(0)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        features = found.features.reshape(2, len(views), -1).mean(0)
        return Output(odds / odds.sum(axis=1, keepdims=True), features)
