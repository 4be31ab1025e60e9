"""/v1/dictionary and /v1/dictionaries: words, and the user's own dictionaries."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, UploadFile
from pydantic import Field

from regard.serve.api.common import Body, Ours, Page, Reader, Writer
from regard.serve.exchange import read_cedict, read_dictionary_tsv
from regard.serve.store import dictionaries, memory
from regard.serve.store.tables import Dictionary
from regard.serve.terms import occurrences

router = APIRouter(prefix="/v1", tags=["dictionary"])

_MOST_ENTRIES = 500_000
_EXAMPLES = 5


class LookupBody(Body):
    """A word and where it stands."""

    word: str = Field(min_length=1, max_length=100, pattern=r"\S", examples=["bank"])
    context: str = Field("", max_length=5000, examples=["She sat on the bank of the river."])
    source: str = Field(max_length=20, examples=["en"])
    target: str = Field(max_length=20, examples=["de"])


@router.post("/dictionary/lookup")
def lookup(body: LookupBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """What a word means, and sentences of the memory that have it; those like the context come first."""
    server.check_size([body.word, body.context])
    source, target = server.directions.check(body.source, body.target)
    word = body.word.strip()
    with server.database.read() as session:
        entries = dictionaries.lookup(session, caller.owner, source, target, word)
        found, _ = memory.listed(session, caller.owner, source, target, word, 0, 50)
    examples = [(entry, occurrences(word, entry.source_text)) for entry in found]
    examples = [(entry, spans) for entry, spans in examples if spans]
    context = memory.normal(body.context)
    examples.sort(key=lambda pair: -memory.likeness(context, memory.normal(pair[0].source_text)))
    return {
        "word": word,
        "entries": [
            {
                "headword": entry.headword,
                "reading": entry.reading,
                "kind": entry.kind,
                "senses": entry.senses,
                "dictionary": name,
            }
            for entry, name in entries
        ],
        "examples": [
            {"source": entry.source_text, "target": entry.target_text, "source_spans": spans, "entry": entry.id}
            for entry, spans in examples[:_EXAMPLES]
        ],
    }


@router.get("/dictionaries")
def listed(server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Dictionaries that were loaded."""
    with server.database.read() as session:
        return page.of([_values(dictionary) for dictionary in dictionaries.listed(session, caller.owner)])


@router.post("/dictionaries", status_code=201)
def load(
    file: Annotated[UploadFile, File()],
    name: Annotated[str, Form(min_length=1, max_length=200)],
    format: Annotated[Literal["cedict", "tsv"], Form()],
    server: Ours,
    caller: Writer,
    source: Annotated[str, Form(max_length=20)] = "zh",
    target: Annotated[str, Form(max_length=20)] = "en",
) -> dict[str, Any]:
    """Load a dictionary: CC-CEDICT, or a table with tabs."""
    source, target = server.directions.check(source, target)
    reader = read_cedict if format == "cedict" else read_dictionary_tsv
    entries = []
    for entry in reader(file.file.read()):
        entries.append(entry)
        if len(entries) > _MOST_ENTRIES:
            break
    with server.database.write() as session:
        return _values(dictionaries.create(session, caller.owner, name, source, target, entries[:_MOST_ENTRIES]))


@router.delete("/dictionaries/{dictionary}", status_code=204)
def remove(dictionary: str, server: Ours, caller: Writer) -> None:
    """Delete a dictionary."""
    with server.database.write() as session:
        dictionaries.remove(session, caller.owner, dictionary)


def _values(dictionary: Dictionary) -> dict[str, Any]:
    return {
        "id": dictionary.id,
        "name": dictionary.name,
        "source": dictionary.source,
        "target": dictionary.target,
        "size": dictionary.size,
    }
