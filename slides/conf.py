"""How Sphinx makes the decks; tools/build_slides.py calls it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Learning from Few Examples"
language = "en"
html_copy_source = False
extensions = [
    "myst_parser",
    "sphinx_revealjs",
    "sphinx-mathjax-offline",  # equations without a network
    "placeholders",
]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
# Hidden slides have no size from which MathJax could take that of the letters.
mathjax3_config = {"chtml": {"matchFontHeight": False}}

revealjs_static_path = ["_static"]
revealjs_style_theme = "deck.css"  # in place of reveal's own themes
revealjs_script_plugins = [{"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"}]
revealjs_script_conf = {
    "width": 1280,
    "height": 720,
    "margin": 0,
    "center": False,
    "hash": True,
    "slideNumber": "c/t",
    "transition": "none",
    "navigationMode": "linear",  # the right arrow shows every slide
    "display": "flex",
}
