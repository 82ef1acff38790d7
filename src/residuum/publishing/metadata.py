"""The head of a model card: what the Hugging Face hub reads of a model, as YAML.

Its fields are those of the hub's model card specification (hub-docs, modelcard.md). `model-index` has a result for each
judgement: how many pictures and how they were shown under the data set's `args`, the interval under the metric's.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from residuum.models.spec import NetSpec
from residuum.publishing.subject import Subject, on_hub, origins
from residuum.records.evaluation import DataEvaluation, Figures, Measure

TASK = "image-classification"
METRICS = {
    "top1": ("accuracy", "top-1 accuracy"),
    "top5": ("accuracy", "top-5 accuracy"),
    "macro_f1": ("f1", "macro F1"),
}
"""The hub's name and ours of each figure that a card's head has."""
METRICS_OF_SEVERAL = {
    "mean_ap": ("mean_average_precision", "mean average precision"),
    "macro_f1": ("f1", "macro F1"),
}
"""The same of several labels a picture, whose share of likeliest labels that are right is no accuracy."""

_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""What YAML does not take for text."""


def head(subject: Subject, licence: str | None) -> str:
    """Return the card's head with its fences; what is not known is left out."""
    data, several = subject.data_name, subject.model.about.several is True
    bases = [one.repository for one in origins(subject) if one.repository]
    fields = {
        "license": licence,
        "library_name": "residuum",
        "pipeline_tag": TASK,
        "tags": ["residuum", *_kinds(subject.model.spec), *(["multi-label"] if several else [])],
        "datasets": [data.partition(":")[0]] if on_hub(data) else None,
        "base_model": bases or None,
        "metrics": ["mean_average_precision" if several else "accuracy", "f1"] if judgements(subject) else None,
        "model-index": [{"name": subject.name, "results": list(_results(subject))}] if judgements(subject) else None,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    return "---\n" + "\n".join(as_yaml(known)) + "\n---\n"


def judgements(subject: Subject) -> list[tuple[str, Figures]]:
    """Return each judgement with what its pictures are called; the run's own first."""
    own = [(subject.data_name or "unknown", subject.figures)] if subject.figures else []
    return own + [(_called(one), one) for one in subject.later]


def _called(judged: DataEvaluation) -> str:
    return judged.data if on_hub(judged.data) else re.split(r"[/\\]", judged.data.rstrip("/\\"))[-1]


def _kinds(spec: NetSpec) -> list[str]:
    return ["plain-network"] if spec.shortcut == "none" else ["resnet", "residual-network"]


def _results(subject: Subject) -> Iterator[dict[str, Any]]:
    for data, figures in judgements(subject):
        kind = data.partition(":")[0] if on_hub(data) else re.sub(r"[^\w.-]+", "-", data) or "unknown"
        shown: dict[str, Any] = {"images": figures.images, "protocol": figures.protocol}
        if learnt := figures.images if figures.split == "train" else figures.seen:
            shown["trained_on"] = learnt  # so many of them: nobody should take it for a figure of new pictures
        several = figures.mean_ap is not None
        metrics, name = (METRICS_OF_SEVERAL, "Multi-label image") if several else (METRICS, "Image")
        yield {
            "task": {"type": TASK, "name": f"{name} classification"},
            "dataset": {"type": kind, "name": data, "split": figures.split, "args": shown},
            "metrics": [
                _metric(*metrics[one], found) for one in metrics if (found := getattr(figures, one)) is not None
            ],
        }


def _metric(kind: str, name: str, one: Measure) -> dict[str, Any]:
    interval = {"interval": "95 %", "low": one.low, "high": one.high}
    return {"type": kind, "value": one.value, "name": name, "args": interval}


def as_yaml(content: dict[str, Any] | list[Any], indent: str = "") -> Iterator[str]:
    """Yield the lines of plain data as YAML in block style."""
    rows = content.items() if isinstance(content, dict) else ((None, value) for value in content)
    for key, value in rows:
        start = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(value, dict | list) and value:
            inner = list(as_yaml(value, indent + "  "))
            if key is None:  # the first line stands beside the dash
                yield f"{start} {inner[0].lstrip()}"
                inner = inner[1:]
            else:
                yield start
            yield from inner
        else:
            yield f"{start} {_scalar(value)}"


def _scalar(value: object) -> str:
    """Write text bare where YAML takes it for text whatever its version, and a float so that each takes it for one."""
    if not isinstance(value, str):
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))
    if re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII) and value.lower() not in _WORDS:
        return value
    shown = (f"\\{one}" if one in '"\\' else one if one.isprintable() else f"\\U{ord(one):08x}" for one in value)
    return f'"{"".join(shown)}"'
