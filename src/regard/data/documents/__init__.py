"""Documents taken apart into segments and put together again, everything but the text untouched.

::

    from regard.data.documents import open_document

    document = open_document("report.docx")
    for segment in document.segments:
        print(segment.id, segment.source)  # 1 Please read <1>all</1> of this.
    data = document.with_translations({"1": "Bitte lesen Sie <1>alles</1>."})

A format is one module that finds holes in a text: where a segment stands, what its tags stand for and
how plain text is written there. Zip archives, encodings, limits and the writing are the same for all.
"""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.data.documents.document import Document as Document
    from regard.data.documents.document import DocumentSegment as DocumentSegment
    from regard.data.documents.document import open_document as open_document
    from regard.data.documents.formats import FORMATS as FORMATS
    from regard.data.documents.formats import Format as Format
    from regard.data.documents.formats import format_of as format_of
    from regard.data.documents.limits import Limits as Limits
    from regard.data.documents.marked import Marked as Marked
    from regard.data.documents.marked import Tag as Tag

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Document": "document",
        "DocumentSegment": "document",
        "open_document": "document",
        "FORMATS": "formats",
        "Format": "formats",
        "format_of": "formats",
        "Limits": "limits",
        "Marked": "marked",
        "Tag": "marked",
    },
)
