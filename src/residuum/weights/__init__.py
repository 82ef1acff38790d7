"""Trained weights by name: which there are, which are on this machine, and the starter that residuum brings."""
