"""The kinds of number that files hold; NaN and infinity are none of these."""

import sys
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""How many."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A part of a whole, 0 to 1."""
Amount = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
"""How much: finite, not negative."""
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
"""How long a pass took."""
