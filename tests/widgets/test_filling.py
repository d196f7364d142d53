import re

import pytest

from metalearn_lite.widgets import filling
from metalearn_lite.widgets.filling import filled, part


@pytest.fixture
def template(monkeypatch):
    """Templates of our own in the place of those in the folder."""
    parts = {
        "style.html": "<style></style>",
        "kind.html": '<p id="[[name]]" title="[[label]]">[[word]]</p>[[scripts]] = [[data]];',
        "first.js": "function first() {}\n",
        "second.js": "function second() {}\n",
    }
    monkeypatch.setattr(filling, "part", parts.__getitem__)


def test_every_field_is_filled_and_texts_are_escaped(template):
    html = filled("kind", 'a "label"', [1.5, None], scripts=("first",), word="<b>").data
    name = re.search(r'id="(kind-[0-9a-f]{12})"', html)[1]
    assert html == (
        f'<style></style><p id="{name}" title="a &quot;label&quot;">&lt;b&gt;</p>'
        "function first() {}\n = [1.5,null];"
    )


def test_scripts_stand_in_their_order(template):
    html = filled("kind", "", 0, scripts=("second", "first"), word="").data
    assert html.index("second()") < html.index("first()")


def test_what_is_filled_in_is_not_filled_again(template):
    html = filled("kind", "", "[[word]]", word="[[data]]").data
    assert ">[[data]]</p>" in html and '"[[word]]";' in html


def test_data_cannot_end_the_script(template):
    html = filled("kind", "", "</script><!--", word="").data
    assert "</script>" not in html and "<!--" not in html
    assert '"\\u003c/script>\\u003c!--"' in html


def test_the_name_tells_contents_apart(template):
    def name(label, data):
        return re.search(r'id="([^"]*)"', filled("kind", label, data, word="").data)[1]

    assert name("a", 1) == name("a", 1)
    assert len({name("a", 1), name("a", 2), name("b", 1)}) == 3


def test_a_field_that_is_not_given_is_missed(template):
    with pytest.raises(KeyError, match="word"):
        filled("kind", "", 0)


def test_parts_are_those_of_the_package():
    assert part("engine.js").count("function makeEngine()") == 1
    with pytest.raises(FileNotFoundError):
        part("none.js")
