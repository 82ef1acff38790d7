"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended.

A name that ends in "*" stands for all cases that begin so.
"""

FAULTS: dict[tuple[str, str], str] = {}
