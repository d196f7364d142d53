"""The wheels of a bundle for a class: what the course is installed from on one kind of machine."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import class_install
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements.txt"


def run(*command: object) -> None:
    if subprocess.run([str(part) for part in command]).returncode:
        raise SystemExit("The bundle was not finished: see above. Run the command again.")


def pip_wheel(folder: Path, *what: object) -> None:
    """Fetch or build wheels. Quiet, but for errors: it says a line or two for each of them."""
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--wheel-dir", folder, *what)


def tag(kind: dict[str, str]) -> str:
    version = kind["python"].replace(".", "")
    return f"{kind['system']}-{kind['machine']}-cp{version}".lower()


def pins(version: str) -> set[str]:
    """Return what is pinned for a version of Python, such as 3.11.2, on this system."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    wanted = [Requirement(line) for line in lines if line]
    here = {"python_full_version": version}
    return {f"{r.name}{r.specifier}" for r in wanted if not r.marker or r.marker.evaluate(here)}


def pins_elsewhere() -> set[str]:
    """Return what is pinned for other patch releases of this Python alone."""
    major, minor, patch = sys.version_info[:3]
    releases = [pins(f"{major}.{minor}.{other}") for other in (0, 99)]
    return set().union(*releases) - pins(f"{major}.{minor}.{patch}")


def pin_of(wheel: str) -> str:
    """Return the pin that a wheel's file name fits, such as numpy==2.4.6."""
    name, version, *_ = parse_wheel_filename(wheel)
    return f"{name}=={version}"


def chosen(bundle: Path, wheels: Path) -> set[str] | None:
    """Return the wheels that an installation takes from the bundle, or None if some lack."""
    command = class_install.pip_install(Path(sys.executable), bundle, wheels)
    command += ["--dry-run", "--report", "-"]
    done = subprocess.run(
        command, env=class_install.clean_environment(), capture_output=True, text=True
    )
    if done.returncode:
        return None
    report = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    taken = {f"{canonicalize_name(item['name'])}=={item['version']}" for item in report}
    there = {path.name for path in wheels.glob("*.whl")}
    elsewhere = pins_elsewhere()
    if not elsewhere <= {pin_of(name) for name in there}:
        return None
    return {name for name in there if pin_of(name) in taken | elsewhere}


def fetch(bundle: Path, wheels: Path) -> None:
    """Complete the wheels, and delete those that an installation does not take."""
    if chosen(bundle, wheels) is None:
        print("Fetching wheels; the first time this is about half a gigabyte ...", flush=True)
        pip_wheel(wheels, "--find-links", wheels, "-r", REQUIREMENTS, "pip")
        for pin in sorted(pins_elsewhere()):
            pip_wheel(wheels, "--no-deps", "--ignore-requires-python", pin)
    wanted = chosen(bundle, wheels)
    if wanted is None:
        raise SystemExit(f"The wheels in {wheels} do not install the course: delete the folder")
    for path in wheels.glob("*.whl"):
        if path.name not in wanted:
            path.unlink()


def discard_damaged(bundle: Path, wheels: Path) -> None:
    """Delete damaged wheels of this kind of machine; stop if those of another kind are.

    A copy to a stick can be cut off. New checksums would hide it.
    """
    for path in wheels.glob("*.whl"):
        if not zipfile.is_zipfile(path):  # pip was stopped while it wrote
            path.unlink()
    if not (bundle / class_install.SUMS).exists():
        return
    found = class_install.faults(bundle, lambda name: name.startswith("wheels/"))
    for fault, name in found:
        path = bundle / name
        if path.parent == wheels:
            path.unlink(missing_ok=True)
        elif path.parent != bundle / "wheels":
            raise SystemExit(
                f"{fault}: {name}. Delete {path.parent}, and make it again on its own machine"
            )


def unpacked(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as packed:
        return sum(entry.file_size for entry in packed.infolist())


def write_manifest(wheels: Path) -> None:
    sizes = [unpacked(path) for path in sorted(wheels.glob("*.whl"))]
    described = {
        "kind": class_install.kind(),
        "pins": class_install.pins_digest(REQUIREMENTS),
        # a quarter more, for the blocks of a disk and for what Python compiles
        "installed_bytes": sum(sizes) * 5 // 4,
        "wheels": len(sizes),
    }
    text = json.dumps(described, indent=2) + "\n"
    (wheels / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
