"""A Slurm of one machine: sbatch, srun, sacct, scancel and scontrol as Slurm's manual describes what submitit calls.

Jobs begin at once, in sessions of their own. A folder holds, for each, its batch file, process and state.
"""

import os
import stat
import sys
from pathlib import Path

COMMANDS = {
    "sbatch": r"""
n=$(( $(ls "$JOBS" | grep -c '\.sh$') + 1 ))
cp "$1" "$JOBS/$n.sh"
"$(dirname "$0")/run-job" $n
echo "Submitted batch job $n"
""",
    "run-job": r"""
echo RUNNING > "$JOBS/$1.state"
log=$(grep -o -- '--output=.*' "$JOBS/$1.sh" | head -1 | cut -d= -f2 | sed "s/%j/$1/")
(
  SLURM_JOB_ID=$1 setsid bash "$JOBS/$1.sh" >> "$log" 2>&1 < /dev/null &
  echo $! > "$JOBS/$1.pid"
  state=FAILED; wait $! && state=COMPLETED
  [ "$(cat "$JOBS/$1.state")" = RUNNING ] && echo $state > "$JOBS/$1.new" && mv "$JOBS/$1.new" "$JOBS/$1.state"
) > /dev/null 2>&1 &
""",
    "srun": r"""
while [ "${1#--}" != "$1" ]; do case "$1" in --output) shift 2;; *) shift;; esac; done
exec "$@"
""",
    "sacct": r"""
echo "JobID|State|NodeList"
for state in "$JOBS"/*.state; do echo "$(basename "$state" .state)|$(cat "$state")|here"; done
""",
    "scancel": r"""
echo CANCELLED > "$JOBS/$1.state"
kill -TERM -- -$(cat "$JOBS/$1.pid") 2> /dev/null
exit 0
""",
    "scontrol": r"""
[ "$1" = requeue ] || exit 1
echo PENDING > "$JOBS/$2.state"
job=$(cat "$JOBS/$2.pid")
( while kill -0 $job; do sleep 0.1; done; sleep 0.5; "$(dirname "$0")/run-job" $2 ) > /dev/null 2>&1 &
""",
}


def made_up_slurm(folder: Path) -> dict[str, str]:
    """Write the commands, and return the variables of the environment with which they are found."""
    commands, jobs = folder / "bin", folder / "jobs"
    commands.mkdir(parents=True)
    jobs.mkdir()
    for name, lines in COMMANDS.items():
        path = commands / name
        path.write_text(f"#!/bin/bash\nJOBS={jobs}\n{lines.lstrip()}", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])}
