"""Corrections as they are listed, held back and counted, and what is learnt from them."""

import re

import pytest

OLD = {
    "ship": "Le navire est bien vieux.",
    "house": "La maison est bien vieille.",
    "garden": "Le jardin est bien vieux.",
    "book": "Le livre est bien vieux.",
    "table": "La table est bien vieille.",
    "letter": "La lettre est bien vieille.",
    "street": "La rue est bien vieille.",
    "window": "La fenêtre est bien vieille.",
    "dog": "Le chien est bien vieux.",
    "river": "La rivière est bien vieille.",
    "tree": "L'arbre est bien vieux.",
}


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


@pytest.mark.slow
def test_a_correction_becomes_part_of_an_attempt_to_learn(page, panes, expect, go_to):
    """From the correction on the page to the figures of what was learnt from it and others."""
    for word, text in OLD.items():
        body = {"source": "en", "target": "fr", "source_text": f"The {word} is old.", "text": text}
        assert page.request.post("/v1/corrections", data=body).json()["accepted"]
    page.get_by_label("Translate from").select_option("en")
    page.get_by_label("Translate into").select_option("fr")
    panes(page).source.fill("The chair is old.")
    expect(page.locator(".reading .word").first).to_be_visible()
    page.get_by_role("button", name="Correct", exact=True).click()
    page.get_by_label("Your translation").fill("La chaise est bien vieille.")
    page.get_by_label("Your translation").press("Control+Enter")
    expect(page.get_by_text("Saved to the memory.")).to_be_visible()

    go_to(page, "Learning")
    page.get_by_label("Languages").select_option("en-fr")
    expect(page.get_by_text("La chaise est bien vieille.")).to_be_visible()
    page.get_by_role("button", name="Learn from corrections").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.reload()  # who comes back finds it still going on, or done
    page.get_by_label("Languages").select_option("en-fr")
    attempt = page.get_by_role("listitem").filter(has_text=f"from {len(OLD) + 1} corrections")
    state = attempt.get_by_text(re.compile("^(in use|not taken)$")).first
    expect(state).to_be_visible(timeout=300_000)
    attempt.first.locator("summary").click()
    expect(attempt.first.get_by_role("row", name="On other sentences")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_role("button", name="Learn from corrections")).to_be_enabled()
