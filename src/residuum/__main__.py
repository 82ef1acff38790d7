"""python -m residuum, and the command residuum."""


def main() -> None:
    """Run the command line; Ctrl-C while it is being read ends it without a word."""
    try:
        from residuum.cli import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
