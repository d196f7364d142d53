"""Check all links of the course: what lies in it exists, what lies elsewhere is well formed.

    python tools/check_links.py             without a network; part of `make lint`
    python tools/check_links.py --live      asks every address, `make links`

It reads the Markdown files, the text of the notebooks, and the bibliography.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import ask_links
from find_links import Link, Page, files, read_page

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_TLS: frozenset[str] = frozenset()  # hosts that have no https
# A package is named and left to the client that is set up; its host is another one elsewhere.
REGISTRIES = {"pypi", "pythonhosted", "npmjs", "anaconda", "conda", "crates", "rubygems", "deb"}
SUFFIXES = ("", ".md", ".ipynb")  # a link within the book can leave them out
DOI = re.compile(r"10\.\d{4,9}/[^\s{}]*[^\s{}.,;]")
# arXiv has five digits since 2015, four since April 2007, and had the archive's name before
NEW_ARXIV = re.compile(r"(\d{2})(0[1-9]|1[0-2])\.(\d{4,5})(v\d+)?")
OLD_ARXIV = re.compile(r"[a-z-]+(\.[A-Z]{2})?/\d{2}(0[1-9]|1[0-2])\d{3}(v\d+)?")


def fault_of_arxiv(number: str) -> str | None:
    new = NEW_ARXIV.fullmatch(number)
    digits = new and (5 if int(new[1]) >= 15 else 4)
    if OLD_ARXIV.fullmatch(number) or (new and len(new[3]) == digits):
        return None
    return "is no number of arXiv: expected such as 1703.03400"


def fault_of_doi(doi: str) -> str | None:
    return None if DOI.fullmatch(doi) else "is no DOI: expected such as 10.1000/182, and no more"


def fault_of_address(address: str) -> str | None:
    """Say what is wrong with an address, as far as that can be told without asking."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        return f"is no address: {error}"
    host = parts.hostname or ""
    if parts.scheme == "mailto":
        return None if re.fullmatch(r"[^\s@]+@[^\s@]+\.\w+", parts.path) else "is no mail address"
    if parts.scheme not in ("http", "https"):
        return "has another scheme than https: a link must work on every machine"
    if re.search(r"[\s<>{}|\\^`\"]", address) or address[-1] in ".,;:!?'*":
        return "holds a space or ends in punctuation"
    if address.count("(") != address.count(")"):
        return "has a parenthesis too many or too few"
    if re.search(r"https?:", address[len(parts.scheme) + 1 :]):
        return "holds a scheme twice"
    if not re.fullmatch(r"([\w-]+\.)+[a-z][\w-]+", host):
        return "names no host: expected one with a dot"
    if REGISTRIES & set(host.split(".")):
        return "names the host of a package registry: name the package instead"
    if parts.scheme == "http" and host not in WITHOUT_TLS:
        return "is not encrypted: write https, or list the host in WITHOUT_TLS"
    if host.endswith("doi.org"):
        return fault_of_doi(unquote(parts.path.lstrip("/")))
    if host.endswith("arxiv.org") and (paper := re.fullmatch(r"/(abs|pdf)/(.*)", parts.path)):
        return fault_of_arxiv(paper[2].removesuffix(".pdf"))
    return None


class Book:
    """All pages, by their paths, and all labels of all of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages = {path: read_page(path, root) for path in files(root)}
        self.labels = set().union(*(page.labels for page in self.pages.values()))

    def links(self) -> Iterator[tuple[Page, Link]]:
        for page in self.pages.values():
            for link in page.links:
                yield page, link

    def fault_of_path(self, page: Page, target: str, suffixes: Iterable[str]) -> str | None:
        """Say whether a file is missing, or the part of it that is meant."""
        name, _, anchor = unquote(target).partition("#")
        if re.match(r"[/~\\]|[a-z]:", name, re.IGNORECASE) or "\\" in name:
            return "is a path on one machine: expected one from this file on"
        if not name:
            known = page.labels | page.headings | self.labels
            return None if anchor.lower() in known else "names no heading and no label"
        path = (page.path.parent / name).resolve()
        if not path.is_relative_to(self.root):
            return "leads out of the course"
        found = [there for s in suffixes if (there := Path(f"{path}{s}")).exists()]
        if not found:
            return "does not exist"
        other = self.pages.get(found[0])
        if anchor and other and anchor.lower() not in other.labels | other.headings:
            return f"names no heading and no label of {found[0].relative_to(self.root)}"
        return None

    def fault(self, page: Page, link: Link) -> str | None:
        """Say what is wrong with a link."""
        target = link.target
        match link.kind:
            case "none":
                return "is no link for a reader: it holds a space, or a scheme that is not allowed"
            case "doi":
                return fault_of_doi(target)
            case "arxiv":
                return fault_of_arxiv(target)
            case "address":
                return fault_of_address(target)
            case "label":
                return None if target.lower() in self.labels else "is the label of nothing"
            case "page":
                if target.startswith("/"):  # from the root of the book on
                    page, target = Page(self.root / "index"), target.lstrip("/")
                return self.fault_of_path(page, target, SUFFIXES[1:])
        if target.lower() in self.labels:
            return None
        return self.fault_of_path(page, target, SUFFIXES)


def faults(root: Path) -> list[str]:
    """Return a line for each link that is wrong."""
    book = Book(root)
    found = ((link, book.fault(page, link)) for page, link in book.links())
    return [f"{link.where}: {link.target} {fault}" for link, fault in found if fault]


def addresses(root: Path) -> dict[str, str]:
    """Return all addresses to ask, without the part of a page, each with one that points there."""
    found: dict[str, str] = {}
    for _, link in Book(root).links():
        address = f"https://doi.org/{link.target}" if link.kind == "doi" else link.target
        if link.kind in ("address", "doi") and address.startswith("http"):
            found.setdefault(address.partition("#")[0], link.where)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", action="store_true", help="ask every address, over the network")
    if not parser.parse_args().live:
        complaints = faults(ROOT)
        print("\n".join(complaints), end="\n" * bool(complaints))
        return bool(complaints)
    return ask_links.report(addresses(ROOT))


if __name__ == "__main__":
    sys.exit(main())
