from typing import Any

import pytest

from regard.base.errors import DataError
from regard.data.documents.fragment import Fragment
from regard.data.documents.marked import Marked

PAGE = """<!doctype html>
<html lang=en><head><title>A page</title><meta name="description" content="All &amp; more">
<style>p { color: red }</style><script>var a = "<p>no</p>";</script></head>
<body class="x">
  <h1>Welcome</h1>
  <p>Press <b>Save</b> to <a href="x.html" title="Over there">go
     on</a>.<br>Then <code>ls -l</code> &ndash; done<img src=x.png alt='A "cat"'></p>
  <p><b>All of it bold</b></p>
  <ul><li>One<li>Two<ul><li>2&frac12;</ul></ul>
  <pre>left alone</pre><p translate=no>Regard</p><p class="a notranslate b">Regard</p>
  <input type=submit value="Send it" placeholder=Name> loose text
</body></html>
"""


def test_what_is_found(take: Any) -> None:
    assert take(PAGE, "html").shown == [
        "A page",
        "All & more",
        "Welcome",
        "Press <1>Save</1> to <2>go on</2>.<3/>Then <4/> – done",
        "Over there",
        'A "cat"',
        "All of it bold",
        "One",
        "Two",
        "Send it",
        "Name",
        "loose text",
    ]


def test_everything_else_stays(take: Any) -> None:
    page = take(PAGE, "html")
    translations = [source.text for source in page.sources]
    translations[3] = "Zum <2>Weitergehen</2> <1>Speichern</1> drücken.<3/>Dann <4/> > fertig"
    translations[4:6] = ["Dort", 'Eine "Katze" & <mehr>']
    expected = PAGE.replace(
        'Press <b>Save</b> to <a href="x.html" title="Over there">go\n     on</a>.<br>'
        "Then <code>ls -l</code> &ndash; done",
        'Zum <a href="x.html" title="Dort">Weitergehen</a> <b>Speichern</b> drücken.<br>'
        "Dann <code>ls -l</code> &gt; fertig",
    ).replace("""'A "cat"'""", "'Eine &quot;Katze&quot; &amp; &lt;mehr&gt;'")
    assert page.filled(*translations).decode() == expected


@pytest.mark.parametrize(
    ("html", "segments"),
    [
        ("a <b>c <i>d</b> e</i> f", ["a <1>c <2/>d</1> e<3/> f"]),  # tags that do not nest
        ("a</b> c <b> d", ["a<1/> c <2/> d"]),
        ("Hello <x id='1'/> you", ["Hello <1/> you"]),
        ("Hello <my-mark>you</my-mark>", ["Hello <1>you</1>"]),
        ("a < b and c > d", ["a < b and c > d"]),
        ("<p>42</p><p>&nbsp;</p><p>…</p>", []),
        ("<textarea>a</textarea>b<svg><text>c</text></svg>d", ["b<1/>d"]),
        ("<!-- never closed <p>a", []),
        ("<script>never closed", []),
        ("<p title='a", ["<p title='a"]),
    ],
)
def test_fragments(html: str, segments: list[str]) -> None:
    fragment = Fragment(html)
    assert [str(segment) for segment in fragment.segments] == segments
    assert fragment.with_translations(fragment.segments) == html


def test_a_fragment_is_text_whatever_it_says_of_its_encoding() -> None:
    fragment = Fragment("<meta charset=iso-8859-1><p>Grüße 漢</p>")
    assert [segment.text for segment in fragment.segments] == ["Grüße 漢"]


def test_a_fragment_of_markdown() -> None:
    fragment = Fragment("# Hello *you*\n", "md")
    assert fragment.with_translations([Marked.parse("<1>Du</1>, hallo")]) == "# *Du*, hallo\n"


def test_what_a_fragment_refuses() -> None:
    with pytest.raises(ValueError, match="1 segments were given 0"):
        Fragment("<p>a").with_translations([])
    with pytest.raises(DataError, match="'docx' is not a format of fragments"):
        Fragment("", "docx")


@pytest.mark.parametrize(
    "unit",
    [
        "<b>",
        "<",
        '<a href="',
        "<a href='",
        "a ",
        "&amp;",
        "<!--",
        "<!a",
        "<code>",
        "<code ",
        "<p translate=no>",
        "<b>a</i>",
    ],
)
def test_time_is_not_quadratic_where_it_matters(take: Any, unit: str) -> None:
    """Each of these takes well under a second, and would take minutes."""
    text = "<code>" + unit * 10_000 + "<p " + "a" * 50_000 + ">"
    for page in (take(text, "html"), take(text.removeprefix("<code>"), "html")):
        assert page.filled(*page.sources) == page.data
