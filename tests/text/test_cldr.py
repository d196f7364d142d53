"""Names from CLDR: what is shared, untranslated or in another script is not there."""

import sys
from collections import Counter

import pytest
from babel import Locale, localedata

from metalearn_lite.text import TextClasses, cldr, languages

FEW = ["af", "de", "el", "en", "nl", "sr", "en_GB"]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(localedata, "locale_identifiers", lambda: FEW)
    return cldr.unshared_names()


def names_of(code):
    locale = Locale.parse(code)
    kinds = locale.languages, locale.territories, locale.currencies
    return {name.lower() for kind in kinds for name in kind.values()}


def test_a_language_keeps_what_it_has_to_itself(few):
    assert list(few) == ["Afrikaans", "German", "English", "Dutch"]  # no Greek, no variant
    assert {"frankreich", "deutsch"} <= set(few["German"]) and "france" in few["English"]
    others = set().union(*(names_of(code) for code in FEW[:-1] if code != "de"))
    assert "duits" in others and set(few["German"]) == {
        name
        for name in names_of("de") - others
        if not any(c.isdigit() for c in name) and cldr.is_latin(name)
    }


def test_no_text_is_shared_and_none_has_a_digit_or_a_large_letter(few):
    counts = Counter(name for own in few.values() for name in own)
    assert set(counts.values()) == {1}
    assert all(name == name.lower() and not any(c.isdigit() for c in name) for name in counts)
    assert all(own == sorted(own) for own in few.values())


@pytest.mark.parametrize("word", ["éirinn", "côte d’ivoire", "oʻzbek", "a-b (c)"])
def test_latin_words_are_known(word):
    assert cldr.is_latin(word)


@pytest.mark.parametrize("word", ["ελλάδα", "русский", "日本", "a б", "mark (1948)"])
def test_other_scripts_and_digits_are_known(word):
    assert not cldr.is_latin(word)


def test_the_texts_are_made_once_and_split_by_language(monkeypatch, tmp_path, few):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path))
    made = []
    monkeypatch.setattr(cldr, "unshared_names", lambda: made.append(1) or few)
    classes = languages(at_least=100)
    assert classes == languages(at_least=100) and made == [1]
    assert classes.class_names == ("Afrikaans", "Dutch", "English", "German")
    parts = classes.split_groups()
    assert [part.class_names for part in parts] == [
        ("Dutch", "German"),
        ("Afrikaans",),
        ("English",),
    ]
    assert min(classes.sizes) >= 100 and languages(at_least=min(classes.sizes)) == classes
    assert len(languages(at_least=min(classes.sizes) + 1)) < 4
    with pytest.raises(ValueError, match="no language has 9999 names"):
        languages(at_least=9999)


def test_without_babel_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(ImportError, match=r"pip install \"metalearn-lite\[text\]\""):
        languages()


def test_a_count_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="at_least is 0"):
        languages(at_least=0)


@pytest.mark.long
def test_the_languages_of_the_course():
    """Eighty-seven, twenty-five of them to be tested on, in no part twice."""
    classes = languages()
    assert isinstance(classes, TextClasses) and min(classes.sizes) >= 250
    parts = classes.split_groups()
    assert sum(map(len, parts)) == len(classes) > 80 and len(parts[2]) >= 24
    texts = [set(part.flatten()[0]) for part in parts]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    assert sum(map(len, texts)) == sum(classes.sizes) > 40_000  # none twice
