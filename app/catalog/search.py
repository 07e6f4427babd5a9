"""Search for flowers by any of their names, forgiving plurals and typing errors."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Final, Protocol, TypeVar

_MAX_WORDS: Final = 8  # of a query, and
_MAX_LETTERS: Final = 40  # of a word: bound the time of the similarity search
_SHORTEST: Final = 4  # letters: shorter words resemble too many others
_SIMILARITY: Final = 0.8  # "dahila" and "dahlia" have 0.83
# Of English, German, French and Spanish.
_PLURALS: Final = (("ies", "y"), ("es", ""), ("s", ""), ("en", "e"))
_LIGATURES: Final = str.maketrans({"ß": "ss", "œ": "oe", "æ": "ae"})  # NFKD leaves them alone
# Chinese characters and kana, which have no spaces between words.
_UNSPACED: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Named(Protocol):
    """Something that is found by its names."""

    @property
    def names(self) -> tuple[str, ...]:
        """All searchable names."""

    @property
    def family_names(self) -> tuple[str, ...]:
        """Names of its family, which it shares with others."""


_Item = TypeVar("_Item", bound=Named)


def search(items: Sequence[_Item], query: str) -> list[_Item]:
    """Return the items that match each word of a query, in their order.

    A word matches if it or its singular starts a word of a name, or is anywhere in a name written
    without spaces. If no item has such a name, the names of families count too; so the German
    "Hahnenfuß" finds the buttercup, but not its whole family. If nothing matches, a name written
    without its spaces does, as "passionflower", else similar words.
    """
    words = normalize(query)[: _MAX_WORDS * _MAX_LETTERS].split()[:_MAX_WORDS]
    names = [_text(item.names) for item in items]
    texts = [_text(item.names + item.family_names) for item in items]
    joined = [_joined(item.names) for item in items]
    for searched, wanted in ((names, words), (texts, words), (joined, ["".join(words)])):
        found = _filter(items, searched, wanted, _starts_a_word)
        if found:
            return found
    vocabulary = sorted({word for text in texts for word in text.split()})
    close = {
        word: {other for form in _forms(word) for other in _similar(form, vocabulary)}
        for word in words
    }
    return _filter(items, texts, words, lambda word, text: not close[word].isdisjoint(text.split()))


def normalize(text: str) -> str:
    """Normalize for search: lower case, no accents or apostrophes, words separated by spaces."""
    letters = unicodedata.normalize("NFKD", text.lower().translate(_LIGATURES))
    letters = "".join(
        letter
        for letter in letters
        if unicodedata.category(letter)[0] != "M" and letter not in "'’"
    )
    return re.sub(r"[\W_]+", " ", letters).strip()


@cache
def _text(names: tuple[str, ...]) -> str:
    return " " + normalize(" ".join(names))


@cache
def _joined(names: tuple[str, ...]) -> str:
    return " " + " ".join(normalize(name).replace(" ", "") for name in names)


def _filter(
    items: Iterable[_Item],
    texts: Iterable[str],
    words: Sequence[str],
    match: Callable[[str, str], bool],
) -> list[_Item]:
    return [
        item
        for item, text in zip(items, texts, strict=True)
        if all(match(word, text) for word in words)
    ]


def _starts_a_word(word: str, text: str) -> bool:
    if _UNSPACED.search(word):
        return word in text
    return any(f" {form}" in text for form in _forms(word))


@lru_cache(1000)
def _forms(word: str) -> tuple[str, ...]:
    """Return a word and what it may be the plural of."""
    singulars = (
        word.removesuffix(ending) + singular
        for ending, singular in _PLURALS
        if word.endswith(ending)
    )
    return (word, *(form for form in singulars if len(form) >= _SHORTEST))


def _similar(word: str, vocabulary: Sequence[str]) -> set[str]:
    """Return the words of the vocabulary that a word may be a misspelling of."""
    if len(word) < _SHORTEST:
        return {other for other in vocabulary if other.startswith(word)}
    return set(difflib.get_close_matches(word[:_MAX_LETTERS], vocabulary, 20, _SIMILARITY))
