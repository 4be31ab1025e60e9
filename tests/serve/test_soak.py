"""Mixed load for a long time: every answer is right, and resident memory stays where it is."""

import os
import random
import threading
import time
import urllib.error
from pathlib import Path

import pytest

from .conftest import wait_until
from .test_faults import Process

MINUTES = float(os.environ.get("REGARD_SOAK_MINUTES", "20"))
WORDS = "ship house garden book table letter street window dog river tree chair train bread coffee door".split()


@pytest.mark.soak
def test_memory_stays_flat_under_mixed_load(tmp_path: Path, shipped_model: Path) -> None:
    server = Process(tmp_path)
    wait_until(server.is_ready)
    until = time.monotonic() + 60 * MINUTES
    failures: list[str] = []
    counts = dict.fromkeys(range(6), 0)

    def client(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < until and not failures:
            a, b = chance.choice(WORDS), chance.choice(WORDS)
            text = f"The {a} beside the {b} is {chance.randint(2, 999)} years old. Is that true?"
            direction = {"source": "en", "target": chance.choice(["de", "fr", "zh"])}
            try:
                match number:
                    case 0:  # a request of many texts
                        body = {"text": [text] * 3 + [f"My {a} is new."] * 10, **direction}
                        assert len(server.call("/v1/translate", body)["translations"]) == 13
                    case 1:  # corrections
                        body = {**direction, "source_text": text, "text": "Ja, " * 12 + str(chance.random())}
                        assert server.call("/v1/corrections", body)["id"]
                    case 2:  # projects
                        body = {"name": "P", **direction, "text": text * 3}
                        path = f"/v1/projects/{server.call('/v1/projects', body)['id']}"
                        wait_until(lambda: server.call(path)["state"] == "ready")  # noqa: B023
                    case 3:  # markup, and look-ups
                        body = {"text": f"<p>{text} <b>{a}</b></p>", "format": "html", **direction}
                        assert "<b>" in server.call("/v1/translate", body)["translations"][0]["text"]
                        server.call("/v1/memory/search", {"text": text, **direction})
                        server.call("/v1/dictionary/lookup", {"word": a, "context": text, **direction})
                        server.call("/v1/fluency", {"source_text": text, "text": text, **direction})
                    case 4:  # mistakes
                        with pytest.raises(urllib.error.HTTPError):
                            server.call("/v1/translate", {"text": text, "source": "en", "target": "tlh"})
                    case _:  # single sentences
                        pair = chance.choice([direction, direction, {"source": "fr", "target": "de"}])
                        assert server.call("/v1/translate", {"text": text, **pair})["translations"]
                counts[number] += 1
            except Exception as error:
                failures.append(f"client {number}: {error!r}")

    threads = [threading.Thread(target=client, args=(number,)) for number in counts]
    for thread in threads:
        thread.start()
    time.sleep(60 * MINUTES / 4)  # caches and pools are full by then
    settled = resident(server.process.pid)
    for thread in threads:
        thread.join()
    last = resident(server.process.pid)
    assert server.end() == ""
    print(f"\n{MINUTES:g} minutes, calls {list(counts.values())}, resident {settled:.0f} MB, then {last:.0f} MB")
    assert failures == []
    assert min(counts.values()) > 0
    assert last <= 1.05 * settled


def resident(process: int) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("this system does not say")
