"""Names of languages, countries and currencies in many languages, from Unicode's CLDR.

The Common Locale Data Repository says what each language calls the others. It comes inside babel,
so nothing is downloaded.
"""

import sys
import unicodedata
from collections import Counter
from typing import Any

from metalearn_lite.arguments import check_counts
from metalearn_lite.datasets.cache import cached, code_of
from metalearn_lite.text.text_classes import TextClasses

KINDS = ("languages", "territories", "currencies")


def languages(*, at_least: int = 250) -> TextClasses:
    """Return names as texts, and the language that they are in as their class.

    Only languages in Latin script are taken, or the script would give the answer away. A name that
    two languages share is dropped in both, and with it what nobody translated; so are names with
    digits, and the case of letters. Made once, and cached.

    Args:
        at_least: names that a language must have to itself.

    Returns:
        Languages in alphabetical order of their English names, each a group of its own. The split
        has every seventh of them, from the first, for validation, and from the third and the sixth
        for test; all others are to train on. Related languages stand on both sides of it.

    Raises:
        ImportError: without babel.
        ValueError: if ``at_least`` is no count, or no language has so many.
    """
    check_counts(at_least=at_least)
    try:
        import babel
    except ImportError as error:
        raise ImportError(
            'the names are inside babel, which is not installed: pip install "metalearn-lite[text]"'
        ) from error
    data = cached("languages", (code_of(sys.modules[__name__]), babel.__version__), unshared_names)
    found = {name: tuple(own) for name, own in data.items() if len(own) >= at_least}
    if not found:
        raise ValueError(f"no language has {at_least} names to itself: expected fewer")
    names = tuple(sorted(found))
    split = {
        "train": tuple(n for i, n in enumerate(names) if i % 7 not in (0, 2, 5)),
        "validation": names[::7],
        "test": tuple(n for i, n in enumerate(names) if i % 7 in (2, 5)),
    }
    return TextClasses(tuple(found[name] for name in names), names, names, split)


def unshared_names() -> dict[str, Any]:
    """Return the names that a language in Latin script has to itself, by its English name."""
    from babel import Locale, localedata

    names: dict[str, set[str]] = {}
    for code in localedata.locale_identifiers():
        if "_" not in code:  # else a country's variant of a language
            locale = Locale.parse(code)
            words = {word.lower() for kind in KINDS for word in getattr(locale, kind).values()}
            names[locale.english_name or code] = words
    owners = Counter(word for own in names.values() for word in own)
    return {
        language: sorted(word for word in own if owners[word] == 1 and is_latin(word))
        for language, own in names.items()
        if 2 * sum(map(is_latin, own)) > len(own)
    }


def is_latin(word: str) -> bool:
    """Whether all letters of a word are Latin, and none of its characters is a digit."""
    letters = (unicodedata.name(c, "") for c in word if c.isalpha())
    latin = all(name.startswith(("LATIN", "MODIFIER")) for name in letters)
    return latin and not any(c.isdigit() for c in word)
