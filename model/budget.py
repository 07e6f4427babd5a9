"""A limit on an amount that threads hold together, such as bytes or pixels."""

from __future__ import annotations

from threading import Condition


class Budget:
    """An amount in use, shared by all threads."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._used = 0

    def acquire(self, amount: int, capacity: int, timeout: float | None = None) -> bool:
        """Wait until an amount is free, and take it.

        Args:
            amount: The amount.
            capacity: Maximum of all amounts together; a larger one is held alone.
            timeout: Maximum wait in seconds; None waits as long as it takes.

        Returns:
            False if it was not free in time.
        """
        with self._changed:
            is_free = self._changed.wait_for(
                lambda: not self._used or self._used + amount <= capacity, timeout
            )
            if is_free:
                self._used += amount
            return is_free

    def release(self, amount: int) -> None:
        """Give an amount back."""
        with self._changed:
            self._used -= amount
            self._changed.notify_all()
