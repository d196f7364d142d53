"""Words of the glossary explain themselves: a small book is built and read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "_extensions"))

import explained

CONF = f"""
import sys
sys.path.append({str(Path(explained.__file__).parent)!r})
extensions = ["myst_parser", "explained"]
myst_enable_extensions = ["dollarmath"]
html_theme = "basic"
"""
GLOSSARY = """# Words

```{glossary}
Support set
  What a learner may *learn* from, with $K$ of each.

Inner loop
Outer loop
  The inner one adapts.

Query
  See also {term}`support set`.

Group
  A script.

Prototype
  A mean.

Ledger
  A file.
```
"""
PAGE = """# All about a ledger

## A prototype in a heading

Two queries, `support set` as code, and a support set, then a support set again.
An outer loop and a group, [a prototype](other.md), a **prototype** explained here, a prototype.
A ledger, a ledgers-like word, and {term}`the script <Group>`.
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a small book that has been built."""
    folder = tmp_path_factory.mktemp("book")
    for name, text in {
        "conf.py": CONF,
        "glossary.md": GLOSSARY,
        "index.md": PAGE + "\n```{toctree}\nglossary\nother\n```\n",
        "other.md": "# Other\n\nNothing to explain.\n",
    }.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", ".", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


LINK = r'<a [^>]*href="([^"]*)" aria-describedby="([^"]*)">([^<]*)</a>'
TIP = r'<span class="definition" role="tooltip" id="([^"]*)">'


@pytest.fixture
def page(built):
    return (built / "out" / "index.html").read_text()


def test_the_first_use_of_a_word_is_explained_and_no_other(page):
    words = [text for _, _, text in re.findall(LINK, page)]
    assert words == ["queries", "support set", "outer loop", "the script"]


def test_a_link_leads_to_the_glossary_and_is_described_by_its_definition(page, built):
    links, tips = re.findall(LINK, page), re.findall(TIP, page)
    assert [name for _, name, _ in links] == tips and len(set(tips)) == len(tips)
    anchors = (built / "out" / "glossary.html").read_text()
    assert all(f'id="{address.partition("#")[2]}"' in anchors for address, _, _ in links)


def test_a_definition_is_shown_with_its_markup_and_without_paragraphs_or_links(page):
    shown = re.findall(rf"{TIP}(.*?)</span></span></span>|{TIP}(.*?)</span></span>", page, re.S)
    text = " ".join("".join(parts) for parts in shown)
    assert "<em>learn</em>" in text and r"\(K\)" in text
    assert "<p>" not in text and "<a " not in text
    assert "See also" in text and "The inner one adapts." in text


def test_a_page_with_an_equation_in_a_definition_alone_loads_what_sets_it(page, built):
    script = re.compile("<script[^>]*mathjax")
    assert script.search(page)
    assert not script.search((built / "out" / "other.html").read_text())


def test_the_glossary_does_not_explain_itself(built):
    assert "tooltip" not in (built / "out" / "glossary.html").read_text()


def test_definitions_are_not_found_by_the_search_on_the_pages_that_show_them(built):
    index = (built / "out" / "searchindex.js").read_text()
    found = dict(re.findall(r'"(\w+)": (\[[^\]]*\]|\d+)', index[index.index('"terms"') :]))
    assert found["adapt"].isdigit()  # one page, the glossary
    assert "," in found["outer"] and "," in found["queri"]  # and the page with the word


def test_a_changed_definition_changes_the_pages_that_show_it(built):
    path = built / "glossary.md"
    path.write_text(path.read_text().replace("The inner one adapts", "Inner means within"))
    command = [sys.executable, "-m", "sphinx", "-q", ".", "out"]
    subprocess.run(command, cwd=built, check=True)
    assert "Inner means within" in (built / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("word", "found"), [("Queries", "query"), ("ways", "way"), ("L2-SP", "l2-sp")]
)
def test_a_plural_is_looked_up_in_the_singular(word, found):
    assert explained.singular(word) == found
