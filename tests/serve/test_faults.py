"""What may happen to a server: kill -9, a full disk, a database that goes and comes back, a client that leaves."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from regard.serve import Settings
from regard.serve.errors import ServeError
from regard.serve.store import memory
from regard.serve.store.database import Database

from .conftest import Postgres, start, wait_until

# For each line of its input a child that writes corrections one after the other, from that number on, and says
# the number of each that was acknowledged, until it is killed.
WRITER = """
import os, sys
from regard.serve.store import corrections
from regard.serve.store.database import Database
def write(number):
    database = Database(sys.argv[1])
    while True:
        with database.write() as session:
            source = f"Open door number {number}."
            corrections.add(session, "ann", "en", "de", source, "", f"Tür {number} öffnen.", [])
        os.write(1, f"{number}\\n".encode())  # at once: half a line would not be an acknowledgement
        number += 1
Database(sys.argv[1]).upgrade()
for line in sys.stdin:
    child = os.fork()
    if not child:
        write(int(line))
    print(f"child {child}", flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def kill_while_writing(url: str, times: int, longest: float) -> int:
    """Kill a writer so many times at random moments, every other time not before it has acknowledged something.

    Returns:
        The last number that was acknowledged.
    """
    command = [sys.executable, "-c", WRITER, url]
    last, generator = -1, random.Random(7)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for turn in range(times):
            print(last + 1, file=process.stdin, flush=True)
            kill: threading.Timer | None = None
            for line in process.stdout:
                if line == "dead\n":
                    break
                if line.startswith("child"):
                    child = int(line.split()[1])
                    kill = threading.Timer(generator.uniform(0, longest), os.kill, [child, signal.SIGKILL])
                else:
                    last = int(line)
                if kill is not None and (turn % 2 == 0 or not line.startswith("child")):
                    kill.start()
                    kill = None
        process.stdin.close()
    return last


def check_all_there(url: str, last: int) -> None:
    database = Database(url)
    texts = [f"Open door number {number}." for number in range(last + 1)]
    with database.read() as session:
        found = memory.exact(session, "ann", "en", "de", texts)
        assert len(found) == len(texts)
        assert memory.search(session, "ann", "en", "de", texts[-1])[0].match == 100
        if database.kind == "sqlite":
            session.connection().exec_driver_sql("INSERT INTO memory_index(memory_index) VALUES ('integrity-check')")
    database.close()


def test_ten_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'regard.sqlite3'}"
    last = kill_while_writing(url, times=10, longest=0.1)
    check_all_there(url, last)


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'regard.sqlite3'}"
    last = kill_while_writing(url, times=200, longest=0.3)
    check_all_there(url, last)


ENTRY = {"source": "en", "target": "de", "source_text": "Hello.", "target_text": "Hallo."}


def test_a_full_disk_is_said_and_passes(tmp_path: Path, shipped_model: Path) -> None:
    """SQLite is forbidden to grow, which it reports just as it does a full disk."""
    database = Database(f"sqlite:///{tmp_path / 'regard.sqlite3'}")
    database.upgrade()
    with database.read() as session:
        connection = session.connection()
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    long = "x" * 50_000
    with pytest.raises(ServeError, match="no space left") as caught, database.write() as session:
        memory.put(session, "ann", "en", "de", "Hello.", long, "person")
    assert (caught.value.status, caught.value.code) == (507, "disk_full")
    with database.read() as session:
        session.connection().exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert memory.exact(session, "ann", "en", "de", ["Hello."]) == {}
    with database.write() as session:
        memory.put(session, "ann", "en", "de", "Hello.", long, "person")
    database.close()


def test_a_database_gone_and_back(tmp_path: Path, postgres: Postgres, shipped_model: Path) -> None:
    with start(Settings(data=tmp_path, database=postgres.url)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        assert client.post("/v1/memory/entries", json=ENTRY).status_code == 201
        postgres.stop()
        try:
            answer = client.post("/v1/memory/entries", json=ENTRY)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["retry-after"]
            assert client.get("/ready").json()["database"] == "unavailable"
            assert client.get("/health").status_code == 200
        finally:
            postgres.start()
        assert client.get("/v1/memory/entries").json()["total"] == 1
        assert client.get("/ready").status_code == 200


class Process:
    """``regard serve`` as people start it."""

    def __init__(self, data: Path, *options: str, env: dict[str, str] | None = None):
        command = [sys.executable, "-m", "regard", "serve", "--port", "0", "--data", str(data), *options]
        environment = {**os.environ, **(env or {})}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[3]

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def is_ready(self) -> bool:
        try:
            return self.call("/ready")["status"] == "ready"
        except urllib.error.URLError:
            return False

    def end(self, how: signal.Signals = signal.SIGTERM) -> str:
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return errors


def kill_servers(folder: Path, times: int) -> None:
    """Correct over HTTP until the server is killed, so many times; what it answered 201 to is there in the end."""
    generator, number = random.Random(3), 0
    acknowledged: list[str] = []
    for _ in range(times):
        server = Process(folder)
        kill = threading.Timer(generator.uniform(0.1, 1.5), server.process.kill)
        kill.start()
        try:
            while True:
                number += 1
                text = f"Please open door number {number}."
                body = {"source": "en", "target": "de", "source_text": text, "text": f"Bitte Tür {number} öffnen."}
                assert server.call("/v1/corrections", body)["accepted"]
                acknowledged.append(text)
        except OSError:  # the connection is gone: it was killed
            server.process.communicate(timeout=60)
    database = Database(f"sqlite:///{folder / 'regard.sqlite3'}")
    with database.read() as session:
        assert set(memory.exact(session, "local", "en", "de", acknowledged)) == set(acknowledged)
    database.close()
    assert acknowledged


def test_kills_of_the_server_lose_no_answer_that_was_given(tmp_path: Path, shipped_model: Path) -> None:
    kill_servers(tmp_path, times=3)


@pytest.mark.soak
def test_many_kills_of_the_server_lose_no_answer_that_was_given(tmp_path: Path, shipped_model: Path) -> None:
    kill_servers(tmp_path, times=60)


def test_a_document_goes_on_after_kill_9(tmp_path: Path, shipped_model: Path) -> None:
    import httpx2

    server = Process(tmp_path)
    wait_until(server.is_ready)
    data = "\n\n".join(f"Please open door number {i}." for i in range(80)).encode()
    form, files = {"source": "en", "target": "de"}, {"file": ("doors.txt", data)}
    document = httpx2.post(f"{server.address}/v1/documents", data=form, files=files).json()["id"]
    path = f"/v1/documents/{document}"
    before = wait_until(lambda: server.call(path)["segments"]["translated"])
    server.end(signal.SIGKILL)
    server = Process(tmp_path)
    wait_until(server.is_ready)
    assert server.call(path)["segments"]["translated"] >= before
    done = wait_until(lambda: (d := server.call(path))["state"] == "done" and d)
    assert done["segments"] == {"total": 80, "translated": 80}
    assert server.end() == ""


# Every connection that Python opens is seen by the audit hook of a sitecustomize of our own.
WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        where = str(arguments[1] if event != "socket.getaddrinfo" else arguments[0])
        with open(os.environ["REGARD_TEST_EGRESS"], "a") as file:
            file.write(f"{event} {where}\\n")
sys.addaudithook(watch)
"""


def test_the_server_opens_no_connection(tmp_path: Path, shipped_model: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    seen = tmp_path / "seen.txt"
    seen.touch()
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    server = Process(tmp_path / "data", env={"REGARD_TEST_EGRESS": str(seen), "PYTHONPATH": path})
    wait_until(server.is_ready)
    server.call("/v1/translate", {"text": "See https://example.org/a <img src='http://example.org/x'>", "target": "de"})
    server.call("/v1/detect", {"text": "Guten Morgen"})
    server.call("/v1/corrections", {"source": "en", "target": "de", "source_text": "Hello.", "text": "Hallo."})
    project = server.call("/v1/projects", {"name": "P", "source": "en", "target": "de", "text": "Good night."})
    wait_until(lambda: server.call(f"/v1/projects/{project['id']}")["state"] == "ready")
    server.end()
    connections = [line for line in seen.read_text().splitlines() if "getaddrinfo 127.0.0.1" not in line]
    assert connections == []


def test_the_watch_sees_a_connection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    seen = tmp_path / "seen.txt"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        program = f"import socket; socket.create_connection(('127.0.0.1', {listening.getsockname()[1]})).close()"
        env = {**os.environ, "REGARD_TEST_EGRESS": str(seen), "PYTHONPATH": str(tmp_path)}
        subprocess.run([sys.executable, "-c", program], env=env, check=True)
    assert "socket.connect" in seen.read_text()


def test_a_client_that_goes_frees_the_engine(app_client: TestClient, address: str) -> None:
    """The connection is cut while a long request runs; the engine is idle soon after."""
    host, port = address.removeprefix("http://").split(":")
    texts = [f"My brother reads book number {i} about the ships in the harbour of the city." for i in range(120)]
    body = json.dumps({"text": texts, "source": "en", "target": "de"}).encode()
    head = f"POST /v1/translate HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    engine = app_client.app.state.server.dispatcher  # type: ignore[attr-defined]
    done = engine.sentences_done
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: engine.running)
    start_time = time.monotonic()
    wait_until(lambda: not engine.running and not engine.waiting)
    assert engine.sentences_done - done < len(texts)
    assert time.monotonic() - start_time < 10
