"""Trained nets for other programs, held against the run's own answers; and which engine is fastest here."""
