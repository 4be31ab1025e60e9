"""The store, in SQLite and in a real PostgreSQL."""

import os
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect

from regard.base.errors import ConfigError
from regard.serve.errors import ServeError
from regard.serve.store import adapters, corrections, dictionaries, glossaries, keys, memory, projects, runs
from regard.serve.store.database import Database
from regard.serve.store.tables import Adapter, Base, DictionaryEntry, MemoryEntry, Run
from regard.tasks.dictionary import keys_for


def remember(
    database: Database, source_text: str, target_text: str, owner: str = "ann", pair: str = "en de"
) -> MemoryEntry:
    with database.write() as session:
        return memory.put(session, owner, *pair.split(), source_text, target_text, "person")[0]


def test_migrations_make_the_tables_of_the_models(database: Database) -> None:
    database.upgrade()  # a second time changes nothing
    there = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column for column in there.get_columns(table.name)}
        assert set(columns) == set(table.columns.keys()), table.name
        for name, column in table.columns.items():
            assert columns[name]["nullable"] == column.nullable, f"{table.name}.{name}"


def test_a_newer_translation_replaces_the_older(database: Database) -> None:
    remember(database, "Good  morning.", "Guten Tag.")
    remember(database, "Good morning.", "Guten Morgen.")
    with database.read() as session:
        found = memory.exact(session, "ann", "en", "de", ["Good morning.", "Good night."])
        assert {text: entry.target_text for text, entry in found.items()} == {"Good morning.": "Guten Morgen."}
        assert memory.listed(session, "ann", None, None, "", 0, 10)[1] == 1


def test_like_sentences_are_found_best_first(database: Database) -> None:
    remember(database, "The red bicycle stands in the yard.", "Das rote Fahrrad steht im Hof.")
    remember(database, "The blue bicycle stands in the yard.", "Das blaue Fahrrad steht im Hof.")
    remember(database, "Nobody knew the way to the harbour.", "Niemand kannte den Weg zum Hafen.")
    with database.read() as session:
        found = memory.search(session, "ann", "en", "de", "The red bicycle stood in the yard.", minimum=50)
        assert [m.entry.target_text for m in found] == [
            "Das rote Fahrrad steht im Hof.",
            "Das blaue Fahrrad steht im Hof.",
        ]
        assert 100 > found[0].match > found[1].match >= 50
        exact = memory.search(session, "ann", "en", "de", "The red bicycle stands in the yard.")
        assert exact[0].match == 100


def test_chinese_is_found_by_its_characters(database: Database) -> None:
    remember(database, "我们今天下午去公园。", "We are going to the park this afternoon.", pair="zh en")
    with database.read() as session:
        found = memory.search(session, "ann", "zh", "en", "我们明天下午去公园。")
        assert found[0].match >= 85


def test_a_memory_has_an_owner_and_a_direction(database: Database) -> None:
    entry = remember(database, "The red bicycle stands in the yard.", "Das rote Fahrrad steht im Hof.")
    text = "The red bicycle stands in the yard."
    with database.write() as session:
        assert memory.search(session, "bob", "en", "de", text) == []
        assert memory.search(session, "ann", "en", "fr", text) == []
        assert memory.exact(session, "bob", "en", "de", [text]) == {}
        with pytest.raises(ServeError, match="no such"):
            memory.remove(session, "bob", entry.id)
        memory.remove(session, "ann", entry.id)
        assert memory.search(session, "ann", "en", "de", text) == []


def test_a_changed_entry_is_found_by_nothing_it_was(database: Database) -> None:
    """The index follows the table: what is deleted leaves no trace in it."""
    for word in ("apples", "pears", "plums"):
        entry = remember(database, f"She sells {word} on the market.", "…")
        with database.write() as session:
            memory.remove(session, "ann", entry.id)
    with database.read() as session:
        assert memory.search(session, "ann", "en", "de", "She sells apples on the market.", minimum=1) == []


@pytest.mark.parametrize(
    "text", ["", "   ", "…", "'", '"; DROP TABLE memory; --', "NEAR(a b)", "a AND b OR c*", "\x00"]
)
def test_no_text_is_query_syntax(database: Database, text: str) -> None:
    remember(database, "a and b or c near", "x")
    with database.read() as session:
        memory.search(session, "ann", "en", "de", text, minimum=1)


@pytest.mark.parametrize(
    ("old", "translation", "new", "expected"),
    [
        ("Bus 12 leaves at 9:45.", "Bus 12 fährt um 9:45.", "Bus 17 leaves at 9:45.", "Bus 17 fährt um 9:45."),
        ("Page 3 of 10", "Seite 3 von 10", "Page 10 of 3", "Seite 10 von 3"),
        ("Two is 2.", "Zwei ist 2.", "Three is 3.", None),  # words differ too
        ("He has 5 cats.", "Er hat fünf Katzen.", "He has 6 cats.", None),  # written out in the translation
        ("5 and 5", "5 und 5", "5 and 6", None),  # which of the two?
    ],
)
def test_numbers_are_put_in_where_it_is_clear_where(old: str, translation: str, new: str, expected: str | None) -> None:
    entry = MemoryEntry(source_text=old, target_text=translation)
    assert memory.adapt(entry, new) == expected


def test_a_difference_turns_one_text_into_the_other() -> None:
    old, new = "The old ship lay in the harbour.", "The new ship lay there in a harbour!"
    parts = memory.difference(old, new)
    assert "".join(text for kind, text in parts if kind != "insert") == old
    assert "".join(text for kind, text in parts if kind != "delete") == new


def test_glossaries_of_a_direction(database: Database) -> None:
    with database.write() as session:
        glossary = glossaries.create(session, "ann", "Bakery", "en", "de")
        bread = {"source": "bread", "target": "Brot"}
        assert glossaries.put_terms(session, glossary, [bread, {"source": "roll", "target": "Semmel"}, bread]) == (2, 1)
        glossaries.put_term(session, glossary, source="bread", target="Laib", variants=["Laibe"])
        other = glossaries.create(session, "ann", "Pain", "en", "fr")
    with database.read() as session:
        found = glossaries.terms_for(session, "ann", "en", "de", None)
        assert [(term.source, term.target, term.variants) for term, _ in found] == [
            ("bread", "Laib", ["Laibe"]),
            ("roll", "Semmel", []),
        ]
        assert glossaries.terms_for(session, "ann", "en", "de", []) == []
        with pytest.raises(ServeError, match="no such"):
            glossaries.terms_for(session, "bob", "en", "de", [glossary.id])
        with pytest.raises(ServeError, match="only"):
            glossaries.terms_for(session, "ann", "en", "de", [other.id])


def test_a_term_keeps_what_is_not_named(database: Database) -> None:
    with database.write() as session:
        glossary = glossaries.create(session, "ann", "Bakery", "en", "de")
        bread = {"source": "bread", "target": "Brot", "variants": ["Brote"], "case_sensitive": True, "note": "warm"}
        roll = {"source": "roll", "target": "Semmel"}
        glossaries.put_terms(session, glossary, [bread, roll, {"source": "bread", "target": "Laib"}])
    with database.read() as session:
        kept, plain = (term for term, _ in glossaries.terms_for(session, "ann", "en", "de", None))
        assert (kept.target, kept.variants, kept.case_sensitive, kept.note) == ("Laib", ["Brote"], True, "warm")
        assert (plain.variants, plain.case_sensitive, plain.note) == ([], False, "")
    with database.write() as session:
        glossaries.put_terms(session, glossary, [bread | {"variants": [], "case_sensitive": False, "note": ""}])
    with database.read() as session:
        kept, _ = (term for term, _ in glossaries.terms_for(session, "ann", "en", "de", None))
        assert (kept.target, kept.variants, kept.case_sensitive, kept.note) == ("Brot", [], False, "")


def test_keys_are_kept_as_digests_and_revoked(database: Database) -> None:
    with database.write() as session:
        key, secret = keys.create(session, "Weblate", "ann", ["translate"])
        assert secret not in str(vars(key))
        keys.spend(session, key.id, 60, 100)
        with pytest.raises(ServeError, match="has used 60"):
            keys.spend(session, key.id, 41, 100)
        keys.spend(session, key.id, 40, 100)
        assert keys.spent(session, key.id) == 100
    with database.write() as session:
        assert keys.find(session, secret) is not None
        assert keys.find(session, secret + "x") is None
        keys.revoke(session, key.id)
    with database.read() as session:
        assert keys.find(session, secret) is None


def test_a_correction_taken_back_takes_its_memory_entry_along(database: Database) -> None:
    with database.write() as session:
        kept = corrections.add(session, "ann", "en", "de", "Try it!", "Versuchen Sie es!", "Probier es!", [])
        held = corrections.add(session, "ann", "en", "de", "Stop!", "Halt!", "", ["empty"])
        assert (kept.accepted, held.accepted, held.memory) == (True, False, None)
        assert memory.exact(session, "ann", "en", "de", ["Try it!"])["Try it!"].target_text == "Probier es!"
        corrections.remove(session, "ann", kept.id)
        assert memory.exact(session, "ann", "en", "de", ["Try it!"]) == {}
        corrections.accept(session, held)
        assert [c.id for c in corrections.listed(session, "ann", accepted=True)[0]] == [held.id]


def test_dictionary_finds_a_word_by_its_forms(database: Database) -> None:
    entries = [
        DictionaryEntry(headword=w, senses=[s]) for w, s in [("stop", "halten"), ("bake", "backen"), ("Cat", "Katze")]
    ]
    with database.write() as session:
        dictionaries.create(session, "ann", "Words", "en", "de", entries)
    with database.read() as session:
        for word, sense in [("stopped", "halten"), ("baking", "backen"), ("cats", "Katze"), ("CAT", "Katze")]:
            assert [e.senses for e, _ in dictionaries.lookup(session, "ann", "en", "de", keys_for(word, "en"))] == [
                [sense]
            ], word
        assert dictionaries.lookup(session, "bob", "en", "de", ["stop"]) == []
        assert dictionaries.lookup(session, "ann", "en", "de", ["dog"]) == []


def test_two_people_at_one_segment_lose_nothing(database: Database) -> None:
    """Of writers that read the same version exactly one gets through, however many there are."""
    with database.write() as session:
        project = projects.create(session, "ann", "P", "en", "de", [("Hello.", "")])
        segment = projects.segments(session, project.id)[0][0]
    results: list[str] = []
    lost: list[str] = []

    def save(text: str) -> None:
        try:
            with database.write() as session:
                own = projects.get_segment(session, "ann", segment.id, lock=True)
                projects.change(session, own, 1, projects.Change(text), "ann")
            results.append(text)
        except projects.Conflict as conflict:
            lost.append(conflict.mine["text"])

    threads = [threading.Thread(target=save, args=(f"Hallo {i}.",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        now = projects.get_segment(session, "ann", segment.id)
        assert results == [now.text]
        assert len(lost) == 7
        assert now.version == 2


def test_undo_and_redo_walk_the_history(database: Database) -> None:
    with database.write() as session:
        project = projects.create(session, "ann", "P", "en", "de", [("Hello.", "")])
        segment = projects.segments(session, project.id)[0][0]
        projects.set_machine(session, segment.id, "Hallo.", origin="machine", confidence=0.9, checks=[])
        for text in ("Hallo!", "Guten Tag."):
            projects.change(session, segment, segment.version, projects.Change(text), "ann")
        seen = []
        for direction in (-1, -1, 1):
            projects.step(session, segment, segment.version, direction)
            seen.append((segment.text, segment.status))
        assert seen == [("Hallo!", "draft"), ("Hallo.", "machine"), ("Hallo!", "draft")]
        projects.change(session, segment, segment.version, projects.Change("Servus."), "ann")
        with pytest.raises(ServeError, match="nothing to redo"):
            projects.step(session, segment, segment.version, 1)
        assert [v.text for v in projects.history(session, segment.id)] == ["Hallo.", "Hallo!", "Servus."]
        projects.set_machine(session, segment.id, "Hi.", origin="machine", confidence=0.9, checks=[])
        assert segment.text == "Servus."  # a person was faster


def test_rolling_back_goes_to_what_was_used_before(database: Database) -> None:
    def make(name: str) -> Adapter:
        adapter = Adapter(id=name, owner="ann", source="en", target="de", corrections=1)
        session.add(adapter)
        session.flush()
        adapters.activate(session, adapter)
        return adapter

    with database.write() as session:
        make("one"), make("two"), make("three")
        walked = [adapters.roll_back(session, "ann", "en", "de") for _ in range(4)]
        assert [a.id if a else None for a in walked] == ["two", "one", None, None]
        assert adapters.chosen(session, "ann", "en", "de", "active") is None
        assert adapters.chosen(session, "ann", "en", "de", "two") == "two"
        for owner, target in (("bob", "de"), ("ann", "fr")):
            with pytest.raises(ServeError, match="no such"):
                adapters.chosen(session, owner, "en", target, "two")


def test_a_failed_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        memory.put(session, "ann", "en", "de", "One.", "Eins.", "person")
        raise RuntimeError
    with database.read() as session:
        assert memory.exact(session, "ann", "en", "de", ["One."]) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_the_server_makes_is_for_its_user_alone(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0o022)
    try:
        (tmp_path / "there").mkdir()
        for name, expected in (("made", 0o700), ("there", 0o755)):
            made = Database(f"sqlite:///{tmp_path / name / 'regard.sqlite3'}")
            made.upgrade()
            with made.write() as session:
                memory.put(session, "ann", "en", "de", "One.", "Eins.", "person")
                files = sorted((tmp_path / name).iterdir())
                assert [file.name.removeprefix("regard.sqlite3") for file in files] == ["", "-shm", "-wal"]
                assert {mode(file) for file in files} == {0o600}
            made.close()
            assert mode(tmp_path / name) == expected
    finally:
        os.umask(before)


def test_only_databases_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sqlite and postgresql"):
        Database("mysql://somebody@nowhere/db")
    with pytest.raises(ConfigError, match="cannot be read"):
        Database("no url at all")


@pytest.mark.parametrize("word", ["a\0b", "x" * 300])
def test_what_a_database_cannot_hold_is_refused(database: Database, word: str) -> None:
    """PostgreSQL knows no NUL and means its lengths; SQLite takes both."""
    entry = DictionaryEntry(headword=word, reading=None, kind=None, senses=["c"])

    def save() -> None:
        with database.write() as session:
            dictionaries.create(session, "ann", "D", "en", "de", [entry])

    if database.kind == "sqlite":
        return save()
    with pytest.raises(ServeError, match="cannot be saved") as caught:
        save()
    assert (caught.value.status, caught.value.code) == (400, "invalid")
    assert word not in str(caught.value)
    return None


def test_a_dictionary_that_is_too_large_is_refused_whole(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "MOST_ENTRIES", 2)
    entries = [DictionaryEntry(headword=f"w{i}", reading=None, kind=None, senses=["x"]) for i in range(3)]
    with pytest.raises(ServeError, match="at most 2") as caught, database.write() as session:
        dictionaries.create(session, "ann", "D", "en", "de", entries)
    assert caught.value.status == 413
    with database.read() as session:
        assert dictionaries.listed(session, "ann") == []


def test_entries_one_after_the_other_though_some_are_deleted(database: Database) -> None:
    entries = [remember(database, f"Number {i}.", f"Nummer {i}.") for i in range(7)]
    with database.read() as session:
        first = memory.before(session, "ann", "en", "de", None, 3)
    with database.write() as session:
        memory.remove(session, "ann", entries[6].id)  # one that was read already
    with database.read() as session:
        second = memory.before(session, "ann", "en", None, first[-1].number, 9)
        assert memory.before(session, "bob", None, None, None, 9) == []
    assert [e.source_text for e in [*first, *second]] == [f"Number {i}." for i in (6, 5, 4, 3, 2, 1, 0)]


def test_runs_are_listed_newest_first(database: Database) -> None:
    with database.write() as session:
        for target in ("de", "fr", "de"):
            session.add(Run(owner="ann", source="en", target=target, corrections=50))
            session.flush()
    with database.read() as session:
        found, total = runs.listed(session, "ann", "en", "de", 0, 1)
        assert (len(found), total) == (1, 2)
        every, _ = runs.listed(session, "ann", None, None)
        assert every == sorted(every, key=lambda run: run.created, reverse=True)
        assert runs.is_unfinished(session, "ann", "en", "fr")
        oldest = runs.next_one(session)
        assert oldest is not None
        assert oldest.id == every[-1].id
        with pytest.raises(ServeError, match="no such run"):
            runs.get(session, "bob", oldest.id)


def test_terms_are_looked_for_in_what_a_person_writes(database: Database) -> None:
    with database.write() as session:
        glossary = glossaries.create(session, "ann", "Bakery", "en", "de")
        glossaries.put_term(session, glossary, source="rye bread", target="Roggenbrot", variants=["Roggenbrote"])
        project = projects.create(session, "ann", "P", "en", "de", [("The rye  bread is good.", "")])
        (segment,), _ = projects.segments(session, project.id)
        terms = glossaries.terms_for(session, "ann", "en", "de", None)

        def kinds(text: str) -> list[str]:
            projects.change(session, segment, segment.version, projects.Change(text), "ann", terms)
            return [check["kind"] for check in segment.checks]

        assert kinds("Das Brot ist gut.") == ["term"]
        assert kinds("Das Roggenbrot ist gut.") == []
        assert kinds("Die Roggenbrote sind gut.") == []
        projects.step(session, segment, segment.version, -1, terms)
        projects.step(session, segment, segment.version, -1, terms)
        assert [check["kind"] for check in segment.checks] == ["term"]
