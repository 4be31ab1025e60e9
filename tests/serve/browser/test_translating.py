"""Two panes: a translation while one types, what its words looked at, other words, and corrections."""

import re

ENGLISH = "The bread is still warm."


def translate(page, panes, expect, text=ENGLISH, into="de"):
    found = panes(page)
    page.get_by_label("Translate into").select_option(into)
    found.source.fill(text)
    expect(page.locator(".reading .word").first).to_be_visible()
    expect(found.target).not_to_have_attribute("aria-busy", "true")  # partial translations may yet change
    return found


def test_a_text_is_translated_as_it_is_typed(page, panes, expect):
    found = translate(page, panes, expect)
    expect(found.target).to_have_text(re.compile("Brot"))
    found.source.press_sequentially(" It costs 25 euros.")
    expect(found.target).to_have_text(re.compile(r"Brot.*25", re.DOTALL))
    expect(page.get_by_label("Translate from")).to_have_text(re.compile(r"English, detected \(\d+%\)"))
    found.source.fill("")
    expect(found.target).to_have_text("The translation appears here as you type")


def test_lines_stay_lines(page, panes, expect):
    found = translate(page, panes, expect, "The house is big.\n\nThe bread is warm.")
    expect(found.target).to_contain_text("Brot")
    assert re.fullmatch(r"[^\n]+\n\n[^\n]+", found.target.inner_text())


def test_a_word_shows_what_it_looked_at(page, panes, expect):
    found = translate(page, panes, expect)
    found.word("Brot").hover()
    expect(found.marks.first).to_be_attached()
    assert "bread" in found.marks.all_text_contents()
    page.mouse.move(5, 5)
    expect(found.marks).to_have_count(0)


def test_a_source_word_shows_what_came_of_it(page, panes, expect):
    found = translate(page, panes, expect)
    found.source.click()
    found.source.press("Home")
    for _ in range(5):  # into "bread"
        found.source.press("ArrowRight")
    expect(page.locator(".word.linked", has_text="Brot")).to_have_count(1)


def test_another_word_can_be_chosen(page, panes, expect):
    found = translate(page, panes, expect, "He bought a big house near the river.")
    before = found.target.inner_text()
    page.locator(".reading .word").nth(1).click()
    card = page.get_by_role("dialog")
    expect(card.get_by_text("Looked at")).to_be_visible()
    choice = card.locator("button.choice").first
    expect(choice).to_be_visible()
    wanted = choice.locator("span").inner_text()
    choice.click()
    expect(card).to_have_count(0)
    assert wanted != before
    expect(found.target).to_have_text(wanted)
    expect(found.target).to_be_focused()
    # What was chosen can be kept: it differs from what the machine had made of it.
    page.get_by_role("button", name="Correct", exact=True).click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".provenance")).to_contain_text("from the memory, 100%")
    expect(found.target).to_have_text(wanted)


def test_a_selected_word_is_looked_up(page, panes, expect):
    found = translate(page, panes, expect)
    found.source.press("Home")
    found.source.press("Shift+Control+ArrowRight")
    card = page.get_by_role("dialog")
    expect(card.get_by_role("heading", name="Dictionary · The")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    expect(found.source).to_be_focused()


def test_languages_swap_and_carry_the_text_along(page, panes, expect):
    found = translate(page, panes, expect)
    page.get_by_label("Translate from").select_option("en")
    expect(found.target).to_contain_text("Brot")
    page.get_by_role("button", name="Swap languages").click()
    expect(found.source).to_have_value(re.compile("Brot"))
    expect(page.get_by_label("Translate into")).to_have_value("en")
    expect(found.target).to_contain_text("bread")


def test_a_correction_is_remembered_at_once(page, panes, expect, go_to):
    text, wish = "Seven geese crossed the frozen pond.", "Sieben Gänse querten den gefrorenen Weiher."
    found = translate(page, panes, expect, text)
    page.get_by_role("button", name="Correct", exact=True).click()
    field = page.get_by_label("Your translation")
    expect(field).to_be_focused()
    field.fill(wish)
    field.press("Control+Enter")
    expect(page.get_by_text("Saved to the memory.")).to_be_visible()
    expect(found.target).to_have_text(wish)
    expect(page.locator(".provenance")).to_contain_text("from the memory, 100%")
    found.source.fill("The house is big.")
    expect(found.target).not_to_have_text(wish)
    found.source.fill(text)
    expect(found.target).to_have_text(wish)
    go_to(page, "Memory")
    expect(page.get_by_role("listitem").get_by_text(wish)).to_be_visible()


def test_unsure_words_are_marked_on_request(page, panes, expect):
    translate(page, panes, expect, "The sly otter pilfered my grandmother's marmalade.")
    expect(page.locator(".word.unsure")).to_have_count(0)
    page.get_by_role("button", name="Shade unsure words").click()
    expect(page.locator(".word.unsure").first).to_be_visible()
    expect(page.get_by_role("button", name="Shade unsure words")).to_have_attribute("aria-pressed", "true")


def test_history_is_kept_on_request_only(page, panes, expect):
    translate(page, panes, expect)
    page.get_by_role("button", name="History").click()
    assert page.evaluate("localStorage.getItem('regard.history')") is None
    page.get_by_role("button", name="Switch on").click()
    page.keyboard.press("Escape")
    found = translate(page, panes, expect, "It costs 25 euros.")
    expect(found.target).to_contain_text("25")
    found.source.fill("")
    page.get_by_role("button", name="History").click()
    page.get_by_role("button", name="Use again").first.click()
    expect(found.source).to_have_value("It costs 25 euros.")


def test_the_call_that_is_shown_works(page, panes, expect, tmp_path):
    import subprocess
    import sys

    translate(page, panes, expect, "The bread isn't warm.")
    page.get_by_role("button", name="Show the API call").click()
    code = page.get_by_role("region", name="Python").locator("code").inner_text()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "Brot" in answer.stdout


def test_an_error_is_explained(page, panes, expect):
    found = panes(page)
    found.source.fill("x" * 30_000)
    expect(page.locator(".count")).to_contain_text("Too long by")
    expect(page.get_by_role("alert")).to_be_visible()


def test_two_steps_are_said(page, panes, expect):
    page.get_by_label("Translate from").select_option("fr")
    page.get_by_label("Translate into").select_option("de")
    found = panes(page)
    found.source.fill("Le pain est encore chaud.")
    expect(page.locator(".provenance")).to_contain_text("through English")
    page.get_by_text("Sentence by sentence").click()
    expect(page.locator(".sentences").get_by_text(re.compile("bread"))).to_be_visible()
    found.word("Brot").hover()
    expect(found.marks.first).to_be_attached()
    assert "pain" in found.marks.all_text_contents()
