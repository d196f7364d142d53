"""A page that is no notebook draws too: ``{five-characters}`` puts in what the chapters show.

```{five-characters} Draw five characters, then one of them again: who recognises it?
```
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from metalearn_lite.widgets import five_characters


class FiveCharacters(SphinxDirective):
    """The sheet to draw on, with the question as its name."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the widget as it stands in a notebook."""
        return [nodes.raw("", str(five_characters(self.arguments[0]).data), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("five-characters", FiveCharacters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
