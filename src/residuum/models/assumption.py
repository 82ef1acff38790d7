"""What weights leave open and is taken to be so, with the settings that tell otherwise: a model keeps the sentences."""

from collections.abc import Iterable
from dataclasses import dataclass

from residuum.plain_data import flag


@dataclass(frozen=True)
class Assumption:
    """What is taken to be so; nothing tells otherwise where no setting is named."""

    what: str
    settings: tuple[str, ...] = ()
    at_risk: str = ""
    """What a wrong guess may cost, where it may cost much."""

    def by_flags(self) -> str:
        """Return the sentence for the command line: --stride-in tells otherwise."""
        return self._sentence(map(flag, self.settings))

    def in_python(self) -> str:
        """Return the sentence for Python: stride_in tells otherwise."""
        return self._sentence(self.settings)

    def _sentence(self, names: Iterable[str]) -> str:
        if not self.settings:
            return self.what
        tell = "tells" if len(self.settings) == 1 else "tell"
        return f"{self.what} ({', '.join(names)} {tell} otherwise{self.at_risk and '; '}{self.at_risk})"


def is_of(sentence: str, setting: str) -> bool:
    """Say whether the sentence `by_flags` is of an assumption about which this setting alone tells otherwise."""
    return f"({flag(setting)} tells otherwise" in sentence
