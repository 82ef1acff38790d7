"""`python -m residuum` is the command `residuum`."""

from residuum.cli import main

main()
