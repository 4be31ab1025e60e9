"""Similarity × normaliser × position: three of the choices that make an attention; the fourth is its mask."""

import torch
from torch import Tensor, nn

from regard.attention.normalisers import Normaliser, TopK, softmax
from regard.attention.positions import RotaryPositions
from regard.attention.relative import ScoreTerm, gather_by_distance, lay_out
from regard.attention.similarity import Additive, Bilinear, ScaledDot, Similarity
from regard.attention.span import AdaptiveSpan


class Scoring(nn.Module):
    """How queries and keys become weights."""

    def __init__(
        self,
        similarity: Similarity | None = None,
        normaliser: Normaliser = softmax,
        position: RotaryPositions | ScoreTerm | None = None,
        span: AdaptiveSpan | None = None,
    ):
        """
        Args:
            similarity: how alike a query and a key are; default the scaled dot product.
            normaliser: from scores to weights, over the last dimension.
            position: how distance enters; in self-attention only.
            span: how far each head looks; in self-attention only.

        Raises:
            ValueError: a combination that makes no sense.
        """
        super().__init__()
        for name, given, kinds in (
            ("similarity", similarity, (Similarity,)),
            ("position", position, (RotaryPositions, ScoreTerm)),
            ("span", span, (AdaptiveSpan,)),
        ):
            if given is not None and not isinstance(given, kinds):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                hint = ". Sinusoidal and learned positions are added to the input" if name == "position" else ""
                raise ValueError(f"{name} wants a {wanted}, got {type(given).__name__}{hint}")
        if not callable(normaliser):
            raise ValueError(f"normaliser wants a function of scores, such as sparsemax, got {normaliser!r}")
        self.similarity = ScaledDot() if similarity is None else similarity
        self.normaliser = normaliser
        self.position, self.span = position, span
        self.terms = tuple(term for term in (position, span) if isinstance(term, ScoreTerm))
        self._check()
        # what every call asks, as plain attributes: looking a submodule up takes half a microsecond
        self._moves_queries = isinstance(position, ScoreTerm) and position.moves_queries
        self._given_scale = self.similarity.scale if isinstance(self.similarity, ScaledDot) else None
        self._is_plain_product = self.similarity.is_plain_product
        #: Whether queries and keys are rotated before they are compared.
        self.turns = isinstance(position, RotaryPositions)
        #: Why no fused kernel can do this; None where they can.
        self.unfused = self._unfused()

    def _check(self) -> None:
        kind, position = type(self.similarity).__name__, self.position
        if isinstance(position, RotaryPositions) and isinstance(self.similarity, Additive | Bilinear):
            raise ValueError(
                f"rotary positions go with dot and cosine similarities: {kind} of rotated queries and keys "
                "would not depend on their distance alone"
            )
        if isinstance(position, ScoreTerm) and position.needs_query and not self.similarity.is_plain_product:
            raise ValueError(
                f"{type(position).__name__} adds a product of the query to q·k: it goes with Dot and ScaledDot, "
                f"not with {kind}, whose scores are of another kind"
            )
        if self.span is not None and self.normaliser is not softmax and not isinstance(self.normaliser, TopK):
            raise ValueError(
                "an adaptive span weighs exp(score): it goes with softmax and TopK, "
                f"not with {getattr(self.normaliser, '__name__', self.normaliser)}"
            )

    def check_heads(self, num_heads: int, head_dim: int) -> None:
        """Raise ValueError where a part was made for other heads: H of them, or of another width K."""
        for part in (self.similarity, self.position, self.span):
            for name, given in (("num_heads", num_heads), ("head_dim", head_dim)):
                made_for = getattr(part, name, given)
                if made_for != given:
                    raise ValueError(
                        f"{type(part).__name__} was made for {name}={made_for}, but this attention has {name}={given}"
                    )

    def _unfused(self) -> str | None:
        if not self.similarity.is_product:
            return f"{type(self.similarity).__name__} is not a dot product of queries and keys"
        if self.normaliser is not softmax:
            name = getattr(self.normaliser, "__name__", type(self.normaliser).__name__)
            return f"{name} needs a whole row of scores, and fused kernels know softmax only"
        return None

    @property
    def treats_heads_alike(self) -> bool:
        """Whether nothing in it was made for one head or another."""
        return not self.terms and self._is_plain_product

    def content(self, query: Tensor) -> Tensor:
        """The queries that the similarity compares with the keys."""
        return self.position.content(query) if self._moves_queries else query  # type: ignore[union-attr]

    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float] | None:
        """As the similarity's own, with the queries that the position leaves it."""
        if self._is_plain_product and not self._moves_queries:
            return query, key, query.shape[-1] ** -0.5 if self._given_scale is None else self._given_scale
        return self.similarity.as_product(self.content(query), key)

    def by_distance(self, query: Tensor, distances: Tensor) -> Tensor:
        """The sum of all terms for each of n distances, H×n: where none of them looks at the queries."""
        factor = self.similarity.factor(query)
        return torch.stack([term(query, distances, factor)[0, :, 0] for term in self.terms]).sum(0)

    def added(self, query: Tensor, num_keys: int, ahead: int = 0) -> Tensor | None:
        """All terms for queries that stand side by side, (B or 1)×H×T×S; None where there is none.

        Args:
            query: B×H×T×K.
            num_keys: S.
            ahead: how many keys follow the last query.
        """
        num_queries = query.shape[2]
        lowest = ahead + 1 - num_keys
        distances = torch.arange(lowest, lowest + num_queries + num_keys - 1, device=query.device)
        found = None
        for term in self.terms:
            table = lay_out(term(query, distances, self.similarity.factor(query)), num_queries, num_keys)
            found = table if found is None else found + table
        return found

    def added_at(self, query: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """All terms for queries at any positions, as :meth:`added`.

        Args:
            query: B×H×T×K.
            positions: (B or 1)×T.
            key_positions: S.
        """
        if not self.terms or not len(key_positions):
            return None
        distance = key_positions - positions[:, :, None]
        lowest, highest = int(distance.min()), int(distance.max())
        distances = torch.arange(lowest, highest + 1, device=query.device)
        found = None
        for term in self.terms:
            table = gather_by_distance(term(query, distances, self.similarity.factor(query)), distance, lowest)
            found = table if found is None else found + table
        return found


#: The scaled dot product under a softmax.
PLAIN = Scoring()
