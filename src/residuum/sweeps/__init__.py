"""A grid of training settings, each combination with several seeds: accuracy with its spread, against cost."""
