"""Take the pictures of the page anew.

    regard serve --port 5001 --data /tmp/pictures      # an empty store
    python docs/screenshots/make.py http://127.0.0.1:5001

Needs Playwright (``pip install 'regard[browser]'``) and Chromium.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
LEAFLET = """The bakery opens at 7:30. The bread is still warm. We have 25 kinds of cake.

Would you like a cup of tea? The soup is still warm."""


def main(address: str) -> None:
    """Take every picture."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        translate(browser, address)
        proofread(browser, address)
        documents(browser, address)
        phone(browser, address)
        browser.close()


def translate(browser: Browser, address: str) -> None:
    """The two panes: what a word looked at, and the card of a word."""
    page = opened(browser, address, "translate", {"source": "en", "target": "de", "shading": True}, height=620)
    page.locator(".source-box textarea").fill("The bread is still warm. Would you like a cup of tea?")
    page.locator(".reading .word", has_text="noch").first.hover()
    save(page, "translate")
    page.locator(".reading .word", has_text="noch").first.click()
    page.locator(".card .choice").first.wait_for()
    save(page, "word")


def proofread(browser: Browser, address: str) -> None:
    """The grid, in the dark: a confirmed segment, a finding, a match."""
    page = opened(browser, address, "projects", {}, color_scheme="dark", height=860)
    body = {"name": "Leaflet", "source": "en", "target": "de", "text": LEAFLET}
    project = page.request.post(f"{address}/v1/projects", data=body).json()
    page.goto(f"{address}/#/projects/{project['id']}")
    fields = page.locator(".segment textarea")
    page.wait_for_function("() => [...document.querySelectorAll('.segment textarea')].every(each => each.value)")
    fields.nth(1).fill("Das Brot ist noch warm.")
    fields.nth(1).press("Control+Enter")
    page.locator(".segment .badge.confirmed").wait_for()
    fields.nth(2).fill("Wir haben 20 Sorten Kuchen.")
    page.locator(".segment .badge.warning").first.wait_for()
    fields.nth(4).click()
    page.locator(".match").first.wait_for()
    save(page, "proofread-dark")


def documents(browser: Browser, address: str) -> None:
    """A document that has been translated."""
    page = opened(browser, address, "documents", {"source": "en", "target": "de"}, height=620)
    file = {"name": "leaflet.txt", "mimeType": "text/plain", "buffer": LEAFLET.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".document .badge.done").wait_for()
    page.locator(".notice").wait_for(state="detached")
    save(page, "documents")


def phone(browser: Browser, address: str) -> None:
    """A phone, in Chinese."""
    chosen = {"language": "zh", "source": "zh", "target": "en"}
    page = opened(browser, address, "translate", chosen, width=390, height=700)
    page.locator(".source-box textarea").fill("面包还是热的。你想喝杯茶吗？")
    page.locator(".reading .word").nth(1).hover()
    save(page, "phone-zh")


def opened(
    browser: Browser,
    address: str,
    section: str,
    settings: dict[str, Any],
    *,
    width: int = 1180,
    height: int,
    **options: Any,
) -> Page:
    """A page at a section, of a person who chose these settings."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=1.5, reduced_motion="reduce", **options
    )
    page = context.new_page()
    chosen = json.dumps(json.dumps({"language": "en", **settings}))
    page.add_init_script(script=f"localStorage.setItem('regard.settings', {chosen})")
    page.goto(f"{address}/#/{section}")
    return page


def save(page: Page, name: str) -> None:
    """Write what can be seen."""
    page.screenshot(path=HERE / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
