"""Which trained weights there are, by name: where they lie, under what licence, what was published of them.

The facts stand in catalogue.toml. A torchvision name is its net's, with "-v2" for the second weights; timm's have a dot
in them, and are repositories of timm's on Hugging Face's hub; other names there are OWNER/NAME.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from residuum.errors import UserError, nearest
from residuum.models.table import table
from residuum.settings import ModelsSettings

FACTS = Path(__file__).with_name("catalogue.toml")

_HUB_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_TIMM_NAME = r"[a-z]\w*\.\w+"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One file of trained weights. What is None is not known."""

    name: str
    library: str
    """Whose name it is: torchvision, timm or Hugging Face."""
    file: str = ""
    """The file's name at `url`; "" for a repository on the hub."""
    url: str = ""
    repository: str = ""
    net: str | None = None
    """The named net it is of."""
    bytes: int | None = None
    """The file's size, about."""
    multiply_adds: int | None = None
    """Of one picture, at 224 px."""
    licence: str | None = None
    top1: float | None = None
    """Published accuracy on ImageNet's validation pictures, one crop of 224 px, in per cent."""
    source: str | None = None
    """Where that stands."""
    plain: bool = False
    """Trained with the plain recipe of 2015. Longer recipes with label smoothing and mixed pictures score better there,
    but their features serve other tasks worse where they stay frozen (Kornblith et al. 2019, arXiv 1805.08974)."""
    resize_to: int = 256
    """Shorter side in pixels before the cut, where the file does not say it."""

    @property
    def checksum(self) -> str:
        """Return the digits that the file's SHA-256 begins with; "" where the hub tells it."""
        return self.file.rpartition("-")[2].partition(".")[0]


def find(name: str) -> Weights:
    """Return what is known of weights by their name, with or without its library before a colon.

    Raises:
        UserError: it is no name that weights could have.
    """
    name = re.sub("^(torchvision|timm|hf):", "", name)
    if name in catalogue():
        return catalogue()[name]
    if re.fullmatch(_HUB_NAME, name):
        return Weights(name=name, library="Hugging Face", repository=name)
    if re.fullmatch(_TIMM_NAME, name):
        return Weights(name=name, library="timm", repository=f"timm/{name}")
    known = nearest(name, catalogue())
    raise UserError(f"there are no weights {name!r}", known, "residuum weights list; or OWNER/NAME on Hugging Face")


@cache
def catalogue() -> dict[str, Weights]:
    """Return all weights that are known, by name."""
    libraries = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    nets = sorted({facts["net"] for library in libraries.values() for facts in library["weights"].values()})
    costs = {row["model"]: row for row in table(ModelsSettings(), nets)}
    return {
        name: _weights(name, library, {**shared, **facts}, costs[facts["net"]])
        for library, shared in libraries.items()
        for name, facts in shared["weights"].items()
    }


def _weights(name: str, library: str, facts: dict[str, object], costs: dict[str, int]) -> Weights:
    facts = {key: value for key, value in facts.items() if key != "weights"}
    mebibytes = facts.pop("mebibytes", None)
    size = 4 * costs["parameters"] if mebibytes is None else round(float(str(mebibytes)) * 2**20)
    if library != "torchvision":
        facts["repository"] = f"timm/{name}" if library == "timm" else name
    if "top1" not in facts:
        facts.pop("source", None)
    return Weights(name=name, library=library, bytes=size, multiply_adds=costs["multiply_adds"], **facts)  # type: ignore[arg-type]
