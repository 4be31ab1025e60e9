import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.train.workers import Workers


def gradients(task: Any, model: nn.Module, plans: list[Any], threads: int, tokens: float = 10.0) -> Any:
    workers = Workers(threads)
    try:
        batches = [task.batch(plan) for plan in plans]
        return workers.gradients(task, model, batches, list(model.parameters()), tokens)
    finally:
        workers.close()


def test_they_compute_the_gradient_of_the_sum(toy: Any) -> None:
    task, model = toy.task(), toy.trainer(dropout=0.0).model
    plans = [[0, 1], [2, 3, 4], [5]]
    loss, found = gradients(task, model, plans, threads=2)
    expected = sum(task.loss(model, task.batch(plan)) for plan in plans)
    assert isinstance(expected, Tensor)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    for ours, theirs in zip(found, torch.autograd.grad(expected / 10, model.parameters()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_who_is_first_does_not_matter(toy: Any) -> None:
    """The sums are taken in the order of the batches, bit for bit, whatever the clock does."""
    found = []
    for slow in (0, 1, 2):
        task, model = toy.task(), toy.trainer(dropout=0.0).model
        loss = task.loss

        def late(model: nn.Module, batch: Any, slow: int = slow, loss: Any = loss) -> Tensor:
            time.sleep(0.02 if len(batch.inputs) % 3 == slow else 0)
            return loss(model, batch)

        task.loss = late
        found.append(gradients(task, model, [[i] for i in range(8)], threads=4))
    for total, values in found[1:]:
        assert total == found[0][0]
        assert all(torch.equal(a, b) for a, b in zip(values, found[0][1], strict=True))


def test_bf16_weights_have_float32_gradients(toy: Any) -> None:
    task, model = toy.task(), toy.trainer(precision="bf16", dropout=0.0).model
    _, found = gradients(task, model, [[0, 1], [2, 3]], threads=2)
    assert all(gradient.dtype == torch.float32 for gradient in found)


def test_what_the_loss_does_not_depend_on_has_no_gradient(toy: Any) -> None:
    task, model = toy.task(), toy.trainer().model
    model.unused = nn.Linear(2, 2)
    _, found = gradients(task, model, [[0], [1]], threads=2)
    assert [gradient is None for gradient in found] == [False, False, False, True, True]


def test_an_error_in_a_thread_comes_out(toy: Any) -> None:
    task = toy.task()
    task.loss = lambda model, batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        gradients(task, toy.trainer().model, [[0], [1]], threads=2)


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (3, 3), (16, 4)])
def test_there_are_never_many(threads: int, workers: int) -> None:
    found = Workers(threads)
    found.close()
    assert found.count == workers
