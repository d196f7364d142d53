"""Make the bundle for a class: one folder that installs the course without a network.

    python tools/class_bundle.py dist/class --assignments course/handout
    python tools/class_bundle.py --zip dist/course.zip         (the course alone, without packages)

Run it on each kind of machine of the class with the same folder, on a stick say: each adds
its wheels. Wheels that are there are not fetched again.
"""

import argparse
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import class_install
import class_wheels

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "dist" / "class"
HANDOUT = ROOT / "course" / "handout"  # where `make assignments` leaves what students are given
BUILT = {"book": ROOT / "_build" / "html", "slides": ROOT / "_build" / "slides"}
NOT_FOR_STUDENTS = ("assignments/", "tests/assignments/", "for_teachers/", "tests/for_teachers/")
README = """Learning from Few Examples
==========================

1. You need Python: {kinds}.
2. In this folder, type

       python3 install.py              (on Windows: py install.py)

   No network is needed. It takes some minutes and about {size:.1f} GB of disk, and puts everything
   into the folder learning-from-few-examples in your home folder. For another one, type its name
   behind install.py.
3. Type what it tells you at the end: JupyterLab opens with the chapters.
{book}
If a file is damaged or missing, install.py says which: copy it again. `sha256sum -c SHA256SUMS`
checks the same (on macOS: shasum -a 256 -c SHA256SUMS).
"""


def replace(target: Path) -> Path:
    """Remove what an earlier run left at ``target``."""
    shutil.rmtree(target, ignore_errors=True)
    return target


def copy_course(target: Path) -> None:
    """Copy what git tracks, as it is now, but for solutions and what is for teachers alone."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    if listing.returncode:
        raise SystemExit(f"git does not list the files of {ROOT}: expected a clone of the course")
    replace(target)
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(NOT_FOR_STUDENTS):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def write_zip(target: Path) -> None:
    """Pack the course for students who install it from a network."""
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder) / "learning-from-few-examples"
        copy_course(course)
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(p for p in course.rglob("*") if p.is_file()):
                file.write(path, path.relative_to(folder).as_posix())
    print(f"{target}: {target.stat().st_size / 1e6:.0f} MB")


def copy_handout(bundle: Path, handout: Path) -> None:
    """Copy the assignments that are the same for everybody, if there are any."""
    zips = sorted(handout.glob("*.zip"))
    if zips:
        replace(bundle / "assignments").mkdir()
        for path in zips:
            shutil.copyfile(path, bundle / "assignments" / path.name)
    elif any(handout.glob("*/*.zip")):
        replace(bundle / "assignments")
        print("assignments are left out: each student has one of their own, to hand out singly")
    else:
        state = "stay as they are" if (bundle / "assignments").exists() else "are left out"
        print(f"assignments {state}: there is no archive in {handout}")


def copy_built(bundle: Path, built: dict[str, Path]) -> None:
    """Copy what was built; what was not stays as another machine has left it in the bundle."""
    for part, source in built.items():
        if source.is_dir():
            shutil.copytree(source, replace(bundle / part))
        else:
            state = "stays as it is" if (bundle / part).exists() else "is left out"
            print(f"{part} {state}: there is no {source}")


def write_readme(bundle: Path) -> None:
    folders = class_install.kinds(bundle)
    size = max(class_install.manifest(folder)["installed_bytes"] for folder in folders.values())
    book = "\nThe book opens in any browser, without installation: book/index.html\n"
    text = README.format(
        kinds=", or ".join(words.removeprefix("Python ") for words in folders),
        size=size / 1e9,
        book=book if (bundle / "book").exists() else "",
    )
    (bundle / "README.txt").write_text(text, encoding="utf-8", newline="\n")


def write_sums(bundle: Path) -> int:
    """Write SHA256SUMS as sha256sum does, and return the size of all files in bytes."""
    names = sorted(class_install.names(bundle))
    strange = [name for name in names if "\\" in name or "\n" in name]
    if strange:
        raise SystemExit(f"{strange} cannot stand in {class_install.SUMS}: rename these files")
    lines = [f"{class_install.digest(bundle / name)}  {name}\n" for name in names]
    (bundle / class_install.SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return sum((bundle / name).stat().st_size for name in names)


def name_outdated(bundle: Path) -> None:
    now = class_install.pins_digest(class_wheels.REQUIREMENTS)
    for words, folder in class_install.kinds(bundle).items():
        if class_install.manifest(folder)["pins"] != now:
            print(
                f"{folder} holds the wheels of other pins: run this again with {words}, or "
                "delete the folder"
            )


def main(bundle: Path, handout: Path) -> None:
    wheels = bundle / "wheels" / class_wheels.tag(class_install.kind())
    wheels.mkdir(parents=True, exist_ok=True)
    class_wheels.discard_damaged(bundle, wheels)
    copy_course(bundle / "course")
    copy_built(bundle, BUILT)
    copy_handout(bundle, handout)
    shutil.copyfile(class_install.__file__, bundle / "install.py")
    for path in (bundle / "wheels").glob("*.whl"):
        path.unlink()
    class_wheels.pip_wheel(bundle / "wheels", "--no-deps", "--no-build-isolation", ROOT)
    class_wheels.fetch(bundle, wheels)
    class_wheels.write_manifest(wheels)
    write_readme(bundle)
    size = write_sums(bundle)
    name_outdated(bundle)
    print(f"The bundle for {', '.join(class_install.kinds(bundle))} is in {bundle}:")
    print(f"{size / 1e6:.0f} MB. Copy the whole folder; README.txt in it says how to install.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=BUNDLE, help="the bundle's folder")
    parser.add_argument("--assignments", type=Path, default=HANDOUT, help="what students are given")
    parser.add_argument("--zip", type=Path, help="write this archive of the course, and no bundle")
    options = parser.parse_args()
    if options.zip:
        write_zip(options.zip.resolve())
    else:
        main(options.folder.resolve(), options.assignments.resolve())
