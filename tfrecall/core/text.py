"""Texts of data as people may see them: characters that a terminal or a page obeys or hides are escaped."""

import re
import unicodedata

# C0 and C1 controls but newline and tab (colours, cursor, titles and links of terminals), marks and
# overrides of writing direction, invisible signs, surrogates, tags. Joiners (U+200C, U+200D) stay: words
# of Persian and families of emoji are written with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    r"""Escape characters that a terminal obeys or hides; newlines and tabs stay.

    >>> print(visible("\x1b[31mred\x1b[0m \u202etxt.exe"))
    \x1b[31mred\x1b[0m \u202etxt.exe
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(value: object) -> str:
    r"""Text of a value for a table or its title, where newlines and tabs are escaped as well.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return visible(str(value)).replace("\n", r"\n").replace("\t", r"\t")


def feature_words(column: str) -> str:
    """Name of a column in words, without the marks of tables.

    >>> feature_words("raw_user_age"), feature_words("user_occupation_text"), feature_words("home_town")
    ('age', 'occupation', 'home town')
    """
    bare = re.sub("^(raw_)?((user|item|query|candidate)_)?|_text$", "", column)
    # An id is called by its whole name: "id" alone would not say of what.
    return (column if bare in ("", "id") else bare).replace("_", " ")


def caseless(text: str) -> str:
    """A text without case and repeated blanks; its accents stay.

    >>> caseless("  Amélie  (2001) ")
    'amélie (2001)'
    """
    return " ".join(text.casefold().split())


def folded(text: str) -> str:
    """A text as searches compare it: without case, accents and repeated blanks.

    >>> folded("  Amélie  (2001) ")
    'amelie (2001)'
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())
