"""Many nets: where each is trained, here, on Ray or by Slurm; all are ordinary run folders, found by their settings."""
