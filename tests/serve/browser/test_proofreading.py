"""The grid of segments: saved as one types, confirmed from the keyboard, and nobody's work is lost."""

import re
import time

import pytest

TEXT = "The bakery opens at 7:30. The soup is still hot. The soup is very hot."


@pytest.fixture
def project(page, expect, go_to):
    """A page with a project of three segments, all translated."""
    start(page, expect, go_to, TEXT)
    return page


def start(page, expect, go_to, text):
    go_to(page, "Proofread")
    page.get_by_role("button", name="New project").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("Leaflet")
    form.get_by_label("Languages").select_option("en-de")
    form.get_by_label("Text").fill(text)
    form.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Leaflet")).to_be_visible()
    for field in range(3):
        expect(page.locator(".segment textarea").nth(field)).not_to_have_value("")


def segment(page, number):
    return page.get_by_role("listitem", name=f"Segment {number}")


def test_segments_are_confirmed_from_the_keyboard_and_remembered(project, expect):
    project.get_by_label("Translation of segment 2").fill("Noch ist die Suppe ganz heiß.")
    expect(segment(project, 2).get_by_text("Saved")).to_be_visible()
    expect(segment(project, 2).get_by_text("draft")).to_be_visible()
    project.keyboard.press("Control+Enter")
    expect(segment(project, 2).get_by_text("confirmed")).to_be_visible()
    expect(project.get_by_label("Translation of segment 3")).to_be_focused()
    expect(project.get_by_text("1 of 3 confirmed")).to_be_visible()

    # The sentence after it is similar: the memory offers what was just confirmed.
    match = segment(project, 3).locator(".match", has_text="Noch ist die Suppe ganz heiß.")
    expect(match.locator("del")).to_have_text(re.compile("still"))
    project.keyboard.press("Alt+1")
    expect(project.get_by_label("Translation of segment 3")).to_have_value("Noch ist die Suppe ganz heiß.")
    expect(segment(project, 3).get_by_text("Saved")).to_be_visible()

    project.reload()
    expect(project.get_by_label("Translation of segment 2")).to_have_value("Noch ist die Suppe ganz heiß.")
    expect(project.get_by_label("Translation of segment 3")).to_have_value("Noch ist die Suppe ganz heiß.")


def test_what_was_saved_can_be_taken_back(project, expect):
    field = project.get_by_label("Translation of segment 1")
    before = field.input_value()
    field.fill("Morgens um 7:30 wird geöffnet.")
    expect(segment(project, 1).get_by_text("Saved")).to_be_visible()
    project.keyboard.press("Control+Alt+z")
    expect(field).to_have_value(before)
    project.keyboard.press("Control+Alt+Shift+z")
    expect(field).to_have_value("Morgens um 7:30 wird geöffnet.")


def test_what_was_typed_last_is_saved_when_the_page_is_closed(project):
    place = f"/v1/projects/{project.url.split('/')[-1]}/segments"
    project.get_by_label("Translation of segment 1").fill("Um 7:30 wird aufgemacht.")
    project.goto("about:blank")
    until = time.monotonic() + 60
    while project.request.get(place).json()["items"][0]["text"] != "Um 7:30 wird aufgemacht.":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_wrong_number_is_found(project, expect):
    project.get_by_label("Translation of segment 1").fill("Die Bäckerei öffnet um 8 Uhr.")
    expect(segment(project, 1).get_by_text(re.compile("A number differs")).first).to_be_visible()


def test_two_people_at_one_segment_see_both_versions(project, open_page, expect):
    place = project.url.split("#/")[1]
    other = open_page(place)
    theirs, mine = (page.get_by_label("Translation of segment 1") for page in (other, project))
    expect(theirs).not_to_have_value("")
    theirs.fill("Wir öffnen um 7:30.")
    expect(segment(other, 1).get_by_text("Saved")).to_be_visible()

    mine.fill("Um 7:30 geht es los.")
    expect(project.get_by_role("alert")).to_contain_text("Somebody else changed this segment")
    expect(project.get_by_role("region", name="Theirs")).to_contain_text("Wir öffnen um 7:30.")
    expect(project.get_by_role("region", name="Yours")).to_contain_text("Um 7:30 geht es los.")
    project.get_by_role("button", name="Keep yours").click()
    expect(segment(project, 1).get_by_text("Saved")).to_be_visible()
    expect(mine).to_have_value("Um 7:30 geht es los.")
    other.reload()
    expect(theirs).to_have_value("Um 7:30 geht es los.")


def test_segments_are_commented_filtered_and_exported(project, expect):
    project.get_by_label("Translation of segment 1").click()
    segment(project, 1).get_by_role("button", name="Comments").click()
    project.get_by_label("Comment", exact=True).fill("Is this the summer opening time?")
    project.keyboard.press("Enter")
    expect(segment(project, 1).get_by_text("Is this the summer opening time?")).to_be_visible()

    project.get_by_label("Translation of segment 1").press("Control+Enter")
    expect(segment(project, 1).get_by_text("confirmed")).to_be_visible()
    project.get_by_label("Show").select_option("confirmed")
    expect(project.locator(".segment")).to_have_count(1)

    project.locator("summary", has_text="Export").click()
    with project.expect_download() as saved:
        project.get_by_role("button", name="Both languages (CSV)").click()
    assert "The bakery opens at 7:30." in saved.value.path().read_text("utf-8-sig")


def test_a_missing_term_is_found(page, expect, go_to):
    terms = [{"source": "harbour", "target": "Seehafen"}]
    glossary = {"name": "Harbour", "source": "en", "target": "de", "terms": terms}
    made = page.request.post("/v1/glossaries", data=glossary).json()
    try:
        text = "The harbour is closed today. The harbour is very old. The harbour is large."
        start(page, expect, go_to, text)
        field = page.get_by_label("Translation of segment 1")
        expect(field).to_have_value(re.compile("Seehafen"))
        field.fill("Der Hafen ist heute geschlossen.")
        expect(segment(page, 1).get_by_text("A term of the glossary is missing: Seehafen")).to_be_visible()
        field.fill("Der Seehafen ist heute geschlossen.")
        expect(segment(page, 1).get_by_text("A term of the glossary is missing")).to_have_count(0)
    finally:
        page.request.delete(f"/v1/glossaries/{made['id']}")


def test_odd_words_are_marked_for_those_who_want_it(project, expect, go_to):
    place = project.url
    expect(project.locator(".fluency").first).to_be_empty()
    go_to(project, "Translate")
    project.get_by_role("button", name="Shade unsure words").click()
    project.goto(place)
    project.get_by_label("Translation of segment 2").fill("Die Suppe ist noch Fahrrad.")
    line = segment(project, 2).locator(".fluency")
    expect(line.locator(".word.unsure", has_text="Fahrrad")).to_be_visible()
    expect(line).to_contain_text(re.compile(r"\d+%"))
