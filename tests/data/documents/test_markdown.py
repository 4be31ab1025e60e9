from typing import Any

import pytest
from markdown_it import MarkdownIt

PAGE = r"""---
title: not touched
---

# Title *here* #

A paragraph with **bold** and `code`
that goes [on here](http://x.y/a_b "T") and [ref][r] and <http://auto.link>.\
Hard \* break &amp; <b>html</b> ![A cat](c.png).

> - item one
>   continued
> - item _two_

| Head | Two |
|:---|---|
| a cell \| pipe | **cell** |

<p align="center">Hello <b>you</b></p>

```sh
code
```

    indented code

Setext
======

1. one
2. two

[r]: http://r "Title"
"""


def test_what_is_found(take: Any) -> None:
    assert take(PAGE, "md").shown == [
        "Title <1>here</1>",
        "A paragraph with <1>bold</1> and <2/><3/>that goes <4>on here</4> and <5>ref</5> and <6/>.<7/>Hard * break & "
        "<8>html</8> <9/>.",
        "A cat",
        "item one<1/>continued",
        "item <1>two</1>",
        "Head",
        "Two",
        "a cell | pipe",
        "cell",
        "Hello <1>you</1>",
        "Setext",
        "one",
        "two",
    ]


def test_everything_else_stays(take: Any) -> None:
    page = take(PAGE, "md")
    translations = [str(source) for source in page.sources]
    translations[1] = (
        "<5>Verweis</5> *und* <4>hier_weiter</4>, <1>fett</1> <2/> <3/>1 < 2 <6/><7/># [Nein] <8>ja</8> <9/>"
    )
    translations[2] = "Eine Katze"
    translations[3] = "Punkt eins<1/>- weiter"
    translations[7] = "eine | Zelle"
    old = PAGE[PAGE.index("A paragraph") : PAGE.index("\n\n> - item")]
    new = (
        '[Verweis][r] \\*und\\* [hier_weiter](http://x.y/a_b "T"), **fett** `code` \n'
        "1 < 2 <http://auto.link>\\\n\\# \\[Nein\\] <b>ja</b> ![Eine Katze](c.png)"
    )
    expected = PAGE.replace(old, new).replace("item one\n>   continued", "Punkt eins\n>   \\- weiter")
    assert page.filled(*translations).decode() == expected.replace("a cell \\| pipe", "eine \\| Zelle")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_structure_is_that_of_the_source(take: Any, end: str) -> None:
    """Rendered, the translation differs from its source in words only."""
    page = take(PAGE.replace("\n", end), "md")
    written = page.changed(lambda text: "".join(chr(ord(c) + 1) if c.isalpha() and c not in "zZ" else c for c in text))
    render = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render

    def shape(text: str) -> str:
        return "".join("." if c.isalpha() else c for c in render(text))

    assert shape(written.decode()) == shape(PAGE)
    assert end.encode() in written


def test_a_table_needs_no_bars_at_its_ends(take: Any) -> None:
    page = take("a b | c d\n--- | ---\nc d | a b\n", "md")
    assert page.filled("A", "C", "c|d", "B") == b"A | C\n--- | ---\nc\\|d | B\n"


def test_tabs_and_deep_lists(take: Any) -> None:
    text = "-\tone\n\n\tstill one\n\t- two\n\t\n\t\tthree *four*\n"
    page = take(text, "md")
    assert page.shown == ["one", "still one", "two", "three <1>four</1>"]
    assert page.changed(str.upper).decode() == text.upper()
