"""What a word is: the same on every adapter, and found again at its place in the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storycore.ports.words import distinct_words, text_of, word_texts, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n.,;—…", []),
        ("The old mill's fire, 1852", ["the", "old", "mill", "s", "fire", "1852"]),
        ("snake_case and kebab-case", ["snake", "case", "and", "kebab", "case"]),
        ("ÉTÉ été e\u0301te\u0301", ["ete", "ete", "ete"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("ﬁre ǅ x²", ["fire", "dz", "x2"]),
        ("日本語 テスト", ["日", "本", "語", "テ", "ス", "ト"]),
        ("Kyoto京都2024", ["kyoto", "京", "都", "2024"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("fire👩‍🚀mill → x", ["fire", "mill", "x"]),
        ("a\0b\u200dc", ["a", "b", "c"]),
        ("\u0301 alone", ["alone"]),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, expected: list[str]) -> None:
    """Case and accents do not count, marks of other scripts do, and scripts without spaces give a word a sign."""
    assert expected == word_texts(text)
    assert expected == [word.text for word in words(text)]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x250)) | st.text())
@example("İstanbul ŉ ǰ ͅ ẞ")
def test_words_lie_in_the_text_in_order(text: str) -> None:
    """Each word has a place of its own behind the last one's, and what is there gives that word alone."""
    end = 0
    for word in words(text):
        assert end <= word.start < word.end <= len(text)
        end = word.end
        assert [word.text] == word_texts(text[word.start : word.end])


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text())
def test_a_word_is_its_own_only_word(text: str) -> None:
    """Taking the words of words changes nothing, so that what was kept can be asked for again."""
    for word in word_texts(text):
        assert word_texts(word) == [word]


def test_distinct_words_keep_the_order_of_their_first_place() -> None:
    """Each word once, whatever its case."""
    assert distinct_words("Mill fire mill FIRE old") == ["mill", "fire", "old"]


def test_the_text_of_an_item_is_that_of_its_text_fields() -> None:
    """Texts and lists of texts in the order of the fields, a line each; what is no text or not there is nothing."""
    metadata = {"text": "mill", "title": ["a", "b"], "year": 1852, "sure": True}
    assert text_of(metadata, ("title", "text")) == "a\nb\nmill"
    assert text_of(metadata, ("year", "sure", "nowhere")) == ""
    assert text_of(metadata, ()) == ""
