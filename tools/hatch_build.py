"""Put the stored results into the wheel, and let the editable install work in any folder.

The chapters read what long runs have measured and learned: it goes with the package, so that a
chapter that is opened alone finds it. Of ``results/`` that is all but the recipes and the pages.

An editable install is one line in a ``.pth`` file: the path of the clone, which hatchling writes
in UTF-8. Python reads it in the encoding of the locale (from 3.13 on in UTF-8, and then looks for
the folder in that encoding). Where the two differ, on many a Windows for one, the package would not
be found, or Python would not even start. So such a path is written as code, which is ASCII.
"""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HOOK = "metalearn_lite_hook.pth"
STORED = (".json", ".zip")
LINE = "import os, sys; sys.path.append(os.fsdecode({!r}))\n"


class Wheel(BuildHookInterface[BuilderConfig]):
    """Add the stored results; replace hatchling's path file by one in ASCII, where they differ."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            results = Path(self.root, "results")
            for path in sorted(p for p in results.rglob("*") if p.suffix in STORED):
                name = path.relative_to(self.root).as_posix()
                build_data["force_include"][name] = f"metalearn_lite/{name}"
        elif not self.root.isascii():
            self.write_path(build_data)

    def write_path(self, build_data: dict[str, Any]) -> None:
        """Write the path of the clone as code."""
        self.path_file.write_text(LINE.format(os.fsencode(self.root)), encoding="ascii")
        build_data["force_include_editable"] = {
            str(self.path_file): "_editable_impl_metalearn_lite.pth",
            f"tools/{HOOK}": HOOK,
        }
        # hatchling writes a path file of its own for the Python files it is told to take
        self.build_config.target_config["only-include"] = [f"tools/{HOOK}"]

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.path_file.unlink(missing_ok=True)

    @property
    def path_file(self) -> Path:
        return Path(self.directory, "_editable_impl_metalearn_lite.pth")
