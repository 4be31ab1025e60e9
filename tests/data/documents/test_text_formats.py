"""What holds for every format whose files are text, whatever is in them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regard.base.errors import DataError

#: What each format is made of; joined at random, often broken.
ALPHABETS = {
    "txt": ["One two.", " ", "\n", "\r\n", "\t", "\u2028", "42", "é"],
    "html": [
        *(
            "<p>",
            "</p>",
            "<b>",
            "</b>",
            "<i class='x'>",
            "</i>",
            "<br>",
            "<br/>",
            "<img alt='A cat' src=x>",
            "<!-- c -->",
        ),
        *(
            "<code>",
            "</code>",
            "<script>",
            "</script>",
            '<td title="Tip">',
            "&amp;",
            "&nbsp;",
            "&lt;b&gt;",
            "Hello ",
            " you",
        ),
        *("<", ">", "\n", "<a href='x", "'>", "<x id='1'/>", "<span translate=no>", "</span>", "<!doctype html>"),
    ],
    "md": [
        *(
            "Hello ",
            "you",
            "*",
            "**",
            "_",
            "`",
            "``",
            "[",
            "]",
            "(",
            ")",
            "(x.html)",
            "![",
            "\\",
            "\\*",
            "&amp;",
            "<b>",
            "</b>",
        ),
        *(
            "\n",
            "\n\n",
            "  \n",
            "# ",
            "- ",
            "> ",
            "1. ",
            "    ",
            "| ",
            " |",
            "|---|",
            "~~",
            "<http://a.b>",
            "***",
            "---",
            "```",
            "\t",
        ),
        *("<p>", "</p>", "[a]: b 'T'\n", "[a]", "\r\n", "é", '"'),
    ],
    "srt": [
        "1\n",
        "00:00:01,000 --> 00:00:02,000\n",
        "Hello ",
        "you\n",
        "<i>",
        "</i>",
        "{\\an8}",
        "- Ho\n",
        "\n",
        "\r\n",
        "<",
        "&",
    ],
    "vtt": [
        "WEBVTT\n\n",
        "00:01.000 --> 00:02.000\n",
        "Hello ",
        "you\n",
        "<v Bob>",
        "<c.x>",
        "</c>",
        "<00:01.500>",
        "&amp;",
        "\n",
        "NOTE x\n",
    ],
    "csv": ["a b", ",", ";", '"', '""', '"x y"', "\n", "\r\n", "42", "|", "\t"],
    "json": [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"a b"',
        '"k"',
        '"\\u00e9 \\n"',
        "1",
        "null",
        " ",
        "\n",
        '"\\ud800 x"',
        '"http://x"',
    ],
    "po": [
        *(
            'msgid ""\n',
            'msgstr ""\n',
            'msgid "One"\n',
            'msgstr "Eins"\n',
            '"two\\n"\n',
            'msgctxt "c"\n',
            "# note\n",
            "#, fuzzy\n",
        ),
        *('msgid_plural "Ones"\n', 'msgstr[0] ""\n', 'msgstr[1] ""\n', "\n", "  ", "\r\n", '#~ msgid "x"\n', "junk"),
    ],
}
DOCUMENTS = st.sampled_from(sorted(ALPHABETS)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.sampled_from(ALPHABETS[name]), max_size=30).map("".join))
)
MORE = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def one_line(text: str) -> str:
    """``text`` between letters, white space as HTML and Markdown have it."""
    return " ".join(piece for piece in f"x {text} y".split(" ") if piece)


def taken(take: Any, format: str, text: str) -> Any:
    """None where the document is refused."""
    try:
        return take(text, format)
    except DataError:
        return None


@MORE
@given(DOCUMENTS)
def test_identity_gives_the_same_bytes(take: Any, document: tuple[str, str]) -> None:
    format, text = document
    if (found := taken(take, format, text)) and format != "po":
        assert found.filled(*found.sources) == text.encode()


@MORE
@given(DOCUMENTS)
def test_what_is_put_in_is_found_again(take: Any, document: tuple[str, str]) -> None:
    """Other words in every segment: the same segments come out, with those words and the same tags."""
    format, text = document
    found = taken(take, format, text)
    if not found or format == "po" or any("-->" in source.text for source in found.sources):
        return  # nothing but times may hold an arrow
    written = found.changed(str.swapcase)
    again = take(written, format)
    assert again.shown == [str(type(s)(s.text.swapcase(), s.tags)) for s in found.sources]


@pytest.mark.parametrize("format", ["txt", "html", "srt", "vtt", "tsv", "json"])
@given(text=st.text(alphabet="ab <>&\"'\\*_`{}[],;|-#%é漢\u00a0", min_size=1).map(one_line))
def test_any_line_of_text_can_be_written(take: Any, format: str, text: str) -> None:
    """Text that looks like markup comes back as text."""
    documents = {
        "txt": "Hello\n",
        "html": "<p>Hello</p>",
        "srt": "1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n",
        "tsv": "12\tHello\n",
        "json": '{"k": "Hello"}',
    }
    if format == "srt" and ("<" in text or "{\\" in text or "-->" in text):
        return  # SubRip has no way to write these as text
    found = take(documents[format], format)
    again = take(found.filled(type(found.sources[0])(text)), format)
    assert [source.text for source in again.sources] == [text]


@given(text=st.text(alphabet="ab <>&\"'\\*_`{}[]()!,;|-+#=~%é漢1.").map(one_line))
def test_any_line_can_be_written_as_markdown(take: Any, text: str) -> None:
    found = take("Hello\n", "md")
    again = take(found.filled(type(found.sources[0])(text)), "md")
    assert again.shown == [str(type(found.sources[0])(text))]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
@pytest.mark.parametrize("format", ["txt", "json", "csv"])
def test_byte_order_marks_stay(take: Any, format: str, mark: bytes) -> None:
    text = {"txt": "Grüße an alle\r\n", "json": '["Grüße an alle"]', "csv": "Grüße,an\r\n"}[format]
    codec = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}[mark]
    found = take(mark + text.encode(codec), format)
    assert found.changed(str.upper) == mark + text.upper().encode(codec)


def test_declared_encodings_are_kept(take: Any) -> None:
    page = "<meta charset=iso-8859-1><p>Grüße</p>".encode("latin-1")
    found = take(page, "html")
    assert found.filled("Voilà 漢") == "<meta charset=iso-8859-1><p>Voilà &#28450;</p>".encode("latin-1")
    catalogue = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\nmsgid "Gr\xfc\xdfe"\nmsgstr ""\n'
    found = take(catalogue.encode("latin-1"), "po")
    with pytest.raises(DataError, match="iso8859-1, has no '漢'"):
        found.filled("漢")
    assert found.filled("été").endswith('msgstr "été"\n'.encode("latin-1"))


def test_json_keeps_its_form(take: Any) -> None:
    found = take(
        '{"a": {"b": ["One thing", 3, "x_y", "#fff", "en-US", "img/a.png"]},\t"k l": "caf\\u00e9 now"}', "json"
    )
    assert found.shown == ["One thing", "café now"]
    assert [hole.context for hole in found.holes] == ["a.b.0", "k l"]
    written = found.filled("Une chose", 'là "bas"\n')
    assert json.loads(written) == {
        "a": {"b": ["Une chose", 3, "x_y", "#fff", "en-US", "img/a.png"]},
        "k l": 'là "bas"\n',
    }
    assert b"l\\u00e0" in written  # escaped, as the rest is


def test_cells_are_quoted_where_they_have_to_be(take: Any) -> None:
    found = take('name;note\r\n"Ann ""A""";old one\r\n', "csv")
    assert found.shown == ["name", "note", 'Ann "A"', "old one"]
    assert found.holes[3].context == "row 2, column 2 (note)"
    assert found.filled("Name", "a;b", 'x"', "y") == b'Name;"a;b"\r\n"x""";y\r\n'


def test_cues(take: Any) -> None:
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nHello my\r\n<i>dear</i> friend.\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\n- Who?\r\n- Me.\r\n"
    )
    found = take(text, "srt")
    assert found.shown == ["Hello my<1/><2>dear</2> friend.", "- Who?", "- Me."]
    written = found.filled("Hallo mein<1/><2>lieber</2> Freund.", "- Wer?", "- Ich\n\n-->").decode()
    assert "Hallo mein\r\n<i>lieber</i> Freund.\r\n\r\n2" in written
    assert written.endswith("- Ich ->\r\n")


def test_notes_and_styles_of_webvtt_stay(take: Any) -> None:
    head = "WEBVTT Title here\n\nSTYLE\n::cue { color: red }\n\nNOTE A note\n\ncue name\n"
    text = head + "00:01.000 --> 00:02.000\n<v Ann>Hi &amp; <b>bye</b>\n"
    found = take(text, "vtt")
    assert found.shown == ["Hi & <1>bye</1>"]
    assert found.filled("A < <1>b</1>").decode() == text.replace("Hi &amp; <b>bye", "A &lt; <b>b")
