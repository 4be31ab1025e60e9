"""Throughput and latency of ``regard serve`` against the ceiling of its own engine.

python benchmarks/server.py            about ten minutes
python benchmarks/server.py --quick    a minute, to see that it runs; no figure worth reading
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tyro

from regard.base.device import cpu_count, cpu_name

SOURCE, TARGET = "en", "de"
CLIENTS = (1, 8, 64)


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    seconds: float = 30.0
    """For each line of the table."""
    quick: bool = False
    """Two seconds a line."""
    model: Path | None = None
    """Model folder; the shipped model by default."""


@dataclass(frozen=True)
class Line:
    """One measurement."""

    clients: int
    texts: int
    sentences_per_second: float
    p50: float
    """Milliseconds."""
    p99: float


class Server:
    """``regard serve`` in a process of its own, with a new store."""

    def __init__(self, folder: Path, model: Path | None):
        command = [sys.executable, "-m", "regard", "serve", "--port", "0", "--data", str(folder)]
        command += [] if model is None else ["--model", str(model)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.host = urlsplit(self.process.stdout.readline().split()[3]).netloc
        while self.call(self.connect(), "GET", "/ready")[0] != 200:
            time.sleep(0.1)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=120)

    def call(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def sentences() -> list[str]:
    text = (files("regard") / "assets" / "general" / f"{SOURCE}.txt").read_text(encoding="utf-8")
    return text.splitlines()


def ceiling(model: Path | None, seconds: float) -> float:
    """Sentences a second of the library, given batches as large as it likes."""
    from regard import Translator

    translator = Translator.from_pretrained(model)
    texts = sentences()
    translator.translate(texts, SOURCE, TARGET)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        translator.translate(texts, SOURCE, TARGET)
        count += len(texts)
    return count / (time.perf_counter() - start)


def load(server: Server, clients: int, texts: int, seconds: float) -> Line:
    """Clients that ask again as soon as they are answered."""
    every, times, until = sentences(), [], time.perf_counter() + seconds
    lock = threading.Lock()

    def client(number: int) -> None:
        connection, place = server.connect(), number
        own = []
        while time.perf_counter() < until:
            chosen = [every[(place + i) % len(every)] for i in range(texts)]
            place += texts
            start = time.perf_counter()
            status, answer = server.call(
                connection, "POST", "/v1/translate", {"text": chosen, "source": SOURCE, "target": TARGET}
            )
            own.append(time.perf_counter() - start)
            if status != 200:
                raise RuntimeError(f"status {status}: {answer}")
        with lock:
            times.extend(own)

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    return Line(clients, texts, len(times) * texts / elapsed, *percentiles(times))


def beside_a_document(server: Server, seconds: float) -> tuple[float, float]:
    """Milliseconds of a short request, median and 99th percentile, while a long document is translated."""
    text = "\n".join(" ".join(sentences()) for _ in range(100))
    connection = server.connect()
    project = {"name": "long", "source": SOURCE, "target": TARGET, "text": text}
    status, answer = server.call(connection, "POST", "/v1/projects", project)
    assert status == 201, answer
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        server.call(connection, "POST", "/v1/translate", {"text": "Good night.", "source": SOURCE, "target": TARGET})
        times.append(time.perf_counter() - start)
        time.sleep(0.05)
    path = f"/v1/projects/{answer['id']}"
    assert server.call(connection, "GET", path)[1]["state"] == "translating", "the document was too short"
    server.call(connection, "DELETE", path)
    return percentiles(times)


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(times)
    return 1000 * statistics.median(ordered), 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def main() -> None:
    options = tyro.cli(Options)
    seconds = 2.0 if options.quick else options.seconds
    best = ceiling(options.model, seconds)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), options.model)
        try:
            lines = [load(server, clients, texts, seconds) for texts in (1, 20) for clients in CLIENTS]
            p50, p99 = beside_a_document(server, seconds)
        finally:
            server.stop()
    print("| clients | texts a request | sentences/s | of the engine's own | p50, ms | p99, ms |")
    print("|---:|---:|---:|---:|---:|---:|")
    for line in lines:
        share = line.sentences_per_second / best
        rate = f"{line.sentences_per_second:,.0f} | {share:.0%}"
        print(f"| {line.clients} | {line.texts} | {rate} | {line.p50:,.0f} | {line.p99:,.0f} |")
    print(f"\nThe engine's own: {best:,.0f} sentences/s in batches of {len(sentences())}.")
    print(f"A short request while a long document runs: p50 {p50:,.0f} ms, p99 {p99:,.0f} ms.")
    print(f"{cpu_count()} cores of {cpu_name()}; {' '.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
