"""The check of links: what is read from each kind of file, what is wrong, and what is asked."""

import json
import socket
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ask_links
import check_links
import find_links
import pytest


@pytest.fixture
def course(tmp_path):
    """A course of three pages, in the format of each; returns how to write one more."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "plot.png").write_bytes(b"")

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return check_links.faults(tmp_path)

    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["(start)=\n", "# A title, one\n"]},
        {
            "cell_type": "code",
            "metadata": {"mystnb": {"figure": {"name": "Curve"}}},
            "source": ["print('[no link](nowhere.md)')"],
        },
    ]
    write("pages/notebook.ipynb", json.dumps({"cells": cells}))
    write("README.md", "# What is *new* in `2`\n")
    assert write("references.bib", "@misc{key, title = {None}}") == []
    return write


GOOD = """
[a page](pages/notebook.ipynb) [without suffix](pages/notebook) [a folder](pages)
[a heading](README.md#what-is-new-in-2) [the same page](#here) [a label](start)
![an image](pages/plot.png) <img src="pages/plot.png" alt="">
{doc}`pages/notebook` {doc}`the page <pages/notebook>` {doc}`/pages/notebook`
{ref}`start` {numref}`curve` {eq}`an-equation` {prf:ref}`named` {ref}`words <inside>`
<https://example.org/a_(b)> https://example.org. [mail](mailto:someone@example.org)
`[code](nowhere.md)` $[x](nowhere.md)$

# Here

$$
[x](nowhere.md)
$$ (an-equation)

```{prf:algorithm} Name
:label: named

Text.
```

::::{dropdown} Title
(inside)=
## Inside

:::{figure} pages/plot.png
:::
::::

```{code-block} markdown
[no link](nowhere.md)
```

```text
[no link](nowhere.md)
```
"""


def test_links_that_lead_somewhere_pass(course):
    assert course("page.md", GOOD) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[x](nowhere.md)", "nowhere.md does not exist"),
        ("[x](README)", None),
        ("![x](pages/none.png)", "pages/none.png does not exist"),
        ('<a href="none.html">x</a>', "none.html does not exist"),
        ("[x](README.md#old)", "README.md#old names no heading and no label of README.md"),
        ("[x](#nothing)", "#nothing names no heading and no label"),
        ("[x](../outside.md)", "../outside.md leads out of the course"),
        ("[x](/srv/file.md)", "/srv/file.md is a path on one machine"),
        ("[x](~/file.md)", "~/file.md is a path on one machine"),
        ("[x](<C:\\file.md>)", "C:%5Cfile.md is a path on one machine"),
        ("[x](file:///srv/file.md)", "(file:///srv/file.md) is no link for a reader"),
        ("[x](two words.md)", "(two words.md) is no link for a reader"),
        ("{doc}`pages/none`", "pages/none does not exist"),
        ("{doc}`x <pages/none>`", "pages/none does not exist"),
        ("{ref}`nothing`", "nothing is the label of nothing"),
        ("{numref}`curves`", "curves is the label of nothing"),
        ("{eq}`nothing`", "nothing is the label of nothing"),
        ("```{figure} none.png\n```", "none.png does not exist"),
        (":::{note}\n[x](nowhere.md)\n:::", "nowhere.md does not exist"),
        ("| a |\n|---|\n| [x](nowhere.md) |", "nowhere.md does not exist"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(course, text, fault):
    found = course("page.md", text)
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1 and f": {fault}" in found[0]


def test_the_place_of_a_link_is_named_by_its_line_or_its_cell(course):
    text = "A\n\nparagraph of\ntwo [x](none)\n\n```{note}\nfirst\n[y](none)\n```\n"
    assert [fault.split(": ")[0] for fault in course("page.md", text)] == ["page.md:4", "page.md:8"]
    course("page.md", "")
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["text\n", "[x](none)"]}
    (fault,) = course("pages/other.ipynb", json.dumps({"cells": [cell]}))
    assert fault == "pages/other.ipynb, cell 1: none does not exist"


def test_a_link_is_read_from_where_its_file_lies(course):
    assert course("pages/page.md", "[x](plot.png) [y](../README.md)") == []
    (fault,) = course("pages/page.md", "[x](pages/plot.png)")
    assert fault == "pages/page.md:1: pages/plot.png does not exist"


def test_what_is_built_or_hidden_is_not_read(tmp_path):
    for folder in ("_build", ".venv", "dist", "course"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "page.md").write_text("[x](nowhere.md)")
    assert check_links.faults(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("https://example.org", None),
        ("https://example.org/a_(b)?c=d#e", None),
        ("https://arxiv.org/abs/1703.03400", None),
        ("https://arxiv.org/abs/1703.03400v3", None),
        ("https://arxiv.org/pdf/1412.6980.pdf", None),
        ("https://arxiv.org/abs/cs/0112017", None),
        ("https://doi.org/10.1126/science.aab3050", None),
        ("mailto:someone@example.org", None),
        ("mailto:someone", "is no mail address"),
        ("http://example.org", "is not encrypted"),
        ("ftp://example.org", "has another scheme"),
        ("https:/example.org", "names no host"),
        ("https://example", "names no host"),
        ("https://localhost:8888", "names no host"),
        ("https://127.0.0.1", "names no host"),
        ("https://[example.org", "is no address"),
        ("https://https://example.org", "holds a scheme twice"),
        ("https://example.org/https://example.org", "holds a scheme twice"),
        ("https://example.org/a b", "holds a space"),
        ("https://example.org.", "ends in punctuation"),
        ("https://example.org/a_(b", "a parenthesis too many or too few"),
        ("https://pypi.example.org/simple", "names the host of a package registry"),
        ("https://arxiv.org/abs/1703.340", "is no number of arXiv"),
        ("https://arxiv.org/abs/1713.03400", "is no number of arXiv"),
        ("https://arxiv.org/abs/1703.0340", "is no number of arXiv"),
        ("https://arxiv.org/abs/1412.06980", "is no number of arXiv"),
        ("https://doi.org/science.aab3050", "is no DOI"),
    ],
)
def test_addresses_are_well_formed(address, fault):
    found = check_links.fault_of_address(address)
    assert found is None if fault is None else fault in found


def test_a_host_that_has_no_encryption_can_be_listed(monkeypatch):
    monkeypatch.setattr(check_links, "WITHOUT_TLS", frozenset({"example.org"}))
    assert check_links.fault_of_address("http://example.org/page") is None
    assert check_links.fault_of_address("http://example.com/page") is not None


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("url = {https://example.org/a\\_b}", None),
        ("url = {example.org}", "example.org has another scheme"),
        ("doi = {10.1126/science.aab3050}", None),
        ("doi = {https://doi.org/10.1126/science.aab3050}", "is no DOI"),
        ("doi = {10.1126/science.aab3050.}", "is no DOI"),
        ("journal = {arXiv preprint arXiv:1803.02999}", None),
        ("journal = {arXiv preprint arXiv:1803.2999}", "1803.2999 is no number of arXiv"),
        ("eprint = {1803.02999}, archiveprefix = {arXiv}", None),
        ("eprint = {abs/1803}, archiveprefix = {arXiv}", "abs/1803 is no number of arXiv"),
    ],
)
def test_the_bibliography_is_well_formed(course, field, fault):
    found = course("references.bib", f"@misc{{key2020name, {field}}}")
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1 and found[0].startswith("references.bib, key2020name: ")
        assert fault in found[0]


def test_each_address_is_asked_once_whatever_part_of_the_page_is_meant(course, tmp_path):
    course("page.md", "https://example.org/a#b [x](https://example.org/a) [y](README.md)")
    course("references.bib", "@misc{k, doi = {10.1000/182}, url = {https://example.org/a}}")
    assert check_links.addresses(tmp_path) == {
        "https://example.org/a": "page.md:1",
        "https://doi.org/10.1000/182": "references.bib, k",
    }


def test_the_links_of_the_course_are_whole():
    assert check_links.faults(check_links.ROOT) == []
    assert len(check_links.addresses(check_links.ROOT)) > 40  # it has found them at all


def test_a_slug_is_the_anchor_of_a_code_host():
    assert find_links.slug("What is new, in 2?") == "what-is-new-in-2"


# What is asked, of a host on this machine


class Host(BaseHTTPRequestHandler):
    """Answers with the status that the path names; /head refuses heads, /slow takes a second."""

    def answer(self):
        self.server.asked.append((self.command, self.path))
        name = self.path.strip("/")
        if name == "slow":
            self.server.stopping.wait(1)
        status = int(name) if name.isdigit() else 200
        if name == "moved":
            status = 302
        if name == "head" and self.command == "HEAD":
            status = 405
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def host(monkeypatch):
    """A host, and its address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.asked, server.stopping = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server, f"http://127.0.0.1:{server.server_port}"
    server.stopping.set()
    server.shutdown()
    thread.join(5)
    server.server_close()


def states(root, *names, timeout=5.0):
    found = ask_links.ask_all([f"{root}/{n}" for n in names], pause=0, timeout=timeout)
    return {address.rpartition("/")[2]: state for address, (state, _) in found.items()}


def test_dead_addresses_are_told_from_those_that_refuse_robots_and_that_do_not_answer(host):
    names = ("200", "moved", "404", "410", "401", "403", "429", "503", "head")
    assert states(host[1], *names) == {
        "200": ask_links.ALIVE,
        "moved": ask_links.ALIVE,
        "head": ask_links.ALIVE,
        "404": ask_links.DEAD,
        "410": ask_links.DEAD,
        "401": ask_links.ROBOT,
        "403": ask_links.ROBOT,
        "429": ask_links.ROBOT,
        "503": ask_links.UNREACHABLE,
    }


def test_a_page_is_asked_for_only_where_its_head_is_not_given(host):
    server, root = host
    states(root, "200", "head", "404", "429", "200")
    assert sorted(server.asked) == [
        ("GET", "/404"),
        ("GET", "/head"),
        ("HEAD", "/200"),
        ("HEAD", "/404"),
        ("HEAD", "/429"),
        ("HEAD", "/head"),
    ]


def test_a_host_that_does_not_answer_in_time_is_not_dead(host):
    assert states(host[1], "slow", timeout=0.1) == {"slow": ask_links.UNREACHABLE}


def test_a_host_that_refuses_the_connection_is_not_dead(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert ask_links.state_of(address, 5)[0] == ask_links.UNREACHABLE


@pytest.mark.parametrize(
    ("code", "state"),
    [(socket.EAI_NONAME, ask_links.DEAD), (socket.EAI_AGAIN, ask_links.UNREACHABLE)],
)
def test_a_name_that_nobody_knows_is_dead_and_a_network_that_is_off_is_not(
    monkeypatch, code, state
):
    def fail(*_, **__):
        raise urllib.error.URLError(socket.gaierror(code, "no such name"))

    monkeypatch.setattr(ask_links.urllib.request, "urlopen", fail)
    assert ask_links.state_of("https://example.org")[0] == state


def test_one_host_is_asked_one_thing_at_a_time_with_a_pause_before_each_but_the_first(monkeypatch):
    asked, naps = [], []
    monkeypatch.setattr(ask_links, "state_of", lambda address, _: asked.append(address) or ("", ""))
    monkeypatch.setattr(ask_links.time, "sleep", naps.append)
    ask_links.ask_in_turn(["a", "b", "c"], pause=7, timeout=1)
    assert asked == ["a", "b", "c"] and naps == [0, 7, 7]


def test_the_report_says_where_a_dead_address_stands_and_fails(host, capsys):
    root = host[1]
    places = {f"{root}/200": "a.md:1", f"{root}/403": "b.md:2", f"{root}/404": "c.md:3"}
    assert ask_links.report(places, pause=0) == 1
    text = capsys.readouterr().out
    assert f"dead: {root}/404 (404 Not Found), in c.md:3\n" in text
    assert f"refuses robots: {root}/403 (403 Forbidden), in b.md:2\n" in text
    assert text.endswith("1 alive, 1 dead, 1 refuses robots, 0 could not be reached\n")
    del places[f"{root}/404"]
    assert ask_links.report(places, pause=0) == 0
