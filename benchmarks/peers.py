"""Benchmark of Petalscope and other servers with the same checkpoint, photo, machine and client.

python -m benchmarks.peers
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.environments import ROOT, python_of
from benchmarks.float32_model import float32_onnx
from benchmarks.load import ServerProcess, Target, free_port, send, started
from benchmarks.photos import photo
from benchmarks.plots import bar_chart
from benchmarks.results_file import write_csv
from model import BUNDLED_CHECKPOINT

_FORM: Final = Target("/predict", "image")
_CLIENTS: Final = (1, 8, 32, 128)
# A slot for each client: a server that refuses photos could not be compared.
_PETALSCOPE: Final = {"PETALSCOPE_THREADS": "160", "PETALSCOPE_MAX_IN_FLIGHT": "140"}


@dataclass(frozen=True)
class Peer:
    """A server: target, name of its environment, and arguments of its command."""

    target: Target
    environment: str
    arguments: tuple[str, ...]


PEERS: Final = {
    "petalscope": Peer(_FORM, "", ("-m", "gunicorn", "--config", "gunicorn.conf.py")),
    "flask tutorial": Peer(_FORM, "", ("benchmarks/servers/flask_tutorial.py",)),
    "litserve": Peer(_FORM, "litserve", ("benchmarks/servers/litserve_server.py",)),
    "mosec": Peer(
        Target("/inference"),
        "mosec",
        ("benchmarks/servers/mosec_server.py", "--port", "{port}", "--timeout", "60000"),
    ),
    "bentoml": Peer(
        Target("/predict", "images"),
        "bentoml",
        ("-m", "bentoml", "serve", "benchmarks.servers.bentoml_server:Flowers", "--port", "{port}"),
    ),
}


@dataclass(frozen=True)
class Row:
    """Results of one server for one number of clients in one round."""

    server: str
    backend: str
    round: int
    clients: int
    rate: float
    p50: float
    p95: float
    p99: float
    failed: int
    sent: float
    start_s: float
    rest_mib: float
    load_mib: float


@contextmanager
def serving(name: str, backend: str = "openvino", **settings: str) -> Iterator[ServerProcess]:
    """Run a server on the bundled checkpoint until the block ends."""
    peer, port = PEERS[name], free_port()
    checkpoint = str(BUNDLED_CHECKPOINT if backend == "torch" else float32_onnx())
    environment = {
        "BENCHMARK_CHECKPOINT": checkpoint,
        "BENCHMARK_PORT": str(port),
        "PETALSCOPE_CHECKPOINT": checkpoint,
        "PETALSCOPE_DEVICE": "cpu",
        "PETALSCOPE_PORT": str(port),
        **_PETALSCOPE,
        **settings,
    }
    command = [
        str(python_of(peer.environment)),
        *(text.format(port=port) for text in peer.arguments),
    ]
    with started(command, peer.target, photo(500), port, environment, ROOT) as server:
        yield server


def petalscope(**settings: str) -> AbstractContextManager[ServerProcess]:
    """Run Petalscope until the block ends."""
    return serving("petalscope", **settings)


def measure(name: str, backend: str, number: int, seconds: float) -> list[Row]:
    """Start a server, and measure it with each number of clients."""
    target, data, rows = PEERS[name].target, photo(500), []
    with serving(name, backend) as server:
        rest = server.memory()
        send(target, data, server.port, 4, 2)
        for clients in _CLIENTS:
            load = send(target, data, server.port, clients, seconds)
            row = Row(
                name, backend, number, clients, **asdict(load),
                start_s=server.start, rest_mib=rest, load_mib=server.memory(),
            )  # fmt: skip
            print(row, flush=True)
            rows.append(row)
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table of the means over the rounds, with rates relative to Petalscope's."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.server, row.backend, row.clients].append(row)

    def mean(key: tuple[str, str, int], column: str) -> float:
        return statistics.fmean(getattr(row, column) for row in groups[key])

    lines = [
        "| clients | server | backend | photos/s | over Petalscope | p50 ms | p95 ms | p99 ms "
        "| failed | start s | MiB at rest | MiB under load |",
        "| --- " * 12 + "|",
    ]
    for key in sorted(groups, key=lambda key: (key[2], -mean(key, "rate"))):
        best = mean(("petalscope", "openvino", key[2]), "rate")
        cells = [
            str(key[2]), key[0], key[1], f"{mean(key, 'rate'):.1f}",
            f"{mean(key, 'rate') / best:.2f}",
            *(f"{mean(key, column):.0f}" for column in ("p50", "p95", "p99", "failed")),
            f"{mean(key, 'start_s'):.1f}",
            *(f"{mean(key, column):.0f}" for column in ("rest_mib", "load_mib")),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare Petalscope with other servers.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8, help="duration of each load")
    parser.add_argument("--servers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument(
        "--backends", nargs="+", default=["openvino", "torch"], choices=["openvino", "torch"]
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = [
        row
        for number in range(options.rounds)
        for backend in options.backends
        for name in options.servers
        for row in measure(name, backend, number, options.seconds)
    ]
    write_csv(options.output / "peers.csv", [asdict(row) for row in rows])
    print(table(rows))
    heights: dict[str, list[float]] = {}
    for row in rows:
        label = f"{row.server}, {row.backend}"
        heights.setdefault(label, [0.0] * len(_CLIENTS))
        heights[label][_CLIENTS.index(row.clients)] += row.rate / options.rounds
    bar_chart(
        options.output / "peers.png", heights, [f"{count} clients" for count in _CLIENTS],
        "photos per second",
    )  # fmt: skip


if __name__ == "__main__":
    main()
