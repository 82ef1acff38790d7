"""All studies, in the order in which they tell the story: studies.toml has their texts, one file each the rest."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from residuum.records.codec import from_json
from residuum.studies.frame import Study, Texts

TEXTS = Path(__file__).with_name("studies.toml")


@cache
def texts() -> Mapping[str, Texts]:
    """Return what each study asks, by its name."""
    return from_json(tomllib.loads(TEXTS.read_text(encoding="utf-8")), dict[str, Texts], TEXTS.name)


def open_study(name: str) -> Study:
    """Import the study of this name, which brings torch with it."""
    module = import_module(f"residuum.studies.{name.replace('-', '_')}")
    return Study(name, texts()[name], module.measure, module.RULE)
