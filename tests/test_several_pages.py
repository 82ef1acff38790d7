"""What people read of nets of several labels a picture: terminal, pages, cards, trackers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from page_reading import Page
from test_chinese import left_in_english
from test_report import change, write_run

from residuum import runs
from residuum.evaluation.metrics import judge
from residuum.evaluation.mistakes import most_confident_mistakes
from residuum.records.codec import read_record, to_json
from residuum.records.evaluation import Evaluation
from residuum.reporting.page import write_report

NAMES = ["ants", "bees", "flower", "hive", "right"]


def answers(n: int, skill: float, k: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, k) answers and what the pictures show: the first class the most, the last the least."""
    luck = np.random.default_rng(seed)
    truth = (luck.random((n, k)) < np.linspace(0.6, 0.1, k)).astype(np.uint8)
    logits = luck.normal(size=(n, k)) + skill * (2.0 * truth - 1) - 0.3
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def several_run(
    folder: Path, names: list[str] = NAMES, *, n: int = 200, skill: float = 1.2, seed: int = 0, epochs: int = 6
) -> Path:
    """Write a run folder as `residuum train` leaves it of several labels a picture, with made-up answers."""
    write_run(folder, names, seed=seed, epochs=epochs)
    p, truth = answers(n, skill, len(names), seed)
    judged = judge(p, truth, names, split="test", protocol="single view, 32×32")
    pixels = np.random.default_rng(seed).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    mistakes = most_confident_mistakes(p, truth, names, lambda i: f"{i}.png", lambda i: pixels[i])
    (folder / runs.EVALUATION).write_text(json.dumps(to_json(judged)), encoding="utf-8")
    (folder / runs.MISTAKES).write_text(json.dumps(to_json(mistakes)), encoding="utf-8")
    change(folder / runs.DATA, several=True)
    lines = [json.loads(line) for line in (folder / runs.METRICS).read_text().splitlines()]
    lines = [{**one, "validation_map": 0.1 * one["epoch"]} if one["kind"] == "epoch" else one for one in lines]
    (folder / runs.METRICS).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder
