"""Make targets one after the other, stop at the first that fails, and print how long each took.

python tools/run_stages.py MAKE TARGET ...
"""

import subprocess
import sys
import time
from collections.abc import Mapping


def run(make: str, target: str) -> tuple[int, float]:
    """Make one target; return make's exit status and the seconds it took."""
    start = time.monotonic()
    # make -j hands its children open files
    done = subprocess.run([make, "--no-print-directory", target], close_fds=False)
    return done.returncode, time.monotonic() - start


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def table(stages: Mapping[str, float], failed: str | None) -> str:
    """Write the wall time of each stage and of all, in minutes and seconds."""
    rows = {name: clock(seconds) for name, seconds in stages.items()}
    rows["total"] = clock(sum(stages.values()))
    width = max(len(name) for name in (*rows, "stage"))
    lines = [f"{'stage':{width}}  min:s"]
    lines += [
        f"{name:{width}} {shown:>6}{'  failed' if name == failed else ''}"
        for name, shown in rows.items()
    ]
    return "\n".join(lines)


def main(make: str, *targets: str) -> int:
    stages, failed, status = {}, None, 0
    for target in targets:
        status, stages[target] = run(make, target)
        if status:
            failed = target
            break
    print(f"\n{table(stages, failed)}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
