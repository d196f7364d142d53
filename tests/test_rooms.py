"""The house: which names stay, who imports whom, and what a door is."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "metalearn_lite"
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
ROOMS = sorted(p.parent for p in PACKAGE.glob("*/__init__.py"))

# Who has learned these names can go on using them, from these very paths.
NAMES = {
    "tasks": "Episode SineTasks ImageTasks",
    "datasets": "glyphs omniglot digits ClassImages",
    "models": "mlp conv4",
    "transfer": "pretrain features linear_probe fine_tune",
    "multitask": "MultiTask weighted_loss UncertaintyWeights task_gradients gradient_cosine "
    "pcgrad mgda",
    "maml": "adapt maml_loss maml_predict",
    "reptile": "reptile_step interpolate",
    "prototypes": "prototypes prototype_logits prototype_loss prototype_predict",
    "training": "meta_train",
    "evaluation": "evaluate paired_difference Scores",
    "checkpoint": "save_checkpoint load_checkpoint",
}

# From the ground up. Each may import what stands on a line above its own, and its own room.
FLOORS = (
    ("arguments", "randomness", "torchvision_operators", "unchanged"),
    ("drawing", "tensors"),
    ("tasks", "losses", "computed", "checkpoint"),
    ("evaluation", "datasets", "models"),
    ("training", "plotting"),
    ("transfer", "prototypes", "in_context", "text"),
    ("multitask", "maml"),
    ("reptile",),
    ("judging",),
    ("checks",),
    ("classroom", "widgets"),
    ("__main__",),
)
HEIGHT = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


def part_of(module):
    """The room or the module directly under the package, of a path or a dotted name."""
    if isinstance(module, Path):
        return module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return module.split(".")[1]


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source, known):
    """The modules of the package that a source imports, anywhere in it and for any purpose."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return {name for name in found if name.startswith("metalearn_lite.")}


def upward(graph):
    """The imports that run to a higher floor, or to another part of the same one."""
    return {
        (importer, imported)
        for importer, others in graph.items()
        for imported in others
        if part_of(importer) != part_of(imported)
        and HEIGHT[part_of(imported)] >= HEIGHT[part_of(importer)]
    }


def circles(graph):
    """The modules that import themselves by way of others."""
    reached = {name: set(others) for name, others in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    return {name for name in graph if name in reached[name]}


@pytest.fixture(scope="module")
def graph():
    known = {name_of(path) for path in MODULES}
    return {
        name_of(path): imports_of(path.read_text(encoding="utf-8"), known)
        for path in MODULES
        if path != PACKAGE / "__init__.py"
    }


@pytest.mark.parametrize("module", NAMES)
def test_the_names_that_must_stay_are_where_they_were(module):
    found = import_module(f"metalearn_lite.{module}")
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_every_part_has_its_floor(graph):
    assert {part_of(name) for name in graph} == set(HEIGHT)


def test_no_import_runs_upward(graph):
    assert upward(graph) == set()


def test_no_import_goes_in_a_circle(graph):
    assert circles(graph) == set()


def test_an_import_that_runs_upward_or_in_a_circle_is_seen():
    known = {"metalearn_lite.tasks", "metalearn_lite.judging.ledger", "metalearn_lite.models"}
    source = "def late():\n    from metalearn_lite.judging import ledger\n"
    graph = {
        "metalearn_lite.tasks": imports_of(source, known),
        "metalearn_lite.judging.ledger": imports_of("import metalearn_lite.tasks", known),
        "metalearn_lite.models": set(),
    }
    assert upward(graph) == {("metalearn_lite.tasks", "metalearn_lite.judging.ledger")}
    assert circles(graph) == {"metalearn_lite.tasks", "metalearn_lite.judging.ledger"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_door_reexports_what_is_public_and_does_nothing_else(room):
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    docstring, *imports, listed = tree.body
    assert isinstance(docstring, ast.Expr)
    assert all(
        isinstance(node, ast.ImportFrom) and node.module.startswith(f"metalearn_lite.{room.name}.")
        for node in imports
    )
    names = [alias.asname or alias.name for node in imports for alias in node.names]
    assert isinstance(listed, ast.Assign) and sorted(ast.literal_eval(listed.value)) == sorted(
        names
    )
    assert len(set(names)) == len(names) and not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_no_file_of_a_room_bears_the_name_of_a_public_function(room):
    public = set(import_module(f"metalearn_lite.{room.name}").__all__)
    assert public & {path.stem for path in room.glob("*.py")} == set()


def test_there_are_no_forwarding_modules():
    """Apart from the doors, a module defines something of its own."""
    for path in MODULES:
        if path.name != "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            own = [n for n in body if not isinstance(n, ast.Import | ast.ImportFrom | ast.Expr)]
            assert own, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_a_test_file_that_mirrors_it(path):
    if path.name == "__init__.py":
        return
    inside = path.relative_to(PACKAGE)
    assert (ROOT / "tests" / inside.parent / f"test_{inside.name}").exists()


def test_the_plain_algorithm_fits_on_a_page_and_chooses_nothing():
    source = (PACKAGE / "maml" / "plain.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 120
    assert not re.search(r"\bstacked|\bbatched|isinstance\(model|\.batch\b", source.split('"""')[2])


def test_it_takes_three_files_at_most_to_follow_the_parameters_to_the_answer(graph):
    """From the function that is handed out to the loop, and on the fast path to the layers."""
    start = "metalearn_lite.maml.dispatch"
    assert {"metalearn_lite.maml.plain", "metalearn_lite.maml.batched"} <= graph[start]
    assert "metalearn_lite.models.functional" in graph["metalearn_lite.maml.plain"]
    assert "metalearn_lite.models.stacked" in graph["metalearn_lite.maml.batched"]
    from metalearn_lite import maml

    for name in ("adapt", "maml_loss", "maml_predict"):
        assert inspect.getmodule(getattr(maml, name)).__name__ == start


def test_every_module_stands_on_one_page_of_the_api():
    """A door counts as a module; those that only hand things out are named by their room."""
    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "api").glob("*.md")}
    named = [name for text in pages.values() for name in re.findall(r"automodule:: (\S+)", text)]
    assert len(set(named)) == len(named)
    left = {name_of(path) for path in MODULES} - set(named) - {"metalearn_lite"}
    assert left == {"metalearn_lite.training.loop"}  # its functions are on the door
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert all(f"file: api/{path.stem}\n" in toc for path in pages)


def test_the_version_is_the_same_wherever_it_is_told():
    import metalearn_lite

    version = metalearn_lite.__version__
    told = {
        "pyproject.toml": f'version = "{version}"',
        "CITATION.cff": f"version: {version}\n",
        "using.md": f"version {version}{{{{ address }}}}",
        "CHANGELOG.md": f"\n## {version} (20",
    }
    for name, words in told.items():
        assert words in (ROOT / name).read_text(encoding="utf-8"), name
