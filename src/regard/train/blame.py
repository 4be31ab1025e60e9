"""Which examples break a training step: the question behind "the loss is NaN"."""

from typing import Any

import torch
from torch import nn

from regard.train.task import Task

_SHOWN = 5


def blame(task: Task, model: nn.Module, plans: list[Any], device: torch.device) -> str:
    """Try the examples of a step one by one, and say which have no finite loss or gradient.

    ``model`` is the bare one: a wrapped one would wait for other processes.
    """
    model.eval()
    examples = [example for plan in plans for example in task.examples(plan)]
    guilty = [example for example in examples if not _is_finite(task, model, example, device)]
    if not guilty:
        return f"None of this process's examples does that alone: {_names(task, examples)}."
    if len(guilty) == len(examples):
        return f"Each of the {len(examples)} examples does that: {_names(task, guilty)}."
    return f"The cause is {_names(task, guilty)}."


def _is_finite(task: Task, model: nn.Module, plan: Any, device: torch.device) -> bool:
    loss = task.loss(model, task.batch(plan).to(device))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # not backward(), whose hooks belong to DistributedDataParallel
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return all(bool(value.isfinite().all()) for value in (loss, *gradients) if value is not None)


def _names(task: Task, plans: list[Any]) -> str:
    shown = "; ".join(task.describe(plan) for plan in plans[:_SHOWN])
    return shown + (f"; and {len(plans) - _SHOWN} more" if len(plans) > _SHOWN else "")
