import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.data.batch import collate, pad

PAD, BOS, EOS = 0, 2, 3

rows = st.lists(st.integers(4, 50), max_size=6)
pairs = st.lists(st.tuples(rows, rows), min_size=1, max_size=5)


def test_a_batch_by_hand() -> None:
    batch = collate([[7, 8], [9]], [[5], [6, 4, 4]], pad_id=PAD, bos_id=BOS, eos_id=EOS)
    assert batch.source.tolist() == [[7, 8, EOS], [9, EOS, PAD]]
    assert batch.source_lengths.tolist() == [3, 2]
    assert batch.target_inputs.tolist() == [[BOS, 5, PAD, PAD], [BOS, 6, 4, 4]]
    assert batch.targets.tolist() == [5, EOS, 6, 4, 4, EOS]
    assert batch.target_index is not None
    assert batch.target_index.tolist() == [0, 1, 4, 5, 6, 7]
    assert batch.num_tokens == 6


def test_without_padding_there_is_no_index() -> None:
    assert collate([[7], [8, 9]], [[5], [6]], pad_id=PAD, bos_id=BOS, eos_id=EOS).target_index is None


@given(pairs)
def test_every_piece_is_there_once_and_in_its_place(examples: list[tuple[list[int], list[int]]]) -> None:
    sources, targets = [s for s, _ in examples], [t for _, t in examples]
    batch = collate(sources, [np.array(t, dtype=np.uint16) for t in targets], pad_id=PAD, bos_id=BOS, eos_id=EOS)
    for i, (source, target) in enumerate(examples):
        length = int(batch.source_lengths[i])
        assert batch.source[i, :length].tolist() == [*source, EOS]
        assert batch.source[i, length:].eq(PAD).all()
        assert batch.target_inputs[i, : len(target) + 1].tolist() == [BOS, *target]
        assert batch.target_inputs[i, len(target) + 1 :].eq(PAD).all()
    assert batch.targets.tolist() == [piece for target in targets for piece in [*target, EOS]]
    width = batch.target_inputs.shape[1]
    places = [i * width + j for i, target in enumerate(targets) for j in range(len(target) + 1)]
    found = list(range(batch.num_tokens)) if batch.target_index is None else batch.target_index.tolist()
    assert found == places


def test_to_the_cpu_is_itself() -> None:
    batch = collate([[7]], [[5]], pad_id=PAD, bos_id=BOS, eos_id=EOS)
    assert batch.to(torch.device("cpu")) is batch


@pytest.mark.gpu
def test_to_a_gpu() -> None:
    batch = collate([[7, 8], [9]], [[5], [6, 4]], pad_id=PAD, bos_id=BOS, eos_id=EOS).to(torch.device("cuda"))
    assert batch.source.is_cuda
    assert batch.targets.is_cuda
    assert not batch.source_lengths.is_cuda  # masks are built on the host


def test_pad_of_nothing() -> None:
    assert pad([], PAD).shape == (0, 0)
