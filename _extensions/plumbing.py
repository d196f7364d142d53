"""Ideas first: what only draws, prepares or checks steps back on the page.

A cell tagged ``hide-input`` stands in the notebook where it has to run, often before the first
sentence. On the page its result stays there, and its code goes, with that of the section's other
such cells, into one fold at the end of the section.
"""

from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class PlumbingLast(SphinxPostTransform):
    """Move the folded code of a section to its end; what stands in an exercise stays there."""

    default_priority = 198  # just before myst-nb folds the code where it is
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Move the code of all sections of a page."""
        for section in list(self.document.findall(nodes.section)):
            codes = [code for cell in section.children if (code := folded_code(cell))]
            if not codes:
                continue
            for code in codes:
                code.parent.remove(code)
            fold = HideCodeCellNode(
                "", *codes, prompt_show="Show the code behind this section", prompt_hide="Hide it"
            )
            fold["classes"].append("above-input")
            # in a container that looks like a cell, for which the styles are made
            foot = nodes.container("", fold, classes=["cell", "tag_hide-input", "plumbing"])
            section.insert(end_of(section), foot)


def folded_code(cell: nodes.Node) -> nodes.Element | None:
    """Return the source of a cell that is to be folded."""
    if not isinstance(cell, nodes.container) or cell.get("hide_mode") != "input":
        return None
    source = cell.children[0] if cell.children else None
    is_source = isinstance(source, nodes.Element) and source.get("nb_element") == "cell_code_source"
    return source if is_source else None


def end_of(section: nodes.section) -> int:
    """Return where a section's own content ends and the first section within it begins."""
    inner = (i for i, child in enumerate(section.children) if isinstance(child, nodes.section))
    return next(inner, len(section.children))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_post_transform(PlumbingLast)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
