"""Which pictures of ants-bees are among the thumbnails? By the correlation of their pixels at 16 px.

    python benchmarks/starter_twins.py ../shared/data/thumbnails ../shared/data/ants-bees

A photograph is compared whole and in its three squares along the longer side, and mirrored. Pairs above TWIN, looked at
by eye, are the same picture; from 0.96 downwards they are not. Writes results/starter-twins.json.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from figures import asked, write
from PIL import Image

TWIN = 0.965
SIDE = 16


def standardised(pictures: list[np.ndarray]) -> np.ndarray:
    """(N, S, S, 3) to (N, 3·S·S) of mean 0 and norm 1."""
    rows = np.stack(pictures).astype(np.float32).reshape(len(pictures), -1)
    rows -= rows.mean(1, keepdims=True)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)


def views(path: Path) -> Iterator[np.ndarray]:
    """Yield a photograph whole and in three squares, each as it is and mirrored."""
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    side = min(width, height)
    corners = [(int((width - side) * share), int((height - side) * share)) for share in (0, 0.5, 1)]
    for box in [(0, 0, width, height), *((left, top, left + side, top + side) for left, top in corners)]:
        small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, box))
        yield from (small, small[:, ::-1])


def thumbnails_of(path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield some thousand at a time: the names of their classes and their standardised pixels."""
    file = pq.ParquetFile(path)
    names = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    for batch in file.iter_batches(4000):
        rows = batch.to_pylist()
        opened = (Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows)
        small = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)) for picture in opened]
        yield [names[row["label"]] for row in rows], standardised(small)


def main(thumbnails: Path, photographs: Path) -> None:
    paths = sorted(photographs.glob("*/*/*"))
    seen = [(path, view) for path in paths for view in views(path)]
    ours = standardised([view for _, view in seen])
    twins = []
    for file in sorted((thumbnails / "data").glob("*.parquet")):
        for names, theirs in thumbnails_of(file):
            likeness = ours @ theirs.T
            for column in np.flatnonzero(likeness.max(0) >= TWIN):
                path = seen[likeness[:, column].argmax()][0]
                split, kind, _ = path.relative_to(photographs).parts
                twins.append((f"{split}/{kind}", names[column], file.name.split("-")[0], str(path)))
    found = {
        "twin_from": TWIN,
        "pairs": len(twins),
        "photographs": {"all": len(paths), **Counter(where for where, *_ in {twin[::3] for twin in twins})},
        "thumbnails": Counter(f"{split}/{name}" for _, name, split, _ in twins),
    }
    write("starter-twins", "python benchmarks/starter_twins.py thumbnails ants-bees", found)


if __name__ == "__main__":
    asked(main)
