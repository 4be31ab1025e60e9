"""Terms that are put into a glossary, and what becomes of them in a translation."""


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
