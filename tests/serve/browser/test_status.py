"""API keys, given out and taken back where the server's state is shown."""

import re


def test_a_key_is_made_shown_once_and_revoked(page, expect, go_to):
    go_to(page, "Status")
    expect(page.get_by_text("No keys yet.")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_label("Name").fill("Weblate")
    form.get_by_label("Owner").fill("team")
    form.get_by_label("memory, files, corrections").check()
    form.get_by_label("Requests a minute").fill("30")
    form.get_by_role("button", name="Create").click()
    shown = page.get_by_role("dialog", name="The key “Weblate”")
    secret = shown.get_by_label("API key").input_value()
    assert re.fullmatch(r"rg_\S{20,}", secret)
    page.keyboard.press("Escape")
    row = page.get_by_role("listitem").filter(has_text="Weblate")
    expect(row).to_contain_text("translate, memory, files, corrections · 30 requests a minute")
    expect(page.get_by_text(secret)).to_have_count(0)
    headers = {"Authorization": f"Bearer {secret}"}
    assert page.request.get("/v1/status", headers=headers).json()["owner"] == "team"

    row.get_by_role("button", name="Revoke: Weblate").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row.get_by_text("revoked")).to_be_visible()
    assert page.request.get("/v1/status", headers=headers).status == 401
