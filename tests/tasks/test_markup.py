"""Tags go where the words went, each once, nested."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard import Translator
from regard.data.documents import Marked, Tag
from regard.tasks.markup import place_tags, reading, translate_marked
from regard.tasks.segments import lay_out, take_apart
from regard.tasks.translated import Part, Sentence, Translation


def translation_of(source: str, target: str, links: Sequence[tuple[int, int]]) -> Translation:
    """One sentence, each word a piece; ``links`` are numbers of a target word and the source word it looks at."""
    source_words, target_words = source.split(), target.split()
    attention = np.full((len(target_words), len(source_words)), 0.1 / max(1, len(source_words)))
    for j, i in links:
        attention[j, i] += 0.9
    sentence = Sentence(
        source=source,
        text=target,
        score=-0.1,
        source_pieces=tuple(f"▁{word}" for word in source_words),
        pieces=tuple(f"▁{word}" for word in target_words),
        log_probs=(0.0,) * len(target_words),
        attention=attention / attention.sum(axis=1, keepdims=True),
    )
    part = Part(range(len(source)), range(len(target)), sentence)
    return Translation(source, target, -0.1, (sentence,), (part,))


@pytest.mark.parametrize(
    ("marked", "target", "links", "expected"),
    [
        ("the <1>red</1> house", "la maison rouge", [(0, 0), (1, 2), (2, 1)], "la maison <1>rouge</1>"),
        ("<1>the red</1> house", "la rouge maison", [(0, 0), (1, 1), (2, 2)], "<1>la rouge</1> maison"),
        ("the <1>red house</1>", "la maison rouge", [(0, 0), (1, 2), (2, 1)], "la <1>maison rouge</1>"),
        ("<1>a <2>b</2></1> c", "C B A", [(0, 2), (1, 1), (2, 0)], "C <1><2>B</2> A</1>"),
        ("a<1/> b", "B A", [(0, 1), (1, 0)], "B A<1/>"),
        ("a <1/>b", "B A", [(0, 1), (1, 0)], "<1/>B A"),
        ("<1/>a b<2/>", "A B", [(0, 0), (1, 1)], "<1/>A B<2/>"),
        ("<1>a</1> <2>b</2>", "B A", [(0, 1), (1, 0)], "<2>B</2> <1>A</1>"),
        ("<1>a</1> b", "B", [(0, 1)], "<1></1>B"),  # nothing became of it
        ("a <1></1>b", "A B", [(0, 0), (1, 1)], "A <1></1>B"),
        ("a <1/> b", "A B", [(0, 0), (1, 1)], "A <1/> B"),  # white space on either side stays
        ("a <1/> b", "B A", [(0, 1), (1, 0)], "<1/> B A"),
        ("a <1/> b <2/> c", "A B C", [(0, 0), (1, 1), (2, 2)], "A <1/> B <2/> C"),
        ("a<1/> b", "A B", [(0, 0), (1, 1)], "A<1/> B"),
        ("a <1>b, c</1> d", "A B , C ! D", [(0, 0), (1, 1), (2, 0), (3, 2), (4, 1), (5, 3)], "A <1>B , C</1> ! D"),
    ],
)
def test_where_tags_go(marked: str, target: str, links: list[tuple[int, int]], expected: str) -> None:
    source = Marked.parse(marked)
    assert str(place_tags(source, translation_of(source.text, target, links))) == expected


@pytest.mark.parametrize(("reads", "text"), [(" ", "A B"), ("\n", "A\nB"), ("\t", "A\tB")])
def test_white_space_that_a_tag_stands_for(reads: str, text: str) -> None:
    source = Marked("ab", (Tag(1, "1", "alone", reads),))
    assert reading(source) == f"a{reads}b"
    first, second = translation_of("a", "A", [(0, 0)]).sentences[0], translation_of("b", "B", [(0, 0)]).sentences[0]
    parts = (Part(range(1), range(1), first), Part(range(1, 2), range(1, 2)), Part(range(2, 3), range(2, 3), second))
    placed = place_tags(source, Translation(f"a{reads}b", text, 0.0, (first, second), parts))
    assert (placed.text, [tag.position for tag in placed.tags]) == ("AB", [1])


@given(st.data())
def test_every_tag_is_there_once_whatever_the_alignment_says(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    text = " ".join("abcde"[:count])
    tags: list[Tag] = []
    stack: list[str] = []
    for number, place in enumerate(sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))):
        kind = data.draw(st.sampled_from(["alone", "open", *(["close"] if stack else [])]))
        name = stack.pop() if kind == "close" else str(number)
        stack += [name] * (kind == "open")
        tags.append(Tag(place, name, kind, data.draw(st.sampled_from(["", " "])) if kind == "alone" else ""))
    tags += [Tag(len(text), name, "close") for name in reversed(stack)]
    source = Marked(text, tuple(tags))
    read = reading(source)
    size = data.draw(st.integers(0, 5))
    links = [(j, data.draw(st.integers(0, len(read.split()) - 1))) for j in range(size)]
    target = " ".join("VWXYZ"[:size])
    placed = place_tags(source, translation_of(read, target, links))
    assert sorted((t.name, t.kind) for t in placed.tags) == sorted((t.name, t.kind) for t in source.tags)
    assert placed.text.split() == target.split() or any(tag.reads for tag in tags)
    assert placed.text.replace(" ", "") == target.replace(" ", "")


def test_a_text_is_laid_out() -> None:
    """Stretches joined are the texts; only sentences and the white space between them differ."""
    text = "👍 It rains. LEAVE {NAME} ALONE!\n\n42\tBye"
    parts = [(segment, segment.core and f"*{segment.core}*") for segment in take_apart(text, "en")]
    stretches = lay_out(parts, "en", "zh")
    assert "".join(stretch.source for stretch in stretches) == "👍 It rains. Leave {NAME} alone!\n\n42\tBye"
    assert "".join(stretch.target for stretch in stretches) == "👍 *It rains.* *LEAVE {NAME} ALONE!*\n\n42\t*Bye*"
    assert [stretch.target for stretch in stretches if not stretch.segment] == ["👍 ", " ", "\n\n", "42", "\t"]


@pytest.fixture(scope="module")
def translator(shipped_model: object) -> Translator:
    return Translator.from_pretrained(device="cpu", precision="fp32")


TEXTS = [
    "Please read <1>all</1> of this <2>before tomorrow</2>.",
    "The <1>old house</1> at the <2>river <3>bank</3></2> was sold for {price}.<4/>",
    "<1>The dog</1> sleeps. The cat <2>watches</2> 🐟 and 42 birds<3/> in the garden!",
    "<1>12 + 30</1> = <2/>42",
]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["de", "fr", "zh"])
def test_real_translations_keep_their_tags(translator: Translator, target: str) -> None:
    sources = [Marked.parse(text) for text in TEXTS]
    found = translate_marked(translator, sources, "en", target, beam=1)
    assert [f.source for f in found] == sources
    for source, result in zip(sources, found, strict=True):
        assert {(t.name, t.kind) for t in result.target.tags} == {(t.name, t.kind) for t in source.tags}
        assert result.target.text == result.translation.text
    assert "{price}" in found[1].target.text
    assert "🐟" in found[2].target.text
    assert found[3].target == sources[3]  # nothing to translate


@pytest.mark.slow
def test_placeholders_survive_every_direction(translator: Translator) -> None:
    page, mail = "https://example.com/a?b=1", "ann@example.org"
    texts = {
        "en": f"Hello {{name}}, please visit {page} or write to {mail} about %d 😀 at 12:30.",
        "de": f"Hallo {{name}}, bitte besuchen Sie {page} oder schreiben Sie an {mail} wegen %d 😀 um 12:30.",
        "fr": f"Bonjour {{name}}, visitez {page} ou écrivez à {mail} au sujet de %d 😀 à 12:30.",
        "zh": f"你好，{{name}}，请访问 {page} 或发邮件到 {mail}，说明 %d 😀，时间是12:30。",
    }
    for source, target in translator.directions:
        (sentence,) = translator.translate(texts[source], source, target, beam=1, alignment=True).sentences
        for original in ("{name}", page, mail, "%d", "😀", "12:30"):
            assert sentence.text.count(original) == 1, (source, target, original, sentence.text)
        assert sentence.attention is not None
        assert sentence.attention.shape == (len(sentence.pieces), len(sentence.source_pieces))
        assert np.allclose(sentence.attention.sum(axis=1), 1.0)
        assert len(sentence.log_probs) == len(sentence.pieces) + sentence.finished
        written = "".join(sentence.source_pieces)
        assert all(original in written for original in ("{name}", page, mail, "%d", "😀"))


@pytest.mark.slow
def test_a_number_that_was_lost_is_asked_for_again(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first translation is made to lose its numbers; the second has stand-ins for them."""
    decode = translator.tokenizers[1].decode
    monkeypatch.setattr(translator.tokenizers[1], "decode", lambda ids: decode(ids).replace("20", "30"))
    found = translator.translate("The house has 20 windows and {n} doors.", "en", "de", beam=1)
    assert found.text.count("20") == found.text.count("{n}") == 1
    assert "30" not in found.text
    assert found.problems == ()
