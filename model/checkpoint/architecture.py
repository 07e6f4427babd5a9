"""Arguments that rebuild a network without its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Everything needed to rebuild a network, except its weights.

    Attributes:
        backbone: timm's name of the model, "densenet161".
        num_classes: Number of logits.
        hidden_layers: Widths of the head's hidden layers; empty for one linear layer.
        dropout: Probability of dropout before each linear layer of the head but the first; with
            no hidden layers, before the only one.
    """

    backbone: str
    num_classes: int
    hidden_layers: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of its range.
        """
        if min((self.num_classes, *self.hidden_layers)) < 1:
            raise ValueError("num_classes and the widths of hidden_layers must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")
