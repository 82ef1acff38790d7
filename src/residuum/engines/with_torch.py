"""A net answered for by torch: always there, on any device."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from residuum.choices import EnginePrecision
from residuum.compute import Compute
from residuum.data.preprocess import normalise
from residuum.engines.contract import Output
from residuum.loading import Classifier
from residuum.models.answers import answered


@dataclass(frozen=True)
class TorchEngine:
    """A net in evaluation mode that was placed where `compute` says."""

    classifier: Classifier = field(repr=False)  # a whole net
    compute: Compute

    name: Literal["torch"] = "torch"

    @property
    def precision(self) -> EnginePrecision:
        """Say in what numbers its convolutions are computed."""
        return "bfloat16" if self.compute.precision == "bfloat16" else "float32"

    @torch.inference_mode()
    def __call__(self, views: NDArray[np.uint8]) -> Output:
        """Answer for B square views (B, S, S, 3)."""
        images = normalise(torch.from_numpy(views).to(self.compute.device), self.classifier.preprocessing)
        with self.compute.autocast():
            features = self.classifier.features(self.compute.lay_out(images))
            logits = self.classifier.net.fc(features)
        found = answered(logits.float(), several=self.classifier.several)
        return Output(found.cpu().numpy(), features.float().cpu().numpy())
