"""The course, for nbgrader: `make assignments` copies this file into the course's folder."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

# nbgrader calls other commands of its environment by their names, activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# Grading again gives the same marks. The number is drawn when a course is made; no student knows it.
os.environ.setdefault("METALEARN_CHECK_SEED", "1")
# Checks run in copies of a process, which a GPU does not allow. None is needed.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# What students plot is drawn into the notebook, never into a window.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.root = str(HERE)
c.CourseDirectory.course_id = "few_examples"
c.Exchange.root = str(HERE)  # not used; nbgrader wants it to be a folder it may write in

# What students wrote goes into the notebook that was handed out, and is run and judged behind walls.
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.ClearOutput",
    "grading.HandedOut",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "student_seeds.OwnSeed",
    "grading.Judged",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# What students get back holds neither hidden checks nor the mark scheme.
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.ClearMarkScheme",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]

# Who is skipped, and why, stands in downloaded/ASSIGNMENT/collected.txt.
c.ZipCollectApp.extractor_plugin = "collecting.Sorted"
c.ZipCollectApp.collector_plugin = "collecting.Timed"
# Students hand in NAME__ASSIGNMENT.ipynb; `nbgrader zip_collect ASSIGNMENT` sorts them in.
c.FileNameCollectorPlugin.named_regexp = r".*[/\\](?P<student_id>[^/\\]+?)__(?P<file_id>\w+)\."
