"""Texts by class: split without overlap, nothing lost, and a reader's own files."""

import pytest
import torch

from metalearn_lite.text import TextClasses, from_texts, read_texts

TEXTS = (("a", "b", "c"), ("d",), ("e", "f"))


@pytest.fixture
def small():
    return TextClasses(TEXTS, ("x", "y", "z"), ("one", "two", "one"), {"train": ("one",)})


def test_unequal_numbers_are_kept_without_loss(small):
    texts, labels = small.flatten()
    assert texts == list("abcdef") and small.sizes == (3, 1, 2) and len(small) == 3
    assert labels.dtype == torch.int64 and labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert repr(small) == "TextClasses(3 classes, 6 texts, 2 groups)"


def test_a_split_by_group_has_no_overlap(small):
    one, two = small.split_groups(["one"], ["two"])
    assert one.class_names == ("x", "z") and one.texts == (TEXTS[0], TEXTS[2])
    assert two.class_names == ("y",) and two.groups == ("two",) and two.texts == (TEXTS[1],)
    assert [part.class_names for part in small.split_groups()] == [("x", "z")]
    with pytest.raises(ValueError, match="groups in two parts \\['one'\\]"):
        small.split_groups(["one"], ["one", "two"])


def test_classes_are_kept_by_size_and_grouped_afterwards(small):
    assert small.with_at_least(2).class_names == ("x", "z")
    assert small.with_groups({"x": "p", "y": "q", "z": "q"}).groups == ("p", "q", "q")
    with pytest.raises(ValueError, match="no class has 4 examples"):
        small.with_at_least(4)


@pytest.mark.parametrize(
    ("texts", "names", "groups"),
    [
        ((("a",), ()), "xy", "xy"),
        ((("a",), ("b",)), "xyz", "xy"),
        ((("a",), ("b",)), "xy", "x"),
        ((("a",), (3,)), "xy", "xy"),
    ],
)
def test_what_does_not_fit_is_an_error(texts, names, groups):
    with pytest.raises(ValueError, match="expected a name, a group and one text or more"):
        TextClasses(texts, tuple(names), tuple(groups))


def test_texts_in_any_order_are_put_by_class():
    classes = from_texts(["u", "v", "w"], ["b", "a", "b"])
    assert classes.class_names == classes.groups == ("a", "b")
    assert classes.texts == (("v",), ("u", "w"))
    assert from_texts(["u", "v"], torch.tensor([0, 1]).tolist()).class_names == ("0", "1")


@pytest.mark.parametrize(("texts", "labels"), [(["a", "b"], [0]), (["a", "b"], [0, 0]), ([], [])])
def test_texts_without_labels_or_of_one_class_are_errors(texts, labels):
    with pytest.raises(ValueError, match="expected a label for each, and two classes or more"):
        from_texts(texts, labels)


ROWS = 'text,label,note\n"Hello, you",en,\n  bonjour ,fr,x\n"two\nlines",en\n,fr\n'


def test_a_csv_file_is_read_with_quotes_a_mark_at_its_beginning_and_columns_by_name(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(ROWS, encoding="utf-8-sig")  # as spreadsheets write it
    classes = read_texts(path)
    assert classes.class_names == ("en", "fr")
    assert classes.texts == (("Hello, you", "two\nlines"), ("bonjour", ""))
    path.write_text("Satz,Sprache\nja,de\nóái,is\n", encoding="utf-8")
    assert read_texts(str(path), text="Satz", label="Sprache").texts == (("ja",), ("óái",))


def test_a_folder_of_text_files_is_read_by_the_same_loader(tmp_path):
    for name, content in {"b/2.txt": "zwei\n", "b/1.txt": "eins", "a/x.txt": " é "}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "a" / ".hidden.txt").write_text("no", encoding="utf-8")
    (tmp_path / "a" / "notes.md").write_text("no", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("no", encoding="utf-8")
    classes = read_texts(tmp_path)
    assert classes.class_names == ("a", "b") and classes.texts == (("é",), ("eins", "zwei"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "mine.csv"
    with pytest.raises(ValueError, match=r"mine.csv cannot be read.*expected a CSV file in UTF-8"):
        read_texts(path)
    path.write_text(ROWS, encoding="utf-8")
    with pytest.raises(ValueError, match="columns 'words' and 'label'"):
        read_texts(path, text="words")
    path.write_text("text,label\nóái,is\n", encoding="latin-1")
    with pytest.raises(ValueError, match="UnicodeDecodeError"):
        read_texts(path)
    with pytest.raises(ValueError, match="two classes or more"):
        read_texts(tmp_path)
