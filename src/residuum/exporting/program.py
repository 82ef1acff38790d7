"""A net with its preprocessing as a torch.export program.

Letters: B pictures, H and W their sides and S a view's, in pixels; D features, K classes.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.nn.functional import interpolate

from residuum.choices import Views
from residuum.data.preprocess import weighted
from residuum.engines.names import PICTURES
from residuum.loading import Classifier
from residuum.models.answers import answered


class FromPictures(nn.Module):
    """(B, H, W, 3) uint8 pictures to (B, K) probabilities and (B, D) features."""

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        how = classifier.preprocessing
        self.net = deepcopy(classifier.net).to(memory_format=torch.contiguous_format)  # as it is written whole
        self.side, self.shorter, self.mode = how.image_size, how.resize_to, how.interpolation
        self.shown: Views = how.views
        self.several = classifier.several
        for name, values in (("mean", how.mean), ("std", how.std)):
            tensor = torch.from_numpy(values)
            tensor = tensor.permute(2, 0, 1) if tensor.dim() == 3 else tensor[:, None, None]
            self.register_buffer(name, tensor.contiguous())

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) to (B, K) and (B, D)."""
        x = self._views(pictures).to(torch.float32)
        x = (x - self.mean) / self.std
        features = torch.stack([weight * self.net.features(view) for weight, view in weighted(x, self.shown)]).sum(0)
        return answered(self.net.fc(features), several=self.several), features

    def _views(self, pictures: Tensor) -> Tensor:
        """Cut (B, 3, S, S) views, as `data.resize.evaluation_view` does."""
        sides = pictures.shape[1], pictures.shape[2]
        shorter = cast(int, torch.sym_min(*sides))  # while it is traced, a symbol for one
        height, width = (self.shorter * side // shorter for side in sides)
        x = interpolate(pictures.permute(0, 3, 1, 2), (height, width), mode=self.mode, antialias=True)
        top, left = (_half(side - self.side) for side in (height, width))
        rows = torch.arange(self.side, device=x.device)  # chosen one by one: a slice's strides would become guards
        return x.index_select(2, rows + top).index_select(3, rows + left)


def _half(n: int) -> int:
    """Return n / 2 as Python's round has it: a half goes to the even of its neighbours."""
    return n // 2 + (n % 2) * (n // 2 % 2)


def program(classifier: Classifier) -> ExportedProgram:
    """Return the net with its preprocessing, for any number of pictures of any size."""
    side = classifier.preprocessing.resize_to
    example = torch.zeros(2, side + 3, side + 7, 3, dtype=torch.uint8)
    dynamic = {PICTURES: {0: Dim("B"), 1: Dim("H"), 2: Dim("W")}}
    with torch.no_grad():
        return export(FromPictures(classifier).eval(), (example,), dynamic_shapes=dynamic)
