"""What `residuum weights list` shows: the catalogue, what else was fetched, and the starter."""

from dataclasses import asdict
from typing import Any

from residuum.weights.catalogue import catalogue, find
from residuum.weights.fetched import STARTER, fetched, starter


def listing(*, here: bool = False) -> list[dict[str, Any]]:
    """Return one row a file of weights: the fields of `Weights`, its `checksum`, and whether it is `here`.

    The checksum is that of the file where it was fetched; else the digits its SHA-256 is known to begin with, or "".
    """
    there = fetched()
    known = [*catalogue().values(), *(find(name) for name in there if name not in catalogue())]
    rows = [{**asdict(one), "checksum": one.checksum, "here": one.name in there} for one in known]
    for row in rows:
        if row["here"]:
            record = there[row["name"]]
            row |= {"checksum": record.sha256, "licence": record.licence, "multiply_adds": record.multiply_adds}
    if (own := starter()) is not None:
        about = {"name": STARTER, "library": "residuum", "licence": "Apache-2.0", "bytes": own.stat().st_size}
        rows.insert(0, {**dict.fromkeys(rows[0]), **about, "here": True})
    return [row for row in rows if row["here"] or not here]
