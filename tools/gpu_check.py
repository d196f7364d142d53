"""Check the course on a GPU: speed first, alone; then tests and chapters, side by side.

    python tools/gpu_check.py [--wheels FOLDER] [--seconds 15] [--device cuda]

For a machine that has PyTorch and torchvision for its GPU, and perhaps no network: what else is
missing is installed from the wheels in a folder, beside what is there (CONTRIBUTING.md says how
they are fetched). Nothing of the machine is changed; all that is written lies in _build/gpu.

1. Some rows of benchmarks/maml.py, and benchmarks/omniglot_rate.py for some seconds.
2. At the same time: the unit tests, those of tests/test_device.py with the data on the device, and
   every chapter through nbval, with its outputs compared.

A summary is printed at the end; the full logs lie beside it. With --device cpu everything runs
where there is no GPU, to try the command itself.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# of benchmarks/maml.py: with these the whole check takes less than eight minutes
ROWS = [
    "5-way 1-shot, 1 query",
    "the same, 15 queries",
    "20-way 1-shot, 5 steps",
    "sines, 10 shots",
]


@dataclass(frozen=True)
class Step:
    """One command of the check.

    Attributes:
        name: of the step, and of its log.
        command: what is run, after the interpreter.
        shown: how many of its last lines the summary shows.
        limit: seconds after which it is ended.
    """

    name: str
    command: tuple[str, ...]
    shown: int
    limit: int


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    step: Step
    status: int
    seconds: float
    output: str


def steps_of(seconds: float, device: str, rows: list[str]) -> tuple[list[Step], list[Step]]:
    """Return the steps that run alone, and those that run side by side."""
    alone = [
        Step("speed", ("benchmarks/maml.py", "--rows", *rows), 9, 200),
        Step(
            "omniglot",
            ("benchmarks/omniglot_rate.py", "--seconds", f"{seconds:g}", "--device", device),
            1,
            int(seconds) + 240,
        ),
    ]
    # a machine may have plugins of its own, whose warnings would be errors; each test is named, so
    # that a log that was cut off says which have failed
    pytest = ("-m", "pytest", "-v", "-p", "no:benchmark", "-p", "no:cacheprovider")
    nbval = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120")
    workers = str(max(2, (os.cpu_count() or 2) // 3))
    outside = ("--ignore=tests/book", "--ignore=tests/assignments", "--ignore=tests/tools")
    together = [
        Step("device", (*pytest, "tests/test_device.py"), 6, 300),
        Step("unit", (*pytest, "-n", workers, *outside, "tests"), 8, 300),
        Step(
            "chapters", (*pytest, "-n", workers, "--dist", "loadfile", *nbval, "chapters"), 12, 420
        ),
    ]
    return alone, together


def environment(site: Path, device: str) -> dict[str, str]:
    """Return the environment of all steps: the checkout first, then what the wheels held."""
    path = [str(ROOT), str(site), os.environ.get("PYTHONPATH", "")]
    changed = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "METALEARN_DEVICE": device}
    if device == "cpu":
        changed["CUDA_VISIBLE_DEVICES"] = ""
    return os.environ | changed | {"PYTHONUNBUFFERED": "1"}


def install(wheels: Path, site: Path) -> None:
    """Put the wheels of a folder beside what is installed, without asking any registry."""
    found = sorted(str(wheel) for wheel in wheels.glob("*.whl"))
    if not found:
        raise SystemExit(f"{wheels} holds no wheels: expected *.whl, or leave --wheels out")
    pip = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    subprocess.run([sys.executable, *pip, "--target", str(site), *found], check=True)
    kernel = ["-m", "ipykernel", "install", "--prefix", str(site), "--name", "python3"]
    subprocess.run(
        [sys.executable, *kernel], check=True, env=os.environ | {"PYTHONPATH": str(site)}
    )


def run(step: Step, folder: Path, variables: dict[str, str]) -> Outcome:
    """Run a step; what it prints goes into a log of its name."""
    start, log = time.monotonic(), folder / f"{step.name}.log"
    with log.open("w", encoding="utf-8") as file:
        try:
            status = subprocess.run(
                [sys.executable, *step.command],
                cwd=ROOT,
                env=variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=step.limit,
            ).returncode
        except subprocess.TimeoutExpired:
            status = 124
            file.write(f"\nended after {step.limit} s\n")
    text = log.read_text(encoding="utf-8", errors="replace")
    return Outcome(step, status, time.monotonic() - start, text)


def last_lines(output: str, count: int) -> list[str]:
    """Return the last lines that say something, short enough to be read."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.rstrip() for line in plain.splitlines() if re.search(r"\w", line)]
    return [line[:160] for line in lines[-count:]]


def summary(outcomes: list[Outcome], device: str, seconds: float) -> str:
    """Write what is worth reading: a line a step, then the end of each log."""
    lines = [f"Checked on {device} in {seconds:.0f} s"]
    for outcome in outcomes:
        verdict = "passed" if outcome.status == 0 else f"FAILED ({outcome.status})"
        lines.append(f"{outcome.step.name:10} {verdict:14} {outcome.seconds:6.0f} s")
    for outcome in outcomes:
        lines += ["", f"{outcome.step.name}:", *last_lines(outcome.output, outcome.step.shown)]
    return "\n".join(lines)


def device_name(device: str) -> str:
    """Name the device as PyTorch does; stop where there is none."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    if device == "cpu":
        return "cpu"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    if not said.stdout.strip():
        raise SystemExit("no GPU that PyTorch can use: give --device cpu to try the command itself")
    return said.stdout.strip()


def main() -> int:
    """Run all steps; 0 if all passed."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("--wheels", type=Path, help="folder with what the machine lacks")
    parser.add_argument("--seconds", type=float, default=15.0, help="of MAML on Omniglot")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rows", nargs="+", default=ROWS, help="of benchmarks/maml.py")
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "gpu", help="for the logs")
    options = parser.parse_args()
    name, start = device_name(options.device), time.monotonic()
    options.to.mkdir(parents=True, exist_ok=True)
    site = options.to / "site"
    if options.wheels:
        install(options.wheels, site)
    variables = environment(site, options.device)
    variables["JUPYTER_PATH"] = str(site / "share" / "jupyter")
    alone, together = steps_of(options.seconds, options.device, options.rows)
    outcomes = [run(step, options.to, variables) for step in alone]
    with ThreadPoolExecutor(len(together)) as pool:
        outcomes += pool.map(lambda step: run(step, options.to, variables), together)
    report = summary(outcomes, name, time.monotonic() - start)
    (options.to / "summary.txt").write_text(report + "\n", encoding="utf-8")
    print(f"\n{report}")
    return int(any(outcome.status for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
