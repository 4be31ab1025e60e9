"""Glossaries and dictionaries of one's own, and what becomes of them beside a translation."""


def test_a_term_is_in_the_next_translation(page, panes, expect, go_to):
    go_to(page, "Glossaries")
    page.get_by_role("button", name="New glossary").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("Bakery")
    form.get_by_label("Languages").select_option("en-de")
    form.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Bakery")).to_be_visible()
    page.get_by_label("Term", exact=True).fill("roll")
    page.get_by_label("Translation", exact=True).fill("Schrippe")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="roll Schrippe")).to_be_visible()

    go_to(page, "Translate")
    page.get_by_label("Translate into").select_option("de")
    found = panes(page)
    found.source.fill("I would like a roll.")
    expect(found.target).to_contain_text("Schrippe")
    page.get_by_text("Sentence by sentence").click()
    expect(page.get_by_text("roll → Schrippe")).to_be_visible()

    go_to(page, "Glossaries")
    page.get_by_role("listitem").filter(has_text="Bakery").get_by_label("In use").uncheck()
    go_to(page, "Translate")
    found.source.fill("I would like a roll!")
    expect(found.target).not_to_contain_text("Schrippe")


def test_a_dictionary_of_ones_own_stands_before_the_one_that_is_there(page, panes, expect, go_to):
    go_to(page, "Glossaries")
    page.get_by_role("button", name="Load a dictionary").click()
    form = page.get_by_role("dialog", name="Load a dictionary")
    form.get_by_label("Name").fill("Meine Wörter")
    form.get_by_label("Languages").select_option("en-de")
    table = {"name": "words.tsv", "mimeType": "text/plain", "buffer": b"window\tLuke; Schaufenster\n"}
    form.get_by_label("File").set_input_files(table)
    form.get_by_role("button", name="Load a dictionary").click()
    row = page.get_by_role("listitem").filter(has_text="Meine Wörter")
    expect(row).to_contain_text("1 entries")

    go_to(page, "Translate")
    page.get_by_label("Translate into").select_option("de")
    found = panes(page)
    found.source.fill("The window is open.")
    expect(page.locator(".reading .word").first).to_be_visible()
    expect(found.target).not_to_have_attribute("aria-busy", "true")
    found.source.press("Home")
    found.source.press("Control+ArrowRight")
    found.source.press("Shift+Control+ArrowRight")
    entries = page.get_by_role("dialog").locator(".sense")
    expect(entries.nth(0)).to_contain_text("Luke, Schaufenster · Meine Wörter")
    expect(entries.nth(1)).to_contain_text("Fenster")
    expect(entries.nth(1)).to_contain_text("learnt from parallel text")
    page.keyboard.press("Escape")

    go_to(page, "Glossaries")
    row.get_by_role("button", name="Delete: Meine Wörter").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
