"""Usable by everybody: from the keyboard, in both languages, on a phone, in the dark, without barriers."""

import json
import re

import pytest

SECTIONS = ["translate", "documents", "projects", "memory", "glossaries", "learning", "status"]


@pytest.fixture(scope="session")
def axe(root):
    """The source of axe-core, which looks for barriers."""
    script = root / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.skip("axe-core is not installed (npm ci --prefix web)")
    return script.read_text("utf-8")


def barriers(page, axe, *rules):
    page.evaluate(axe)  # in the page's own world, whatever its content security policy says
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def test_no_section_has_barriers(page, panes, expect, axe):
    panes(page).source.fill("The bread is still warm. Would you like some?")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.get_by_role("button", name="Shade unsure words").click()
    page.get_by_text("Sentence by sentence").click()
    found = {"translate": barriers(page, axe)}
    page.locator(".reading .word").nth(1).click()
    expect(page.get_by_role("dialog").get_by_text("Dictionary")).to_be_visible()
    found["word"] = barriers(page, axe)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Settings").click()
    found["settings"] = barriers(page, axe)
    page.keyboard.press("Escape")
    for section in SECTIONS[1:]:
        page.goto(f"/#/{section}")
        expect(page.locator("main h1")).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        found[section] = barriers(page, axe)
    assert {name: each for name, each in found.items() if each} == {}


def test_everything_can_be_read_in_the_dark(open_page, panes, expect, axe):
    page = open_page("translate", color_scheme="dark")
    panes(page).source.fill("The bread is still warm. Would you like some?")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.get_by_role("button", name="Shade unsure words").click()
    page.locator(".reading .word").nth(1).click()
    expect(page.get_by_role("dialog").get_by_text("Dictionary")).to_be_visible()
    assert barriers(page, axe, "color-contrast") == []
    page.keyboard.press("Escape")
    for section in SECTIONS[1:]:
        page.goto(f"/#/{section}")
        expect(page.locator("main h1")).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        assert barriers(page, axe, "color-contrast") == []


def test_no_grid_has_barriers(page, expect, axe):
    project = page.request.post(
        "/v1/projects",
        data={"name": "Barriers", "source": "en", "target": "de", "text": "The bread is warm. It costs 3 euros."},
    ).json()
    page.goto(f"/#/projects/{project['id']}")
    expect(page.locator(".segment textarea").nth(1)).not_to_have_value("")
    page.locator(".segment textarea").first.fill("Das Brot ist warm und kostet 4 Euro.")
    expect(page.get_by_text("Saved")).to_be_visible()
    assert barriers(page, axe) == []


def test_everything_can_be_done_from_the_keyboard(page, panes, expect):
    found = panes(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reach(page, page.get_by_label("Translate into"))
    page.keyboard.press("G")  # German
    reach(page, found.source)
    page.keyboard.type("The bread is still warm.")
    expect(found.word("Brot")).to_have_count(1)
    reach(page, found.target)
    while not found.word("Brot").evaluate("word => word.classList.contains('active')"):
        page.keyboard.press("ArrowRight")
    assert "bread" in found.marks.all_text_contents()
    expect(page.locator(".unseen[aria-live]")).to_have_text(re.compile("“Brot” looked at .*bread"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_focused()
    page.keyboard.press("Escape")
    expect(found.target).to_be_focused()
    reach(page, page.get_by_role("button", name="Correct", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your translation")).to_be_focused()
    page.keyboard.press("Escape")
    expect(found.target).to_be_focused()


def reach(page, wanted):
    """Press Tab until the focus is there."""
    for _ in range(25):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {wanted}")


def test_chinese_and_back(page, panes, expect):
    found = panes(page)
    found.source.fill("The bread is still warm.")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    expect(page.get_by_role("link", name="人工校对")).to_be_visible()
    expect(found.source).to_have_value("The bread is still warm.")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.reload()
    for section in SECTIONS:
        page.goto(f"/#/{section}")
        expect(page.locator("main h1")).to_have_text(re.compile("[\u4e00-\u9fff]"))
        assert not re.search(r"[A-Za-z]{3,} [A-Za-z]{3,}", own_words(page))
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("link", name="Proofread")).to_be_visible()


def own_words(page):
    """What the page itself says, without what people wrote, which is marked with its language."""
    return page.evaluate(
        """() => {
            const copy = document.querySelector("main").cloneNode(true);
            for (const each of copy.querySelectorAll("[lang], .title")) each.remove();
            return copy.textContent;
        }"""
    )


def test_a_browser_in_chinese_gets_a_page_in_chinese(open_page, expect):
    page = open_page("status", locale="zh-CN")
    expect(page.get_by_role("heading", name="状态")).to_be_visible()


def test_nothing_sticks_out_on_a_phone(open_page, panes, expect):
    page = open_page("translate", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    panes(page).source.fill("The bread is still warm.")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.locator(".reading .word").last.tap()
    expect(page.get_by_role("dialog").get_by_text("Dictionary")).to_be_visible()
    for section in SECTIONS:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.goto(f"/#/{section}")
        expect(page.locator("main h1")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_theme_is_chosen_and_kept(page, expect):
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Theme: as the system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(background) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(background) != light


def test_the_microphone_is_off_until_it_is_switched_on(page, expect):
    button = page.get_by_role("button", name="Dictate (your browser may send the sound to its maker)")
    expect(button).to_have_count(0)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Microphone button").check()
    page.keyboard.press("Escape")
    expect(button).to_be_visible()


def test_nothing_is_kept_in_the_browser_but_the_settings(page, panes, expect):
    panes(page).source.fill("Nobody shall read this.")
    expect(page.locator(".reading .word").first).to_be_visible()
    kept = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href])")
    assert "read this" not in kept
    assert json.loads(kept)[2] == ""
