import io

import pytest
import sentencepiece

from regard.base.errors import ConfigError
from regard.data.extension import extend
from regard.data.mapped import MappedTokenizer
from regard.data.tokenizer import Tokenizer, TokenizerConfig

TEXTS = [
    "The kettle sings and nobody listens to the singing kettle.",
    "Who left the garden gate open last night?",
    "Seven geese walked across the frozen pond behind the mill.",
    "Der Kessel singt und niemand hört ihm zu.",
    "Sieben Gänse liefen über den gefrorenen Teich hinter der Mühle.",
    "水壶在响，没有人听。",
    "七只鹅走过结冰的池塘。",
] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=340), ["<2de>", "<2en>"])


@pytest.fixture(scope="module")
def mapped() -> MappedTokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=120, hard_vocab_limit=False, minloglevel=2
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(i) for i in range(3, processor.vocab_size())]
    return MappedTokenizer(model.getvalue(), ["</s>", "<unk>", *pieces, "<pad>"], tags={}, special=["<pad>"])


WORDS = ["Zwetschge", "quixotry", "Łódź", "量子池塘"]


def test_words_become_pieces_and_other_text_is_cut_as_before(tokenizer: Tokenizer) -> None:
    more = extend(tokenizer, WORDS)
    size = tokenizer.vocab_size
    assert more.pieces == ("\u2581Zwetschge", "\u2581quixotry", "\u2581Łódź", "量子池塘")
    assert more.tokenizer.vocab_size == more.tokenizer.config.vocab_size == size + 4
    assert more.tokenizer.tags == tokenizer.tags
    for text in [*TEXTS, "Zwetsch quixot 量子 Łód", "An unknown word: Kübelpflanze, 48 geese!"]:
        assert more.tokenizer.encode(text) == tokenizer.encode(text)
    text = "A Zwetschge and quixotry in Łódź, near 一个量子池塘。"
    ids = more.tokenizer.encode(text)
    assert {size, size + 1, size + 2, size + 3} <= set(ids)
    assert more.tokenizer.decode(ids) == tokenizer.normalize(text)
    for number, (piece, replaced) in enumerate(zip(more.pieces, more.replaced, strict=True)):
        assert len(replaced) > 1
        assert tokenizer.decode(replaced) == piece.removeprefix("\u2581")
        assert more.tokenizer.pieces([size + number]) == [piece]


def test_what_was_replaced_is_how_the_word_was_cut(tokenizer: Tokenizer) -> None:
    more = extend(tokenizer, ["Zwetschge"])
    assert list(more.replaced[0]) == tokenizer.encode("Zwetschge")


def test_a_word_that_begins_with_another(tokenizer: Tokenizer) -> None:
    more = extend(tokenizer, ["quixotry", "quixotryhood"])
    size = tokenizer.vocab_size
    assert more.replaced[1][0] == size
    assert more.tokenizer.encode("quixotryhood") == [size + 1]
    assert more.tokenizer.encode("quixotry") == [size]


def test_saved_and_loaded(tokenizer: Tokenizer, tmp_path: object) -> None:
    more = extend(tokenizer, WORDS).tokenizer
    more.save(tmp_path)  # type: ignore[arg-type]
    again = Tokenizer.load(tmp_path)  # type: ignore[arg-type]
    assert again.encode("Zwetschge") == more.encode("Zwetschge")
    assert again.config == more.config


def test_an_imported_vocabulary(mapped: MappedTokenizer) -> None:
    more = extend(mapped, ["quixotry", "Gänseteich"])
    assert isinstance(more.tokenizer, MappedTokenizer)
    size = mapped.vocab_size
    assert more.tokenizer.encode("quixotry") == [size]
    assert more.tokenizer.decode(more.tokenizer.encode("a quixotry")) == "a quixotry"
    for text in TEXTS:
        assert more.tokenizer.encode(text) == mapped.encode(text)
    assert list(more.replaced[1]) == mapped.encode("Gänseteich")


def test_what_cannot_be_added(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="'New York' is not one word"):
        extend(tokenizer, ["New York"])
    with pytest.raises(ConfigError, match="'' is not one word"):
        extend(tokenizer, [""])
    more = extend(tokenizer, ["quixotry"]).tokenizer
    with pytest.raises(ConfigError, match="'quixotry' is one piece already"):
        extend(more, ["quixotry"])
    pairs = Tokenizer.train(TEXTS, TokenizerConfig(kind="bpe", vocab_size=420))
    with pytest.raises(ConfigError, match="unigram vocabulary only"):
        extend(pairs, ["quixotry"])
