"""Default limits on photos, so that the worst ones fit into the memory of the machine or container.

The estimate is the sum of the largest photo being decoded, small photos in every slot, and the
bodies of requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.imaging.decode_limiter import SMALL_PIXELS

MIB: Final = 1024 * 1024

# The bytes of received requests and unsent responses together, in bodies of the largest size.
MAX_HELD_BODIES: Final = 8

# The most that decoding takes: a WebP with transparency.
_MIB_PER_MEGAPIXEL: Final = 21 * 1_000_000 / MIB
# A request with a slot copies its body while it is parsed and decoded.
_MORE_COPIES: Final = 2

# Without photos: both processes of the service, the libraries and the health check.
_RESERVED_MIB: Final = 288
# An assumption, above what PyTorch takes on a CPU. CUDA takes memory of the host too.
_RESERVED_FOR_PYTORCH_MIB: Final = 2048


@dataclass(frozen=True)
class PhotoLimits:
    """Limits that bound the memory of photos.

    Attributes:
        megapixels: Most pixels to decode per photo, in millions.
        body_mib: Largest request body, in MiB.
        in_flight: Maximum photos in flight.
    """

    megapixels: int
    body_mib: int
    in_flight: int

    @property
    def mib(self) -> int:
        """Memory of the worst photos, in MiB."""
        decoded = (self.megapixels + self.in_flight * SMALL_PIXELS / 1e6) * _MIB_PER_MEGAPIXEL
        return round(decoded + _bodies(self.in_flight) * self.body_mib)


LARGEST_DEFAULTS: Final = PhotoLimits(megapixels=64, body_mib=32, in_flight=24)


def reserved_mib(with_pytorch: bool) -> int:
    """Return the memory that is not for photos, in MiB."""
    return _RESERVED_FOR_PYTORCH_MIB if with_pytorch else _RESERVED_MIB


def default_limits(memory: int, with_pytorch: bool) -> PhotoLimits:
    """Return the limits for an amount of memory, at most `LARGEST_DEFAULTS`.

    Args:
        memory: Memory of the machine or container, in bytes.
        with_pytorch: The service loads PyTorch.
    """
    most = LARGEST_DEFAULTS
    share = (memory / MIB - reserved_mib(with_pytorch)) / most.mib
    if share >= 1:
        return most
    in_flight = max(1, int(share * most.in_flight))
    bodies = share * most.body_mib * _bodies(most.in_flight)
    return PhotoLimits(
        megapixels=max(1, int(share * most.megapixels)),
        body_mib=max(1, int(bodies / _bodies(in_flight))),
        in_flight=in_flight,
    )


def _bodies(in_flight: int) -> int:
    """Return the number of bodies in memory, with their copies."""
    return MAX_HELD_BODIES + _MORE_COPIES * min(MAX_HELD_BODIES, in_flight)
