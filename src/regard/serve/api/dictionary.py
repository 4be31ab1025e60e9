"""/v1/dictionary and /v1/dictionaries: words, and the user's own dictionaries."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, UploadFile
from pydantic import Field

from regard.serve.api.common import DirectedBody, Ours, Page, Reader, Writer, values_of
from regard.serve.exchange import read_cedict, read_dictionary_tsv, read_learnt
from regard.serve.store import dictionaries, memory
from regard.serve.store.tables import Dictionary
from regard.serve.terms import occurrences
from regard.tasks.dictionary import Entry, keys_for, shipped_dictionary

router = APIRouter(prefix="/v1", tags=["dictionary"])

_READERS = {"cedict": read_cedict, "tsv": read_dictionary_tsv, "learnt": read_learnt}
_EXAMPLES = 5


class LookupBody(DirectedBody):
    """A word and where it stands."""

    word: str = Field(min_length=1, max_length=100, pattern=r"\S", examples=["bank"])
    context: str = Field("", max_length=5000, examples=["She sat on the bank of the river."])


@router.post("/dictionary/lookup")
def lookup(body: LookupBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """What a word means, and sentences of the memory that have it; those like the context come first.

    The user's own dictionaries come before the one that ships with the model.
    """
    server.check_size([body.word, body.context])
    source, target = body.direction(server)
    word = body.word.strip()
    keys = keys_for(word, source, body.context)
    with server.database.read() as session:
        own = dictionaries.lookup(session, caller.owner, source, target, keys)
        found, _ = memory.listed(session, caller.owner, source, target, word, 0, 50)
    shipped = shipped_dictionary(source, target)
    starter = shipped.lookup(keys) if shipped else []
    entries = [values_of(entry, "headword reading kind senses") | {"dictionary": name} for entry, name in own]
    entries += [_starter_values(entry) for entry in starter]
    examples = [(entry, occurrences(word, entry.source_text)) for entry in found]
    examples = [(entry, spans) for entry, spans in examples if spans]
    context = memory.normal(body.context)
    examples.sort(key=lambda pair: -memory.likeness(context, memory.normal(pair[0].source_text)))
    senses = [sense for entry in entries for sense in entry["senses"]]
    return {
        "word": word,
        "entries": entries,
        "examples": [
            {
                "source": entry.source_text,
                "target": entry.target_text,
                "source_spans": spans,
                "target_spans": _spans_of(senses, entry.target_text),
                "entry": entry.id,
            }
            for entry, spans in examples[:_EXAMPLES]
        ],
    }


def _starter_values(entry: Entry) -> dict[str, Any]:
    return {
        "headword": entry.word,
        "reading": None,
        "kind": None,
        "senses": [sense for sense, _ in entry.senses],
        "shares": entry.shares,
        "count": sum(count for _, count in entry.senses),
        "dictionary": None,
    }


def _spans_of(senses: list[str], text: str) -> list[tuple[int, int]]:
    """Where one of the word's translations stands: the first that does."""
    return next((spans for sense in senses if (spans := occurrences(sense, text))), [])


@router.get("/dictionaries")
def listed(server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Dictionaries that were loaded."""
    with server.database.read() as session:
        return page.of([_values(dictionary) for dictionary in dictionaries.listed(session, caller.owner)])


@router.post("/dictionaries", status_code=201)
def load(
    file: Annotated[UploadFile, File()],
    name: Annotated[str, Form(min_length=1, max_length=200)],
    format: Annotated[Literal["cedict", "tsv", "learnt"], Form()],
    server: Ours,
    caller: Writer,
    source: Annotated[str, Form(max_length=20)] = "zh",
    target: Annotated[str, Form(max_length=20)] = "en",
) -> dict[str, Any]:
    """Load a dictionary: CC-CEDICT, a table with tabs, or one that ``regard dictionary`` made."""
    source, target = server.directions.check(source, target)
    entries = list(_READERS[format](file.file.read()))  # all is well with it before anything is written
    with server.database.write() as session:
        return _values(dictionaries.create(session, caller.owner, name, source, target, entries))


@router.delete("/dictionaries/{dictionary}", status_code=204)
def remove(dictionary: str, server: Ours, caller: Writer) -> None:
    """Delete a dictionary."""
    with server.database.write() as session:
        dictionaries.remove(session, caller.owner, dictionary)


def _values(dictionary: Dictionary) -> dict[str, Any]:
    return values_of(dictionary, "id name source target size")
