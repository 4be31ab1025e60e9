"""Which formats of documents there are."""

from dataclasses import dataclass
from pathlib import PurePath

from regard.base.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Format:
    """A kind of document."""

    name: str
    """Short name, such as docx."""
    suffixes: tuple[str, ...]
    """How names of such files end."""
    media_type: str
    """MIME type."""
    title: str
    """What people call it."""
    module: str
    """Module of this package that finds its segments."""
    function: str = "parse"
    parts: str = ""
    """Of a zip archive, which entries hold text, as a regular expression."""
    markup: bool = False
    """Whether a character that the encoding lacks may be written as a reference."""


_OFFICE = "application/vnd.openxmlformats-officedocument."
_WORD_PARTS = r"word/(document|header\d*|footer\d*|footnotes|endnotes)\.xml"
_SLIDE_PARTS = r"ppt/(slides/slide|notesSlides/notesSlide|diagrams/data)\d+\.xml"
FORMATS = {
    format.name: format
    for format in (
        Format("txt", (".txt",), "text/plain", "Plain text", "plain"),
        Format("md", (".md", ".markdown"), "text/markdown", "Markdown", "markdown"),
        Format("html", (".html", ".htm", ".xhtml"), "text/html", "HTML", "html", markup=True),
        Format("srt", (".srt",), "application/x-subrip", "SubRip subtitles", "subtitles", "parse_srt"),
        Format("vtt", (".vtt",), "text/vtt", "WebVTT subtitles", "subtitles", "parse_vtt"),
        Format("po", (".po", ".pot"), "text/x-gettext-translation", "GNU gettext catalogue", "gettext"),
        Format("xliff", (".xlf", ".xliff"), "application/xliff+xml", "XLIFF", "xliff", markup=True),
        Format("tmx", (".tmx",), "application/x-tmx+xml", "Translation memory", "tmx", markup=True),
        Format(
            "docx", (".docx",), f"{_OFFICE}wordprocessingml.document", "Word", "office", "parse_word", _WORD_PARTS, True
        ),
        Format(
            "odt",
            (".odt",),
            "application/vnd.oasis.opendocument.text",
            "OpenDocument text",
            "opendocument",
            parts=r"(content|styles)\.xml",
            markup=True,
        ),
        Format(
            "pptx",
            (".pptx",),
            f"{_OFFICE}presentationml.presentation",
            "PowerPoint",
            "office",
            "parse_slides",
            _SLIDE_PARTS,
            True,
        ),
        Format("csv", (".csv",), "text/csv", "Comma-separated values", "table", "parse_csv"),
        Format("tsv", (".tsv",), "text/tab-separated-values", "Tab-separated values", "table", "parse_tsv"),
        Format("json", (".json",), "application/json", "JSON", "json_strings"),
    )
}


def format_of(name: str | PurePath) -> str | None:
    """Name of the format that a file's name stands for; None where it stands for none."""
    suffix = PurePath(name).suffix.lower()
    return next((format.name for format in FORMATS.values() if suffix in format.suffixes), None)


def get_format(name: str) -> Format:
    """A format by its name.

    Raises:
        DataError: there is no such format.
    """
    if name not in FORMATS:
        raise DataError(f"'{name}' is not a format of documents.{did_you_mean(name, FORMATS)}")
    return FORMATS[name]
