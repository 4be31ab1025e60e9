"""A real browser in front of a real server with the shipped model.

The browser is Debian's Chromium, driven by Playwright (``pip install 'regard[browser]'``). Whatever a page asked of the
console to complain about, and any request to somewhere else, fails the test that caused it.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_CHROMIUM = (
    "--no-sandbox",  # a container's root cannot have one
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def address(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server listens that these tests have to themselves."""
    pytest.importorskip("fastapi", reason="the server's libraries are not installed")
    data = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "regard", "serve", "--port", "0", "--data", str(data)]
    command += ["--min-corrections", "10", "--learning-steps", "2"]
    with (data / "log").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield _address(process, errors)
        finally:
            process.terminate()
            process.wait(timeout=20)
            assert process.stdout is not None
            process.stdout.close()


def _address(process: "subprocess.Popen[str]", errors: Any) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[\w.:\[\]]+", line):
            return found[0].rstrip("/")
    errors.seek(0)
    pytest.fail(f"the server ended before it said where it listens:\n{errors.read()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (the extra 'browser')")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(_CHROMIUM))
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens pages, each a person of its own; takes the browser context's options."""
    contexts, complaints = [], []

    def open_one(path: str = "", **options: Any) -> Any:
        context = browser.new_context(base_url=address, **{"locale": "en-GB", "reduced_motion": "reduce", **options})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((address, "blob:", "about:")) else complaints.append(request.url)
            ),
        )
        page.goto(f"/#/{path}")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(message: Any) -> bool:
    """The browser reports every answer above 399; those of the API are answers that the page is to deal with."""
    return message.type == "error" and "/v1/" not in message.location["url"]


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """One page, in English, at a desktop's width."""
    return open_page("translate", viewport={"width": 1280, "height": 800})


@pytest.fixture(scope="session")
def expect() -> Any:
    """Playwright's assertions, which wait for what is to come."""
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (the extra 'browser')")
    driver.expect.set_options(timeout=20_000)
    return driver.expect


@pytest.fixture(scope="session")
def go_to(expect: Any) -> Callable[[Any, str], None]:
    """Goes to a section and waits until it is the one that is shown: sections have controls of the same name."""

    def go(page: Any, section: str) -> None:
        link = page.get_by_role("navigation").get_by_role("link", name=section, exact=True)
        link.click()
        expect(link).to_have_attribute("aria-current", "page")

    return go


@pytest.fixture(scope="session")
def panes() -> Callable[[Any], SimpleNamespace]:
    """The two panes of a page."""

    def find(page: Any) -> SimpleNamespace:
        return SimpleNamespace(
            source=page.locator(".source-box textarea"),
            target=page.locator(".reading"),
            word=lambda text: page.locator(".reading .word", has_text=re.compile(f"^{re.escape(text)}$")),
            marks=page.locator(".source-box mark"),
        )

    return find
