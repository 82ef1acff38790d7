"""What lies beside the folder of a run that a job of Slurm trains (.job)."""

from residuum.records.codec import Record


class Submitted(Record, frozen=True):
    """The job that was submitted for it."""

    job: str
    """Its number."""
