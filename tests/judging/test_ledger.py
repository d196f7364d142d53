import json
import subprocess
import sys
from pathlib import Path

import pytest

from metalearn_lite.judging import Ledger, read_ledger, result_path
from metalearn_lite.judging.ledger import (
    commit_of,
    fill_ledger,
    how_made,
    recipe_parser,
    write_ledger,
)

DRAWS = [{"a": {"x": 1.0, "y": 3.0}, "b": [0.0, 1.0]}, {"a": {"x": 2.0, "y": 6.0}, "b": [2.0, 3.0]}]


def test_scores_are_over_draws_and_groups_count_by_their_mean():
    ledger = Ledger(DRAWS, {})
    assert ledger.scores("a/x").values.tolist() == [1, 2]
    assert ledger.scores("a").values.tolist() == [2, 4]
    assert ledger.scores("b").mean == 1.5
    assert ledger.entries("b") == [[0, 1], [2, 3]]


def test_differences_are_paired_by_draw():
    difference = Ledger(DRAWS, {}).difference("a/y", "a/x")
    assert difference.values.tolist() == [2, 4]
    assert difference.half_width < Ledger(DRAWS, {}).scores("a/y").half_width


@pytest.mark.parametrize("path", ["c", "a/z", "b/x", ""])
def test_an_unknown_path_says_what_there_is(path):
    with pytest.raises(ValueError, match="found no"):
        Ledger(DRAWS, {}).scores(path)


def test_a_name_that_one_draw_lacks_is_missing_and_what_that_draw_has_is_named():
    ledger = Ledger([{"a": 1.0}, {"b": 1.0, "c": 2.0}], {})
    with pytest.raises(ValueError, match=r"path 'a': found no 'a', expected one of \['b', 'c'\]"):
        ledger.entries("a")
    with pytest.raises(ValueError, match="path 'a/x': found no 'x', expected one of no names"):
        Ledger([{"a": {"x": 1.0}}, {"a": 1.0}], {}).entries("a/x")


def test_a_ledger_is_read_in_the_order_of_its_draws(tmp_path):
    file = tmp_path / "ledger.json"
    file.write_text(json.dumps({"steps": 3, "draws": {"10": {"a": 3}, "2": {"a": 1}}}))
    ledger = read_ledger(file)
    assert ledger.scores("a").values.tolist() == [1, 3]
    assert ledger.about == {"steps": 3}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"draws": 3}', '{"draws": {"first": {}}}'])
def test_what_is_no_ledger_raises(tmp_path, text):
    file = tmp_path / "ledger.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="is not a ledger"):
        read_ledger(file)
    with pytest.raises(FileNotFoundError):
        read_ledger(tmp_path / "none.json")


def test_a_ledger_that_is_written_can_be_read(tmp_path):
    made = how_made("python results/a.py")
    write_ledger(tmp_path / "a.json", made | {"draws": {"0": DRAWS[0]}})
    ledger = read_ledger(tmp_path / "a.json")
    assert ledger.draws == [DRAWS[0]] and ledger.about == made
    assert {"python", "torch", "metalearn_lite"} == set(made["versions"])
    assert made["commit"]
    text = (tmp_path / "a.json").read_text()
    assert text.startswith('{\n "command": ') and text.endswith("}\n")  # a line for each entry


def test_the_commit_of_the_code_is_told_with_a_sign_when_it_was_changed(tmp_path, monkeypatch):
    def git(*command):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert commit_of(package) == commit[:12]
    (tmp_path / "notes.txt").write_text("beside the package")
    assert commit_of(package) == commit[:12]
    (package / "code.py").write_text("x = 2\n")
    assert commit_of(package) == commit[:12] + "+"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(package) == "unknown"


def test_outside_of_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) == "unknown"


def test_only_missing_draws_are_measured_and_each_is_written_at_once(tmp_path):
    path, asked = tmp_path / "a.json", []

    def measure(draw, ledger):
        asked.append((draw, ledger["setting"], sorted(ledger["draws"])))
        if draw == 2:
            raise KeyboardInterrupt
        return {"a": {"x": draw + 1 / 3}, "b": [2 / 3]}

    with pytest.raises(KeyboardInterrupt):
        fill_ledger(path, range(3), lambda: {"setting": 7}, measure)
    fill_ledger(path, [1, 0], lambda: {"setting": 8}, measure)
    assert asked == [(0, 7, []), (1, 7, ["0"]), (2, 7, ["0", "1"])]
    first, second = read_ledger(path).draws
    assert first == {"a": {"x": 0.33333}, "b": [0.66667]}
    assert second == {"a": {"x": 1.33333}, "b": [0.66667]}


def test_a_recipe_reads_its_draws_and_its_ledger_lies_beside_it():
    parser = recipe_parser("results/some.py", "What it does.", range(2))
    usual, asked = parser.parse_args([]), parser.parse_args(["--draws", "3", "--to", "other.json"])
    assert (usual.draws, usual.to) == ([0, 1], Path("results/some.json"))
    assert (asked.draws, asked.to) == ([3], Path("other.json"))
    assert (usual.threads, parser.parse_args(["--threads", "1"]).threads) == (2, 1)


FILLING = """
import sys
from metalearn_lite.judging.ledger import fill_ledger
first = int(sys.argv[2])
fill_ledger(sys.argv[1], range(first, first + 40, 2), dict, lambda draw, ledger: {"a": draw})
"""


@pytest.mark.long
def test_two_processes_that_fill_one_ledger_lose_no_draw(tmp_path):
    path = tmp_path / "a.json"
    commands = [[sys.executable, "-c", FILLING, str(path), str(first)] for first in (0, 1)]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert [draw["a"] for draw in read_ledger(path).draws] == list(range(40))
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_draw_that_was_written_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.json"

    def measure(draw, ledger):
        fill_ledger(path, [7], dict, lambda draw, ledger: {"a": draw})
        return {"a": draw}

    fill_ledger(path, [3], dict, measure)
    assert [draw["a"] for draw in read_ledger(path).draws] == [3, 7]


def test_what_is_stored_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_ledger(result_path("maml_glyphs.json")).draws
    assert result_path("maml_glyphs/transfer.zip").is_file() and result_path("maml_glyphs").is_dir()


def test_an_installed_package_brings_its_own_results(tmp_path, monkeypatch):
    for folder in ("site/results", "site/metalearn_lite/results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "one.json").touch()  # the first belongs to somebody else
    package = tmp_path / "site" / "metalearn_lite"
    monkeypatch.setattr("metalearn_lite.__file__", str(package / "__init__.py"))
    assert result_path("one.json") == package / "results" / "one.json"
    with pytest.raises(FileNotFoundError, match=r"got 'two.json'.*expected one of one.json"):
        result_path("two.json")
