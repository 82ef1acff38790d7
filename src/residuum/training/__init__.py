"""Pictures and a recipe in, a run folder out. Begin at run.py; the loop itself is loop.py."""
