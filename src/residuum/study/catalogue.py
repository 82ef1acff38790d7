"""All studies, in the order in which they tell the story."""

from residuum.study import degradation
from residuum.study.frame import Study

STUDIES: tuple[Study, ...] = (degradation.STUDY,)
