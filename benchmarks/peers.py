"""Benchmark of Petalscope and other servers with the same model, photo, machine and client.

All servers run float32 in OpenVINO and PyTorch; Petalscope also runs int8, its default on a CPU.

python -m benchmarks.peers
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.environments import ROOT, python_of
from benchmarks.load import ServerProcess, Target, free_port, send, started
from benchmarks.models import MODELS
from benchmarks.photos import photo
from benchmarks.plots import bar_chart
from benchmarks.results_file import print_table, write_csv

_FORM: Final = Target("/predict", "image")
_CLIENTS: Final = (1, 8, 32, 128)
_MODELS: Final = ("float32", "pytorch", "int8")
_PETALSCOPE_ONLY: Final = "int8"
# A slot for each client: a server that refuses photos could not be compared.
_SLOTS: Final = {"PETALSCOPE_THREADS": "160", "PETALSCOPE_MAX_IN_FLIGHT": "140"}


@dataclass(frozen=True)
class Peer:
    """A server: target, name of its environment, and arguments of its command."""

    target: Target
    environment: str
    arguments: tuple[str, ...]


PETALSCOPE: Final = "petalscope"
PEERS: Final = {
    PETALSCOPE: Peer(_FORM, "", ("-m", "gunicorn", "--config", "gunicorn.conf.py")),
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
    model: str
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
def serving(
    name: str,
    model: str = "float32",
    *,
    cores: Sequence[int] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[ServerProcess]:
    """Run a server until the block ends.

    Args:
        name: One of `PEERS`.
        model: One of `MODELS`.
        cores: Numbers of the cores that it may use; all by default.
        settings: Further environment variables.
    """
    peer, port, checkpoint = PEERS[name], free_port(), str(MODELS[model]())
    environment = {
        "BENCHMARK_CHECKPOINT": checkpoint,
        "BENCHMARK_PORT": str(port),
        "PETALSCOPE_CHECKPOINT": checkpoint,
        "PETALSCOPE_DEVICE": "cpu",
        "PETALSCOPE_PORT": str(port),
        **_SLOTS,
        **settings,
    }
    binding = ["taskset", "--cpu-list", ",".join(map(str, cores))] if cores else []
    command = [
        *binding,
        str(python_of(peer.environment)),
        *(text.format(port=port) for text in peer.arguments),
    ]
    with started(command, peer.target, photo(500), port, environment, ROOT) as server:
        yield server


def petalscope(
    model: str = "float32",
    *,
    cores: Sequence[int] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AbstractContextManager[ServerProcess]:
    """Run Petalscope until the block ends."""
    return serving(PETALSCOPE, model, cores=cores, settings=settings)


def measure(name: str, model: str, number: int, seconds: float) -> list[Row]:
    """Start a server, and measure it with each number of clients."""
    target, data, rows = PEERS[name].target, photo(500), []
    with serving(name, model) as server:
        rest = server.memory()
        send(target, data, server.port, 4, 1)
        for clients in _CLIENTS:
            load = send(target, data, server.port, clients, seconds)
            row = Row(
                name, model, number, clients, **asdict(load),
                start_s=server.start, rest_mib=rest, load_mib=server.memory(),
            )  # fmt: skip
            print(row, flush=True)
            rows.append(row)
    return rows


class Results:
    """Medians over the rounds, and the rows of the printed tables."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.servers = list(dict.fromkeys((row.model, row.server) for row in rows))

    def median(self, model: str, server: str, clients: int, column: str) -> float:
        """Return the median of a column of `Row`."""
        values: list[float] = [
            getattr(row, column)
            for row in self._rows
            if (row.model, row.server, row.clients) == (model, server, clients)
        ]
        return statistics.median(values)

    def over_best_peer(self, model: str, peers_model: str, clients: int) -> float:
        """Return Petalscope's rate over that of the best other server, the median of the rounds."""
        ratios = []
        for number in {row.round for row in self._rows}:
            rows = [row for row in self._rows if (row.round, row.clients) == (number, clients)]
            own = next(row for row in rows if (row.server, row.model) == (PETALSCOPE, model))
            peers = [row for row in rows if row.server != PETALSCOPE and row.model == peers_model]
            ratios.append(own.rate / max(row.rate for row in peers))
        return statistics.median(ratios)

    def ratios(self) -> list[dict[str, str]]:
        """Return Petalscope's rates over those of the best other servers, if both were measured."""
        own = {model for model, server in self.servers if server == PETALSCOPE}
        peers = dict.fromkeys(model for model, server in self.servers if server != PETALSCOPE)
        return [
            {"Petalscope over the best other server, by clients": f"{model} over {peers_model}"}
            | {str(n): f"{self.over_best_peer(model, peers_model, n):.2f}" for n in _CLIENTS}
            for peers_model in peers
            for model in (peers_model, _PETALSCOPE_ONLY)
            if model in own
        ]

    def rates(self) -> list[dict[str, str]]:
        """Return the rate and the memory of each server."""
        return [
            {"photos/s by clients": f"{model}, {server}"}
            | {str(n): f"{self.median(model, server, n, 'rate'):.1f}" for n in _CLIENTS}
            | {
                "MiB at rest": f"{self.median(model, server, _CLIENTS[0], 'rest_mib'):.0f}",
                "MiB at the end": f"{self.median(model, server, _CLIENTS[-1], 'load_mib'):.0f}",
            }
            for model, server in self.servers
        ]

    def times(self) -> list[dict[str, str]]:
        """Return the 99th percentile of each server's response times, and its failed requests."""
        return [
            {"p99 in ms by clients": f"{model}, {server}"}
            | {str(n): f"{self.median(model, server, n, 'p99'):.0f}" for n in _CLIENTS}
            | {"failed": str(self._failed(model, server))}
            for model, server in self.servers
        ]

    def _failed(self, model: str, server: str) -> int:
        rows = (row for row in self._rows if (row.model, row.server) == (model, server))
        return sum(row.failed for row in rows)

    def plot(self, path: Path) -> None:
        """Draw the rates as a bar chart."""
        heights = {
            f"{server}, {model}": [self.median(model, server, n, "rate") for n in _CLIENTS]
            for model, server in self.servers
        }
        groups = [f"{count} clients" for count in _CLIENTS]
        bar_chart(path, heights, groups, "photos per second")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Compare Petalscope with other servers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="duration of each load")
    parser.add_argument("--servers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--models", nargs="+", default=list(_MODELS), choices=list(_MODELS))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows: list[Row] = []
    for number in range(options.rounds):
        for model in options.models:
            for name in options.servers:
                if model != _PETALSCOPE_ONLY or name == PETALSCOPE:
                    rows += measure(name, model, number, options.seconds)
                    write_csv(options.output / "peers.csv", [asdict(row) for row in rows])
    results = Results(rows)
    for table in (results.ratios(), results.rates(), results.times()):
        if table:
            print_table(table)
            print()
    results.plot(options.output / "peers.png")


if __name__ == "__main__":
    main()
