"""Fill a template of HTML, so that what it shows stands in the output itself."""

import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from IPython.display import HTML


def filled(kind: str, label: str, data: Any, *, scripts: Sequence[str] = (), **fields: str) -> HTML:
    """Fill the template ``kind``; the name makes several of them on a page independent.

    Args:
        kind: ``templates/<kind>.html``, with ``[[name]]``, ``[[label]]`` and ``[[data]]`` in it.
        label: what it shows, as a screen reader announces it.
        data: what its script works with; anything that JSON can hold.
        scripts: ``templates/<script>.js``, each a function that the template's ``[[scripts]]``
            brings into its reach.
        **fields: texts for further places ``[[field]]``.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.
    """
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    name = f"{kind}-{hashlib.sha256((label + content).encode()).hexdigest()[:12]}"
    texts = {"name": name, "label": label, **fields}
    inserted = {field: escape(text) for field, text in texts.items()}
    inserted |= {"data": content, "scripts": "".join(part(f"{script}.js") for script in scripts)}
    # in one pass, so that what is filled in is never filled again
    page = re.sub(r"\[\[(\w+)\]\]", lambda found: inserted[found[1]], part(f"{kind}.html"))
    return HTML(part("style.html") + page)  # type: ignore[no-untyped-call]


def part(name: str) -> str:
    """Return a file of ``templates/``."""
    file = files("metalearn_lite").joinpath("widgets", "templates", name)
    return file.read_text(encoding="utf-8")
