import base64
import io
import json
import re

import matplotlib

matplotlib.use("Agg")

from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from metalearn_lite.widgets import guess_game, stepper


def figure(value=0):
    fig, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, value])
    return fig


def two_steps(label="Two steps"):
    return stepper([figure(1), figure(2)], captions=["one", "two"], label=label).data


@pytest.fixture
def episodes(generator):
    support = torch.rand(3, 5, 28, 28, generator=generator)
    return support, support[:, 2], torch.tensor([2, 2, 2])


def data_of(html, name):
    return json.loads(re.search(rf"const {name} = (.*);\n", html)[1].replace("<\\/", "</"))


def test_the_stepper_holds_every_frame_with_its_caption_and_description():
    html = stepper(
        [figure(1), figure(2)], captions=["one", "two"], alts=["first", "second"], label="L"
    ).data
    frames = data_of(html, "frames")
    assert [(f["caption"], f["alt"]) for f in frames] == [("one", "first"), ("two", "second")]
    assert html.count("data:image/png;base64,") == 2


def test_a_figure_has_a_palette_and_a_file_stays_as_it_is():
    html = stepper([figure(1)], captions=["one"], label="L").data
    content = base64.b64decode(re.search(r'<img src="data:image/png;base64,([^"]+)"', html)[1])
    assert Image.open(io.BytesIO(content)).mode == "P"
    content = base64.b64encode(b"a file").decode()
    assert content in stepper([b"a file"], captions=["one"], label="L").data


def test_the_first_frame_is_there_without_a_script():
    picture = re.search(r'<img src="data:image/png[^"]+" alt="([^"]*)">', two_steps())
    assert picture[1] == "one"


def test_the_same_frames_give_the_same_bytes_and_other_frames_another_name():
    assert two_steps() == two_steps()
    names = {re.search(r'id="(stepper-\w+)"', two_steps(label))[1] for label in ("a", "b")}
    assert len(names) == 2


def test_figures_are_closed_so_that_they_are_not_shown_twice():
    before = plt.get_fignums()
    two_steps()
    assert plt.get_fignums() == before


def test_nothing_is_fetched_from_elsewhere(episodes):
    pages = two_steps() + guess_game(*episodes, label="?").data
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|import\(|fetch\(|localStorage", pages)


def test_text_is_escaped_wherever_it_goes():
    html = stepper([figure()], captions=["</script><b>"], label='<i>"quoted"').data
    assert "</script><b>" not in html and "<i>" not in html
    assert html.count("</script>") == 1


@pytest.mark.parametrize(
    ("frames", "captions", "alts"),
    [([], [], None), ([b"1", b"2"], ["one"], None), ([b"1"], ["one"], ["a", "b"])],
)
def test_a_frame_without_a_caption_is_an_error(frames, captions, alts):
    with pytest.raises(ValueError, match="one of each for every frame"):
        stepper(frames, captions=captions, alts=alts, label="L")


def test_the_game_holds_all_rounds_and_references(episodes):
    game = data_of(guess_game(*episodes, label="?", references={"pixels": 0.5}).data, "game")
    assert [r["answer"] for r in game["rounds"]] == [2, 2, 2]
    assert all(r["query"] == r["support"][2] for r in game["rounds"])
    assert game["references"] == {"pixels": 0.5}


def test_a_game_may_have_one_round(episodes):
    support, query, answers = (part[:1] for part in episodes)
    game = data_of(guess_game(support, query, answers, label="?").data, "game")
    assert len(game["rounds"]) == 1


def test_the_first_and_the_last_class_can_be_the_answer(episodes):
    support, query, _ = episodes
    game = data_of(guess_game(support, query, torch.tensor([0, 4, 0]), label="?").data, "game")
    assert [r["answer"] for r in game["rounds"]] == [0, 4, 0]


@pytest.mark.parametrize("answers", [[0, 1, 5], [0, -1, 2], [0, 1]])
def test_an_answer_that_is_no_class_is_an_error(episodes, answers):
    support, query, _ = episodes
    with pytest.raises(ValueError, match="one number from 0 to ways - 1 a round"):
        guess_game(support, query, torch.tensor(answers), label="?")


def test_answers_are_whole_numbers_and_ink_is_finite(episodes):
    support, query, answers = episodes
    with pytest.raises(ValueError, match=r"answers are torch.float32, or a picture holds NaN"):
        guess_game(support, query, answers.float(), label="?")
    for one, other in ((support / 0, query), (support, query / 0)):
        with pytest.raises(ValueError, match="expected whole numbers, and finite numbers as ink"):
            guess_game(one, other, answers, label="?")


def test_ink_is_dark_on_light_four_times_enlarged(episodes):
    support, query, answers = episodes
    query = torch.zeros_like(query)
    query[0, :, :14], query[1] = 1, 0.4
    game = data_of(guess_game(support, query, answers, label="?").data, "game")
    content = base64.b64decode(game["rounds"][0]["query"].partition(",")[2])
    drawn = np.asarray(Image.open(io.BytesIO(content)))
    assert drawn.shape == (112, 112) and drawn.dtype == np.uint8
    assert (drawn[:, :50] == 0).all() and (drawn[:, 62:] == 255).all()
    edge = drawn[0, 50:62].astype(int)
    assert (np.diff(edge) >= 0).all() and len(set(edge)) > 3  # from dark to light in greys
    content = base64.b64decode(game["rounds"][1]["query"].partition(",")[2])
    assert (np.asarray(Image.open(io.BytesIO(content))) == 255 - 102).all()


def test_pictures_of_another_size_are_an_error(episodes):
    support, query, answers = episodes
    with pytest.raises(ValueError, match="expected \\(rounds, ways, h, w\\)"):
        guess_game(support, query[:, 1:], answers, label="?")


def test_a_game_without_rounds_or_without_ways_is_an_error(episodes):
    support, query, answers = episodes
    with pytest.raises(ValueError, match="expected \\(rounds, ways, h, w\\)"):
        guess_game(support[:0], query[:0], answers[:0], label="?")
    with pytest.raises(ValueError, match="expected \\(rounds, ways, h, w\\)"):
        guess_game(torch.zeros(3), query, answers, label="?")


def test_what_moves_keeps_its_keys_from_the_notebooks_shortcuts(episodes):
    """In JupyterLab the keys 1 to 6 would make the cell a heading."""
    for html in (two_steps(), guess_game(*episodes, label="?").data):
        assert 'data-lm-suppress-shortcuts="true"' in html


TEXTS = [
    "<!--<script>",
    "[[data]]",
    "[[src]] [[name]]",
    "<img src=x onerror=alert(1)>",
    "]]>",
    "\u2028",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("other", TEXTS)
def test_what_is_written_into_a_page_is_data(text, other):
    """A browser reads the captions as they were given, and no tag of theirs."""
    html = stepper([figure(), figure()], captions=[text, other], label=other).data
    tags = Tags()
    tags.feed(html)
    plain = Tags()
    plain.feed(stepper([figure(), figure()], captions=["a", "b"], label="c").data)
    assert tags.found == plain.found
    script = html.rsplit("<script>", 1)[1]
    data = json.loads(re.search(r"const frames = (.*);", script)[1])
    assert [frame["caption"] for frame in data] == [text, other]
    assert "<" not in re.search(r"const frames = (.*);", script)[1]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))
