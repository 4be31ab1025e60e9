import os
import sys

import pytest
import sacrebleu

from regard.base.errors import ConfigError, DataError
from regard.tasks.evaluation import METRICS, corpus_scores, paired_bootstrap

REFERENCES = [
    "The lighthouse keeper waves at every ship.",
    "Our cellar smells of apples and old paper.",
    "Nobody has repaired the village clock since March.",
    "A thin boy carried two buckets up the hill.",
]
GOOD = [
    "The lighthouse keeper waves at each ship.",
    "Our cellar smells of apples and paper.",
    "Nobody has repaired the clock of the village since March.",
    "A thin boy carried two buckets up the hill.",
]
POOR = ["The ship waves.", "Our cellar is old.", "Nobody has a clock.", "A boy carried a hill up."]
CHINESE = ["灯塔看守人向每一艘船挥手。", "地窖里有苹果和旧纸的味道。"]
CHINESE_GUESS = ["灯塔看守人向每艘船挥手。", "地窖里有苹果的味道。"]


def test_scores_are_sacrebleus_own() -> None:
    found = corpus_scores(GOOD, REFERENCES, "en")
    assert list(found) == list(METRICS)
    assert found["bleu"].score == sacrebleu.corpus_bleu(GOOD, [REFERENCES]).score
    assert found["chrf"].score == sacrebleu.corpus_chrf(GOOD, [REFERENCES]).score
    assert found["ter"].score == sacrebleu.corpus_ter(GOOD, [REFERENCES]).score
    for score in found.values():
        assert f"version:{sacrebleu.__version__}" in score.signature
        assert "nrefs:1" in score.signature
    assert "tok:13a" in found["bleu"].signature


def test_a_perfect_translation_is_perfect() -> None:
    for references, target in ((REFERENCES, "en"), (CHINESE, "zh"), (CHINESE, "ja")):
        found = corpus_scores(references, references, target)
        assert [found[name].score for name in METRICS] == pytest.approx([100, 100, 0])


@pytest.mark.parametrize("target", ["zh", "zh-CN", "zh_TW", "ZHO"])
def test_chinese_is_cut_into_characters(target: str) -> None:
    found = corpus_scores(CHINESE_GUESS, CHINESE, target)
    assert "tok:zh" in found["bleu"].signature
    assert "asian:yes" in found["ter"].signature
    assert found["bleu"].score == sacrebleu.corpus_bleu(CHINESE_GUESS, [CHINESE], tokenize="zh").score
    # one character is missing from the first sentence, three from the second
    assert found["ter"].score == pytest.approx(100 * 4 / sum(map(len, CHINESE)))


def test_japanese_needs_no_further_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    assert "tok:char" in corpus_scores(["船に手を振る。"], ["船へ手を振る。"], "ja")["bleu"].signature


def test_case_can_be_ignored() -> None:
    shouted = [line.upper() for line in REFERENCES]
    assert corpus_scores(shouted, REFERENCES, "en")["bleu"].score < 20
    found = corpus_scores(shouted, REFERENCES, "en", lowercase=True)
    assert found["bleu"].score == pytest.approx(100)
    assert found["chrf"].score == pytest.approx(100)
    assert "case:lc" in found["bleu"].signature


def test_several_references_are_each_allowed() -> None:
    found = corpus_scores(GOOD, [REFERENCES, GOOD], "en")
    assert found["bleu"].score == pytest.approx(100)
    assert "nrefs:2" in found["bleu"].signature


def test_only_the_metrics_asked_for_are_computed() -> None:
    assert list(corpus_scores(GOOD, REFERENCES, "en", metrics=["chrf"])) == ["chrf"]
    with pytest.raises(ConfigError, match=r"'chr' is not a metric.*'chrf'"):
        corpus_scores(GOOD, REFERENCES, "en", metrics=["chr"])


@pytest.mark.parametrize("references", [REFERENCES[:3], [REFERENCES, REFERENCES[:3]], []])
def test_counts_must_agree(references: list[str]) -> None:
    with pytest.raises(DataError, match=r"4 translations, but [03] references"):
        corpus_scores(GOOD, references, "en")
    with pytest.raises(DataError, match="nothing to score"):
        corpus_scores([], references, "en")


def test_the_better_system_is_found() -> None:
    found = paired_bootstrap(GOOD * 25, POOR * 25, REFERENCES * 25, "en", samples=200)
    scores = corpus_scores(GOOD * 25, REFERENCES * 25, "en")
    for name in METRICS:
        assert found[name].score == scores[name].score
        assert found[name].p_value < 0.05
        assert found[name].confidence > 0
        assert (found[name].difference > 0) == (name != "ter")
    assert "bs:200" in found["bleu"].signature
    assert "seed:12345" in found["bleu"].signature


def test_equal_systems_do_not_differ() -> None:
    found = paired_bootstrap(GOOD, GOOD, REFERENCES, "en", samples=50)
    assert [found[name].p_value for name in METRICS] == [1.0, 1.0, 1.0]
    assert [found[name].difference for name in METRICS] == [0.0, 0.0, 0.0]


def test_the_seed_decides_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def confidence(seed: int) -> float:
        return paired_bootstrap(GOOD, POOR, REFERENCES, "en", samples=40, seed=seed, metrics=["chrf"])[
            "chrf"
        ].confidence

    monkeypatch.setenv("SACREBLEU_SEED", "77")
    assert confidence(3) == confidence(3) != confidence(4)
    assert os.environ["SACREBLEU_SEED"] == "77"
    monkeypatch.delenv("SACREBLEU_SEED")
    confidence(3)
    assert "SACREBLEU_SEED" not in os.environ


def test_bad_comparisons_are_refused() -> None:
    with pytest.raises(DataError, match="the baseline has 3 translations, the system 4"):
        paired_bootstrap(GOOD, POOR[:3], REFERENCES, "en")
    for wrong in ({"samples": 0}, {"seed": 0}):
        with pytest.raises(ConfigError, match="must be positive"):
            paired_bootstrap(GOOD, POOR, REFERENCES, "en", **wrong)
