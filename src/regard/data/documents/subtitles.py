"""Subtitles, SubRip (srt) and WebVTT: a segment a cue, or one a speaker where lines begin with a dash."""

import re
from html import unescape

from regard.data.documents.skeleton import Hole, Item, make_hole, text_items

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_TIMES = re.compile(r"\s*(?:\d+:)?\d+:\d+[.,]\d+\s*-->")
_TAG = re.compile(r"<(?P<slash>/?)(?P<name>[a-zA-Z]+)[^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")
_SPEAKER = re.compile(r"\s*(?:<[^<>]*>\s*)*[-–—‐]\s?\S")
_BREAK = re.compile(r"\s*[\r\n]\s*")


def parse_srt(text: str) -> list[Hole]:
    """Holes of a SubRip document."""
    return _parse(text, vtt=False)


def parse_vtt(text: str) -> list[Hole]:
    """Holes of a WebVTT document; notes, styles and regions are left alone."""
    return _parse(text, vtt=True)


def _parse(text: str, vtt: bool) -> list[Hole]:
    holes: list[Hole] = []
    start = end = -1  # of the lines of a cue
    times = ""
    for match in _LINE.finditer(text):
        line = match[1]
        if _TIMES.match(line):
            times, start = line.strip(), match.end()
        elif start >= 0 and line.strip():
            if _SPEAKER.match(line) and end > start:
                holes += _hole(text, start, end, times, vtt)
                start = match.start()
        elif start >= 0:
            holes += _hole(text, start, end, times, vtt)
            start = -1
        end = match.end(1)
    return holes


def _hole(text: str, start: int, end: int, context: str, vtt: bool) -> list[Hole]:
    items: list[Item] = []
    place = start
    for match in _TAG.finditer(text, start, end):
        if vtt and match[0].startswith("{"):  # a position in SubRip, text in WebVTT
            continue
        items += _lines(text, place, match.start(), vtt)
        kind = "alone" if not match["name"] else "close" if match["slash"] else "open"
        items.append(Item(kind, *match.span(), name=match["name"] or ""))
        place = match.end()
    hole = make_hole(items + _lines(text, place, end, vtt), _escape_vtt if vtt else _escape_srt, context)
    return [hole] if hole else []


def _lines(text: str, start: int, end: int, vtt: bool) -> list[Item]:
    """Text whose line ends, which are there for the width of the screen only, are tags that read as a space."""
    items: list[Item] = []
    place = start
    for match in _BREAK.finditer(text, start, end):
        items += text_items(text, place, match.start(), unescape if vtt else str)
        items.append(Item("alone", *match.span(), reads=" "))
        place = match.end()
    return items + text_items(text, place, end, unescape if vtt else str)


def _escape_srt(text: str) -> str:
    return _BREAK.sub(" ", text).replace("-->", "->")  # a blank line or an arrow would end the cue


def _escape_vtt(text: str) -> str:
    return _BREAK.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
