"""One server with the shipped model for the whole session; every test has an owner of its own."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from regard import Translator
from regard.serve import Settings, create_app
from regard.serve.store.database import Database

BASE = "http://127.0.0.1:5000"


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of ``condition``; it is asked often."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"this did not happen within {seconds:g} seconds")


def start(settings: Settings) -> TestClient:
    """A started server that is ready; to be used in a with statement or closed."""
    return TestClient(create_app(settings), base_url=BASE, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def app_client(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the shipped model and an SQLite store, called as the local owner."""
    with start(Settings(data=tmp_path_factory.mktemp("data"), min_corrections=10, learning_steps=3)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        yield client


@pytest.fixture
def new_owner(app_client: TestClient) -> Callable[..., TestClient]:
    """Makes clients, each with a key and an owner of its own."""
    count = 0

    def make(*scopes: str, owner: str = "", **limits: int) -> TestClient:
        nonlocal count
        count += 1
        name = owner or f"owner-{time.monotonic_ns()}-{count}"
        body = {"name": "test", "owner": name, "scopes": list(scopes) or ["translate", "write", "learn"], **limits}
        key = app_client.post("/v1/keys", json=body).json()
        client = TestClient(app_client.app, base_url=BASE, raise_server_exceptions=False)
        client.headers["authorization"] = f"Bearer {key['secret']}"
        return client

    return make


@pytest.fixture
def client(new_owner: Callable[..., TestClient]) -> TestClient:
    """A client with an empty memory."""
    return new_owner()


@pytest.fixture(scope="session")
def warm_bread(shipped_model: Path) -> str:
    """What the shipped model makes of "The bread is still warm." in German; it changes when the model learns."""
    return Translator.from_pretrained(shipped_model).translate("The bread is still warm.", "en", "de").text


@pytest.fixture(scope="session")
def address(app_client: TestClient) -> Iterator[str]:
    """The same server behind a real socket, for clients that bring their own HTTP."""
    import uvicorn

    opened = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app_client.app, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    opened.close()


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's server programs, the newest first."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name))
    return Path(found).parent if found else next((f for f in folders if (f / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres(root: Path) -> Iterator["Postgres"]:
    """A PostgreSQL server of the tests' own, on a free port."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not in pytest's folder, which it closes to other users, and PostgreSQL is one where the tests run as root.
    folder = root / ".cache" / f"postgres-{os.getpid()}"
    folder.mkdir(parents=True)
    server = Postgres(programs, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


class Postgres:
    """A PostgreSQL server that can be stopped and started again."""

    def __init__(self, programs: Path, folder: Path):
        self.programs, self.folder = programs, folder / "data"
        self.sockets = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # It refuses to run as root.
        self.prefix: list[str] = []
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", "postgres", str(folder)], check=True)
            parent = folder.parent
            while parent != parent.parent:
                parent.chmod(parent.stat().st_mode | 0o011)
                parent = parent.parent
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "--auth=trust", "--username=regard", "--encoding=UTF8", "--locale=C.UTF-8")

    @property
    def url(self) -> str:
        return f"postgresql://regard@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.sockets} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self.prefix, str(self.programs / program), "-D", str(self.folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'store' / 'regard.sqlite3'}")
    else:
        server = request.getfixturevalue("postgres")
        made = Database(Settings(database=server.url).database_url)
        with made.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    made.upgrade()
    yield made
    made.close()


@pytest.fixture(scope="session")
def npm_translate(root: Path) -> Path:
    """The npm package ``translate``, in the folder of node modules that continuous integration fills."""
    module = root / ".cache" / "node_modules" / "translate" / "index.min.js"
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not module.is_file():
        pytest.skip("npm's translate is not installed (npm install --prefix .cache translate@3)")
    return module
