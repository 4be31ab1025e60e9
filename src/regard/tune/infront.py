"""What prefix and prompt tuning share: learned columns in front of others, each row with its own adapter's."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from regard.attention import Mask
from regard.base.errors import ConfigError
from regard.model.adapted import Switch


class InFront(Mask):
    """The rule of ``behind`` for all columns but the first, which every query sees where they are present."""

    def __init__(self, present: Tensor, behind: Mask | None, first_key: int = 0):
        """
        Args:
            present: (B or 1)×P booleans, which of the first P columns a row has.
            behind: the rule for the columns after them; None to allow all.
            first_key: position of the first key, where a cache has dropped those before.
        """
        super().__init__()
        self.present, self.behind, self.first_key = present, behind, first_key
        self.rows = max(len(present), behind.rows if behind is not None else 1)
        self.allows_first_key = bool(present[:, 0].all())
        self.looks_at_queries = behind is not None and behind.looks_at_queries

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """See :meth:`Mask.rule`; behind the columns in front, positions count from there on."""
        columns, column = self.present.shape[1], key - self.first_key
        own = self.present.to(key.device)[row if len(self.present) > 1 else row * 0, column.clamp(0, columns - 1)]
        if self.behind is None:
            return own | (column >= columns)
        return torch.where(column < columns, own, self.behind.rule(row, number, query - columns, key - columns))

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        """See :meth:`Mask.allows_everything`."""
        columns = self.present.shape[1]
        return bool(self.present.all()) and (
            self.behind is None
            or self.behind.allows_everything(num_queries, num_keys - columns, at_end, stop - columns)
        )

    def check(self, num_queries: int, num_keys: int) -> None:
        """See :meth:`Mask.check`."""
        if self.behind is not None:
            self.behind.check(num_queries, num_keys - self.present.shape[1])


def side_by_side(present: list[Tensor]) -> Tensor:
    """Which columns each row has, where several adapters' (each with B or 1 rows) stand next to each other."""
    rows = max(map(len, present))
    return torch.cat([columns.expand(rows, -1) for columns in present], dim=1)


def present_adapters(adapters: nn.ModuleDict, switch: Switch, rows: int) -> Iterator[tuple[nn.Module, Tensor]]:
    """The adapters that some of ``rows`` rows have, each with (B or 1) booleans that say which rows.

    Raises:
        ConfigError: a share other than 0 and 1, which means nothing here.
    """
    for name, adapter in adapters.items():
        shares = torch.as_tensor(switch.share(name, rows)).reshape(-1)
        if not ((shares == 0) | (shares == 1)).all():
            raise ConfigError(f"the adapter '{name}' puts vectors in front; its share is 1 or 0, and nothing between.")
        if shares.any():
            yield adapter, shares == 1
