"""Shortlists: the alignment against the equations written out, and what is kept of it."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig
from regard.decode.shortlist import ANY, FILE, Shortlist
from regard.tasks.shortlist import Links, ShortlistConfig, add_shortlist, learn_shortlist
from regard.tasks.translation import Translator

PAIRS = [([1, 2], [11, 12]), ([1], [11]), ([2, 3, 3], [12, 13]), ([4], [14, 14, 11]), ([5, 1], [11, 15])]


def as_arrays(pairs: list[tuple[list[int], list[int]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(source), np.array(target)) for source, target in pairs]


@pytest.mark.parametrize("iterations", [1, 4])
def test_probabilities_are_those_of_ibm_model_1(iterations: int) -> None:
    nothing, size = 6, 16
    expected: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        for source, target in PAIRS:
            for t in target:
                total = sum(expected[s, t] for s in [*source, nothing])
                for s in [*source, nothing]:
                    counts[s, t] += expected[s, t] / total
        sums: dict[int, float] = defaultdict(float)
        for (s, _), count in counts.items():
            sums[s] += count
        expected = {key: count / sums[key[0]] for key, count in counts.items()}  # type: ignore[assignment]
    links = Links.of(as_arrays(PAIRS), nothing, size)
    found = dict(
        zip(map(tuple, np.stack(np.divmod(links.keys, size), 1).tolist()), links.probabilities(iterations), strict=True)
    )
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_most_probable_and_the_most_frequent_are_kept() -> None:
    links = Links.of(as_arrays(PAIRS), 6, 16)
    rows = links.rows(ShortlistConfig(per_piece=1, frequent=2))
    assert [row.tolist() for row in rows[1:4]] == [[11], [12], [13]]
    assert rows[0].tolist() == []
    assert set(rows[6].tolist()) == {11, 12} or set(rows[6].tolist()) == {11, 14}
    assert len(rows) == 7


def test_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="no pair"):
        Links.of([], 6, 16)
    with pytest.raises(ConfigError, match="at least 1"):
        ShortlistConfig(per_piece=0)


def test_a_model_translates_with_its_shortlist(shipped_model: Path, tmp_path: Path) -> None:
    """Learnt, written, added to, and used by the native engine for the direction that it is for."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in shipped_model.iterdir():
        if path.name != FILE:
            (folder / path.name).symlink_to(path)
    corpus = tmp_path / "train.tsv"
    corpus.write_text(
        "The bread is warm.\tDas Brot ist warm.\nThe house is old.\tDas Haus ist alt.\n", encoding="utf-8"
    )
    said: list[str] = []
    learnt = learn_shortlist(folder, [CorpusConfig("en", "de", str(corpus))], ShortlistConfig(), said.append)
    assert said[0].startswith("en→de: 2 pairs, ")
    assert add_shortlist(folder, learnt) == folder / FILE
    translator = Translator.from_pretrained(folder, engine="native", threads=1)
    tokenizer = translator.tokenizers[0]
    request = translator.prepare(["The bread is old."], "en", "de").requests[0]
    allowed = set(learnt.of(request.source))
    assert set(tokenizer.encode("Das Brot ist alt.")) <= allowed
    found = translator.translate("The bread is old.", "en", "de", beam=2)
    assert set(tokenizer.encode(found.text)) <= allowed
    # the other directions are as they were, and all of them without it
    plain = Translator.from_pretrained(folder, engine="native", threads=1, shortlist=False)
    before = translator.translate("Das Brot ist warm.", "de", "en")
    assert before == plain.translate("Das Brot ist warm.", "de", "en")
    both = CorpusConfig("en", "de", str(corpus), both_directions=True)
    add_shortlist(folder, learn_shortlist(folder, [both], ShortlistConfig(), said.append))
    merged = Shortlist.load(folder / FILE, learnt.sources, learnt.targets)
    assert len(merged.tables) == 2
    assert set(merged.of(request.source)) == allowed
    assert ANY not in merged.tables
    with pytest.raises(ConfigError, match=r"does not translate en→ja\. It has en→de"):
        learn_shortlist(folder, [CorpusConfig("en", "ja", str(corpus))], ShortlistConfig(), said.append)


def test_an_extended_vocabulary_needs_a_new_shortlist(shipped_model: Path, tmp_path: Path) -> None:
    from regard.compress.extending import extend_model

    folder = tmp_path / "model"
    folder.mkdir()
    for path in shipped_model.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / FILE).unlink(missing_ok=True)
    config = Translator.from_pretrained(folder, engine="native", threads=1).engine.config
    rows = [np.arange(4)] * (config.source_vocab_size + 1)
    Shortlist.of_rows({ANY: rows}, config.target_vocab_size).save(folder)
    extend_model(folder, tmp_path / "extended", ["Zwetschgenknödel"])
    assert not (tmp_path / "extended" / FILE).exists()


def test_words_can_be_required(shipped_model: Path) -> None:
    translator = Translator.from_pretrained(shipped_model, engine="native", threads=1)
    found = translator.translate("The bread is still warm.", "en", "de", required=["Laib"], beam=5)
    assert "Laib" in found.text
