"""The key-value cache against plain concatenation."""

import pytest
import torch
from torch import Tensor

from regard.attention import KeyValueCache

H, K, V = 2, 3, 4


def make(rows: int = 3, capacity: int = 6) -> KeyValueCache:
    return KeyValueCache.empty(rows, H, capacity, K, V, dtype=torch.float64, device=torch.device("cpu"))


def columns(rows: int, count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, H, count, K, dtype=torch.float64), torch.randn(rows, H, count, V, dtype=torch.float64)


def assert_holds(cache: KeyValueCache, key: Tensor, value: Tensor, first: int = 0) -> None:
    """Append nothing and compare what comes back."""
    found = cache.append(*(t[:, :, :0] for t in columns(cache.rows, 1)), first=first)
    assert torch.equal(found[0], key[:, :, first:])
    assert torch.equal(found[1], value[:, :, first:])


def test_append_returns_everything_so_far() -> None:
    cache = make()
    keys, values = [], []
    for count in (1, 3, 2):
        key, value = columns(3, count)
        keys.append(key)
        values.append(value)
        found = cache.append(key, value)
        assert torch.equal(found[0], torch.cat(keys, dim=2))
        assert torch.equal(found[1], torch.cat(values, dim=2))
    assert cache.used == cache.capacity == 6
    assert_holds(cache, torch.cat(keys, dim=2), torch.cat(values, dim=2), first=4)
    with pytest.raises(IndexError, match="cache of 6 columns is full"):
        cache.append(*columns(3, 1))


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 0], [1], [2, 2, 1, 0, 1], []])
def test_select_moves_shrinks_and_grows(rows: list[int]) -> None:
    cache, (key, value) = make(), columns(3, 4)
    cache.append(key, value)
    cache.select(torch.tensor(rows, dtype=torch.long))
    assert cache.rows == len(rows)
    assert_holds(cache, key[rows], value[rows])
    more = columns(len(rows), 2)
    found = cache.append(*more)  # what was selected is a copy: rows do not share memory
    assert torch.equal(found[0], torch.cat([key[rows], more[0]], dim=2))


def test_select_can_leave_old_columns_alone() -> None:
    cache, (key, value) = make(), columns(3, 4)
    cache.append(key, value)
    cache.select(torch.tensor([2, 1]), first=3)
    assert_holds(cache, key[[2, 1]], value[[2, 1]], first=3)


def test_added_rows_are_zeros() -> None:
    cache, (key, value) = make(), columns(3, 2)
    cache.append(key, value)
    cache.add_rows(2)
    zeros = torch.zeros(2, H, 2, V, dtype=torch.float64)
    assert_holds(cache, torch.cat([key, zeros[..., :K]]), torch.cat([value, zeros]))
    cache.select(torch.tensor([0]))
    cache.add_rows(1)  # not what the dropped rows held
    assert_holds(cache, torch.cat([key[:1], zeros[:1, ..., :K]]), torch.cat([value[:1], zeros[:1]]))


@pytest.mark.parametrize("capacity", [3, 9])
def test_make_room(capacity: int) -> None:
    cache, (key, value) = make(), columns(3, 5)
    cache.append(key, value)
    cache.make_room(2, capacity)
    assert cache.used == 3
    assert cache.capacity == capacity
    assert_holds(cache, key[:, :, 2:], value[:, :, 2:])
    with pytest.raises(ValueError, match="3 columns are in use, more than a capacity of 2"):
        cache.make_room(0, 2)
