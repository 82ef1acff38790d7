"""What a study says that has no words in Chinese: of a record, of what was found, or of a rule."""

import re
from collections.abc import Iterator
from typing import Any

from residuum.records.study import Words
from residuum.reporting.study_chinese import said

NAMES = re.compile(
    r"\b(?:ResNet|VGG|GoogLeNet|ImageNet|CIFAR|U-Net|BN|ReLU|He|Li|et al|torchvision|pip install|Kendall|IoU|residuum"
    r"|(?:resnet|plain|preresnet|model)\d*[a-z_0-9-]*|top-\d|GiB|px|nat|logit|log10|ln|lag|cpu|float\d+|eq|sd|df/dx"
    r"|quick|tiny|full|fine_tune|digits|cifar10|stem|stage\d\.\d+)\b"
)
CLASSES = ("Learned: ", "学过的：")
"""What begins so names classes, which are somebody's."""
SILENT = {"kind", "name", "source", "scale", "command", "examined", "environment", "settings", "runs", "of", "answer"}
"""Fields that are names, or no part of a sentence."""


def left_in_english(told: Any) -> set[str]:
    """Return the texts that hold an English word behind their translation."""
    said_of = {text: said(text) for text in texts_of(told) if not text.startswith(CLASSES)}
    return {text for text, words in said_of.items() if re.search("[A-Za-z]{2}", NAMES.sub("", words))}


def texts_of(told: Any) -> Iterator[str]:
    """Yield every text that lies in a record or in findings; both languages of what has two are left out."""
    if isinstance(told, str):
        yield told
    elif isinstance(told, dict):
        for one in told.values():
            yield from texts_of(one)
    elif isinstance(told, tuple | list):
        for one in told:
            yield from texts_of(one)
    elif not isinstance(told, Words):
        for field in getattr(told, "__struct_fields__", None) or getattr(told, "__dataclass_fields__", ()):
            if field not in SILENT:
                yield from texts_of(getattr(told, field))
