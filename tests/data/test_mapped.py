"""Foreign vocabularies: SentencePiece's pieces under other ids."""

import io
import json
import pickle
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError, ModelError
from regard.data.mapped import MappedTokenizer
from regard.data.sampling import SubwordSampler
from regard.tasks.vocabulary import load_tokenizers, save_tokenizers

TEXTS = ["The kettle sings and nobody listens.", "Seven geese walked across the frozen pond.", "Who sings?"]
SPECIAL = ["</s>", "<unk>", ">>deu<<", ">>zho_Hans<<", "<pad>"]


def pieces_model() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def model() -> bytes:
    return pieces_model()


@pytest.fixture(scope="module")
def vocabulary(model: bytes) -> list[str]:
    """Backwards, and without one piece."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size() - 1, 2, -1)]
    return ["</s>", "<unk>", *(piece for piece in pieces if piece != "W"), *SPECIAL[2:], "▁only"]


@pytest.fixture(scope="module")
def tokenizer(model: bytes, vocabulary: list[str]) -> MappedTokenizer:
    return MappedTokenizer(model, vocabulary, tags={"<2de>": ">>deu<<"}, special=["<pad>", ">>zho_Hans<<"])


def test_ids_are_the_vocabulary_s(tokenizer: MappedTokenizer, model: bytes, vocabulary: list[str]) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in TEXTS:
        pieces = processor.encode(text, out_type=str)
        expected = [vocabulary.index(piece) if piece in vocabulary else 1 for piece in pieces]
        assert tokenizer.encode(text) == expected
        assert tokenizer.encode_batch([text] * 600) == [expected] * 600  # on several cores
        assert [p for p in tokenizer.pieces(expected) if p != "<unk>"] == [p for p in pieces if p in vocabulary]
    assert tokenizer.decode(tokenizer.encode(TEXTS[1])) == TEXTS[1]
    assert (tokenizer.vocab_size, tokenizer.unk_id, tokenizer.eos_id) == (len(vocabulary), 1, 0)


@pytest.mark.parametrize("text", SPECIAL)
def test_what_is_typed_is_never_special(tokenizer: MappedTokenizer, vocabulary: list[str], text: str) -> None:
    special = {vocabulary.index(piece) for piece in SPECIAL} - {tokenizer.unk_id}
    assert not special & set(tokenizer.encode(f"{text} kettle {text}"))
    assert set(tokenizer.never) == (special | {1}) - {tokenizer.eos_id}


def test_specials_have_no_text(tokenizer: MappedTokenizer, vocabulary: list[str]) -> None:
    kettle = tokenizer.encode("kettle")
    around = [vocabulary.index(piece) for piece in SPECIAL if piece != "<unk>"]
    assert tokenizer.decode([*around, *kettle, *around]) == "kettle"
    assert tokenizer.decode([*kettle, 1, *kettle]) == "kettle ⁇ kettle"
    assert tokenizer.decode([*kettle, vocabulary.index("▁only")]) == "kettle only"  # SentencePiece does not know it
    assert tokenizer.decode([]) == ""


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_text_becomes_ids(text: str) -> None:
    ids = PLAIN.encode(text)
    assert all(1 <= i < PLAIN.vocab_size for i in ids)
    assert "\n" not in PLAIN.decode(ids)


_MODEL = pieces_model()
_PROCESSOR = sentencepiece.SentencePieceProcessor(model_proto=_MODEL)
PLAIN = MappedTokenizer(
    _MODEL, ["</s>", "<unk>", *(_PROCESSOR.id_to_piece(i) for i in range(3, _PROCESSOR.vocab_size()))], tags={}
)


def test_round_trip(tokenizer: MappedTokenizer, tmp_path: Path) -> None:
    save_tokenizers(tmp_path, (tokenizer, PLAIN))
    source, target = load_tokenizers(tmp_path)
    assert isinstance(source, MappedTokenizer)
    for before, after in ((tokenizer, source), (PLAIN, target), (tokenizer, pickle.loads(pickle.dumps(tokenizer)))):
        assert after.encode_batch(TEXTS) == before.encode_batch(TEXTS)
        assert (after.tags, after.vocab_size, after.never) == (before.tags, before.vocab_size, before.never)
    assert source.tag_id("<2de>") == tokenizer.tag_id("<2de>")
    with pytest.raises(ConfigError, match=r"no tag '<2zh>'. Known: <2de>"):
        source.tag_id("<2zh>")


def test_no_sampling(tokenizer: MappedTokenizer) -> None:
    """SentencePiece would draw its own ids."""
    with pytest.raises(ConfigError, match="it cannot be sampled from"):
        tokenizer.sample(TEXTS, 0.1)
    with pytest.raises(ConfigError, match="one segmentation only"):
        SubwordSampler(tokenizer, 0.1)


def test_ids_outside_the_vocabulary(tokenizer: MappedTokenizer) -> None:
    for bad in (-1, tokenizer.vocab_size):
        with pytest.raises(IndexError, match=f"no piece {bad}"):
            tokenizer.decode([bad])


def test_vocabularies_that_do_not_fit(model: bytes) -> None:
    with pytest.raises(ModelError, match="a piece occurs twice"):
        MappedTokenizer(model, ["</s>", "<unk>", "a", "a"], tags={})
    with pytest.raises(ModelError, match="'>>fra<<' is not in the vocabulary of 2 pieces"):
        MappedTokenizer(model, ["</s>", "<unk>"], tags={"<2fr>": ">>fra<<"})
    with pytest.raises(ModelError, match="not a SentencePiece model"):
        MappedTokenizer(b"nothing", ["</s>", "<unk>"], tags={})


def test_files_that_are_damaged(tokenizer: MappedTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "vocabulary": "abc"}))
    with pytest.raises(ModelError, match="is not a mapped tokenizer"):
        load_tokenizers(tmp_path)
    path.write_text(json.dumps({**values, "sha256": "0"}))
    with pytest.raises(ModelError, match="checksum differs"):
        load_tokenizers(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.model"):
        load_tokenizers(tmp_path)
