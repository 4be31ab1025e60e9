"""Formats in which source and translation stand beside each other: po, xliff, tmx."""

from typing import Any

import polib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from regard.base.errors import DataError

CATALOGUE = r"""# Somebody's catalogue
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

#. What the button says
#: src/a.c:12
msgctxt "menu"
msgid "Open %s"
msgstr ""

#, fuzzy, c-format
msgid ""
"Two\n"
"lines"
msgstr "Doubtful"

msgid "one file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""

msgid "done"
msgstr "fertig"

#~ msgid "obsolete"
#~ msgstr ""
"""


def test_messages_without_a_translation_are_found(take: Any) -> None:
    catalogue = take(CATALOGUE, "po")
    assert catalogue.shown == ["Open %s", "Two\nlines", "one file", "%d files"]
    first, second = catalogue.holes[:2]
    assert (first.context, first.note, first.target) == ("menu", "What the button says", None)
    assert second.target.text == "Doubtful"


@given(st.text(alphabet="ab \n\t\r\\\"'é漢%", min_size=1))
def test_any_message_is_what_polib_reads(take: Any, text: str) -> None:
    written = take(CATALOGUE, "po").filled(text, "B", "C", text).decode()
    found = polib.pofile(written)
    assert found.find("Open %s", msgctxt="menu").msgstr == text
    assert found.find("one file").msgstr_plural == {0: "C", 1: text}
    assert found.find("done").msgstr == "fertig"
    untouched = [line for line in CATALOGUE.splitlines() if not line.startswith(("msgstr", '"Two', '"lines'))]
    assert [line for line in untouched if line not in written] == []


def test_line_ends_of_a_catalogue_stay(take: Any) -> None:
    catalogue = take('msgid "One"\r\nmsgstr ""\r\n', "po")
    assert catalogue.filled("a\nb") == b'msgid "One"\r\nmsgstr ""\r\n"a\\n"\r\n"b"\r\n'


def test_a_language_with_one_form_has_the_plural(take: Any) -> None:
    assert take('msgid "one file"\nmsgid_plural "%d files"\nmsgstr[0] ""\n', "po").shown == ["%d files"]


@pytest.mark.parametrize("text", ["junk\n", 'msgid "a\n', '"a"\n', 'msgid "a" b\n'])
def test_what_is_no_catalogue(take: Any, text: str) -> None:
    with pytest.raises(DataError, match="line 1: a message catalogue cannot hold this here"):
        take(text, "po")


XLIFF = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
 <file original="a" source-language="en" target-language="de" datatype="plaintext"><body>
  <trans-unit id="u1" resname="greeting">
   <source>Hello <g id="1">big</g> world<x id="2"/> &amp; all</source>
   <note>Be kind</note>
  </trans-unit>
  <trans-unit id="u2"><source>A <bpt id="1">&lt;b&gt;</bpt>c<ept id="1">&lt;/b&gt;</ept></source><target/></trans-unit>
  <trans-unit id="u3"><source>Draft</source><target state="new">Draft</target></trans-unit>
  <trans-unit id="u4"><source>Done</source><target state="translated">Fertig</target></trans-unit>
  <trans-unit id="u5" translate="no"><source>Regard</source></trans-unit>
 </body></file>
</xliff>
"""


def test_xliff_1(take: Any) -> None:
    document = take(XLIFF, "xliff")
    assert document.shown == ["Hello <1>big</1> world<2/> & all", "A <1>c</1>", "Draft"]
    assert (document.holes[0].context, document.holes[0].note) == ("greeting", "Be kind")
    assert document.holes[2].target.text == "Draft"
    written = document.filled("<2/>Hallo < <1>große</1> Welt", "<1>C</1> a", "Entwurf").decode()
    expected = XLIFF.replace(
        "&amp; all</source>",
        '&amp; all</source>\n   <target><x id="2"/>Hallo &lt; <g id="1">große</g> Welt</target>',
    )
    expected = expected.replace(
        "<target/>", '<target><bpt id="1">&lt;b&gt;</bpt>C<ept id="1">&lt;/b&gt;</ept> a</target>'
    )
    assert written == expected.replace('<target state="new">Draft', '<target state="new">Entwurf')
    assert take(written, "xliff").shown == ["Draft"]  # what has a translation is left alone


def test_xliff_2(take: Any) -> None:
    text = """<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="fr"><file id="f">
<unit id="u" name="n"><segment
id="1"><source>A <pc id="1">red</pc> <ph id="2"/><sc id="3"/>cat<ec startRef="3"/></source></segment>
<ignorable><source> </source></ignorable><segment state="final"><source>B</source><target>B</target></segment></unit>
<unit id="v" translate="no"><segment><source>C</source></segment></unit></file></xliff>"""
    document = take(text, "xliff")
    assert document.shown == ["A <1>red</1> <2/><3>cat</3>"]
    written = document.filled("Un <3>chat</3><2/> <1>rouge</1>").decode()
    target = 'Un <sc id="3"/>chat<ec startRef="3"/><ph id="2"/> <pc id="1">rouge</pc>'
    assert written == text.replace("</source></segment>\n", f"</source><target>{target}</target></segment>\n")


TMX = """<?xml version="1.0"?>
<tmx version="1.4"><header srclang="en-GB" datatype="plaintext"/><body>
  <tu tuid="7">
    <tuv xml:lang="en-GB"><seg>Hello <bpt i="1">b</bpt>you<ept i="1">/b</ept></seg></tuv>
    <tuv xml:lang="fr"><seg>Bonjour</seg></tuv>
  </tu>
  <tu><tuv xml:lang="de"><seg>Nur deutsch</seg></tuv></tu>
</body></tmx>
"""


def test_tmx(take: Any) -> None:
    memory = take(TMX, "tmx", target="de")
    assert memory.shown == ["Hello <1>you</1>"]
    written = memory.filled("<1>Du</1>, hallo").decode()
    added = '\n    <tuv xml:lang="de"><seg><bpt i="1">b</bpt>Du<ept i="1">/b</ept>, hallo</seg></tuv>'
    assert written == TMX.replace(
        '</seg></tuv>\n    <tuv xml:lang="fr"', f'</seg></tuv>{added}\n    <tuv xml:lang="fr"'
    )
    assert take(TMX, "tmx", target="fr").shown == []
    assert take(TMX, "tmx", source="de", target="en").shown == ["Nur deutsch"]
    with pytest.raises(DataError, match="name the one to translate into"):
        take(TMX, "tmx")


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_text_is_what_lxml_reads(take: Any, text: str) -> None:
    """But for what XML cannot hold; and line ends, which it makes alike."""
    written = take(XLIFF, "xliff").filled(type(take(XLIFF, "xliff").sources[0])(text), "", "")
    tree = etree.fromstring(written, etree.XMLParser(resolve_entities=False, no_network=True))
    target = tree.find(".//{*}trans-unit[@id='u1']/{*}target")
    assert target is not None
    legal = "".join(c for c in text if c in "\t\n\r" or (ord(c) >= 32 and ord(c) not in (0xFFFE, 0xFFFF)))
    assert (target.text or "").replace("\n", "\r") == legal.replace("\r\n", "\r").replace("\n", "\r")


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("xliff", "<tmx/>", "no XLIFF"),
        ("xliff", '<xliff version="3"/>', "XLIFF 3; versions 1.2 and 2"),
        ("xliff", "<xliff/>", "without a version"),
        ("tmx", "<xliff/>", "no TMX"),
        ("xliff", "<a><b></a>", "line 1: this is not well-formed XML: mismatched tag"),
        ("xliff", "", "no element found"),
    ],
)
def test_other_xml(take: Any, format: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        take(text, format, target="de")
