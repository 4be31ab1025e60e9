"""Corrections as they are listed, held back and counted."""


def test_corrections_are_listed_and_what_is_missing_is_said(page, expect, go_to):
    pair = {"source": "fr", "target": "en"}
    good = {"source_text": "Le moulin tourne.", "machine_text": "The mill is on.", "text": "The mill is turning."}
    odd = {
        "source_text": "Le chat dort sur le lit.",
        "machine_text": "The cat sleeps on the bed.",
        "text": "Le chat dort sur le lit.",
    }
    for correction in (good, odd):
        assert page.request.post("/v1/corrections", data=pair | correction).ok
    go_to(page, "Learning")
    page.get_by_label("Languages").select_option("fr-en")
    expect(page.get_by_text("The mill is turning.")).to_be_visible()
    expect(page.get_by_text("Le chat dort sur le lit.")).to_have_count(0)
    page.get_by_role("button", name="Learn from corrections").click()
    expect(page.get_by_text("more corrections are needed before anything can be learnt from them")).to_be_visible()

    page.get_by_role("button", name="Held back").click()
    row = page.get_by_role("listitem").filter(has_text="it is the same as the source")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Use it all the same").click()
    expect(page.get_by_text("No corrections here.")).to_be_visible()
