"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended."""

FAULTS: dict[tuple[str, str], str] = {}
