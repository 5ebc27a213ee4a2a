"""How a text divides: scripts, characters as a reader counts them, reading order, and where a line may break."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple, TypeVar

Piece = TypeVar("Piece")


class Script(NamedTuple):
    """A script: the code points it owns, the font families to try first (names of files, lower case), a Debian package."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    families: tuple[str, ...]
    package: str


def _script(name: str, spans: str, families: str = "", package: str = "fonts-noto-core") -> Script:
    pairs = (span.split("-") for span in spans.split())
    ranges = tuple((int(pair[0], 16), int(pair[-1], 16)) for pair in pairs)
    return Script(name, ranges, (*families.split(), f"notosans{name}", f"notosans{name}ui"), package)


LATIN = _script(
    "latin",
    "",  # whatever no other script owns
    "inter notosans dejavusans helveticaneue helvetica arial segoeui roboto opensans liberationsans freesans ubuntu "
    "cantarell sfns lucidagrande verdana tahoma",
)
EMOJI = _script(
    "emoji",
    # The characters that are emoji without a variation selector.
    "231A-231B 23E9-23EC 23F0 23F3 25FD-25FE 2614-2615 2648-2653 267F 2693 26A1 26AA-26AB 26BD-26BE 26C4-26C5 26CE 26D4 "
    "26EA 26F2-26F3 26F5 26FA 26FD 2705 270A-270B 2728 274C 274E 2753-2755 2757 2795-2797 27B0 27BF 2B1B-2B1C 2B50 2B55 "
    "1F004 1F0CF 1F18E 1F191-1F19A 1F1E6-1F1FF 1F201-1F265 1F300-1F6FF 1F7E0-1F7F0 1F900-1FAFF",
    "notocoloremoji applecoloremoji seguiemj twemoji twemojimozilla joypixels notoemoji",
    "fonts-noto-color-emoji",
)
CJK = _script(
    "cjk",
    "1100-11FF 2E80-A4CF A960-A97F AC00-D7FF F900-FAFF FE30-FE4F FF00-FFEF 20000-3FFFF",
    "notosanscjk notosanscjksc notosanscjkjp notosanssc sourcehansans sourcehansanssc wqymicrohei wqyzenhei "
    "droidsansfallback droidsansfallbackfull pingfang hiraginosansgb hiraginosans applesdgothicneo msyh microsoftyahei "
    "yugoth yugothic meiryo malgun malgungothic simhei",
    "fonts-noto-cjk",
)
_SCRIPTS = (
    EMOJI,
    CJK,
    _script("arabic", "600-6FF 750-77F 870-8FF FB50-FDFF FE70-FEFE", "notonaskharabic geezapro segoeui"),
    _script("hebrew", "590-5FF FB1D-FB4F", "arialhebrew"),
    _script("armenian", "530-58F"),
    _script("syriac", "700-74F"),
    _script("devanagari", "900-97F A8E0-A8FF", "kohinoordevanagari nirmala mangal lohitdevanagari"),
    _script("bengali", "980-9FF", "nirmala"),
    _script("gurmukhi", "A00-A7F", "nirmala"),
    _script("gujarati", "A80-AFF", "nirmala"),
    _script("oriya", "B00-B7F", "nirmala"),
    _script("tamil", "B80-BFF", "nirmala"),
    _script("telugu", "C00-C7F", "nirmala"),
    _script("kannada", "C80-CFF", "nirmala"),
    _script("malayalam", "D00-D7F", "nirmala"),
    _script("sinhala", "D80-DFF", "nirmala"),
    _script("thai", "E00-E7F", "thonburi leelawui leelawadeeui garuda loma"),
    _script("lao", "E80-EFF", "leelawui"),
    _script("tibetan", "F00-FFF", "notoseriftibetan himalaya"),
    _script("myanmar", "1000-109F AA60-AA7F", "mmrtext"),
    _script("georgian", "10A0-10FF 1C90-1CBF 2D00-2D2F"),
    _script("ethiopic", "1200-139F 2D80-2DDF", "ebrima"),
    _script("khmer", "1780-17FF", "leelawui"),
)


@lru_cache(maxsize=4096)
def script_of(cluster: str) -> Script:
    """The script of a character or grapheme cluster; LATIN for all that no other script owns, marks and digits too."""
    code = ord(cluster[0])
    if "\ufe0f" in cluster or "\u20e3" in cluster:
        return EMOJI
    for script in _SCRIPTS if code >= 0x530 else ():
        if any(low <= code <= high for low, high in script.ranges) and not (script is EMOJI and "\ufe0e" in cluster):
            return script
    return LATIN


def tongue(text: str) -> str:
    """Whose forms of the Han characters `text` wants, as fonts name them: jp, kr or sc."""
    return "jp" if re.search("[\u3040-\u30ff]", text) else "kr" if re.search("[\uac00-\ud7a3]", text) else "sc"


def invisible(char: str) -> bool:
    """Whether a font need not have it: joiners, variation selectors, direction marks, tags, line ends."""
    return unicodedata.category(char) in ("Cf", "Cc") or "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


# ---- characters


def _joins(before: str, char: str) -> bool:
    last = before[-1]
    if char < "\u0300":
        return last == "\r" and char == "\n"
    if last in "\r\n":
        return False
    if unicodedata.category(char)[0] == "M" or char in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f":
        return True
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":
        return True
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return len(before) == 1 and "\U0001f1e6" <= before <= "\U0001f1ff"
    if "\u1100" <= char <= "\u11ff":
        vowel = "\u1160" <= last <= "\u11ff" or "\uac00" <= last <= "\ud7a3"
        return "\u1100" <= last <= "\u115f" or (char >= "\u1160" and vowel)
    if last == "\u200d":
        return unicodedata.category(char) in ("So", "Cn")
    return unicodedata.combining(last) == 9 and unicodedata.category(char) == "Lo"


def clusters(text: str) -> list[str]:
    """`text` in grapheme clusters: what a reader takes for one character. Joined again they are the text."""
    found: list[str] = []
    for char in text:
        if found and _joins(found[-1], char):
            found[-1] += char
        else:
            found.append(char)
    return found


# ---- reading order


def leftward(text: str) -> bool:
    """Whether a paragraph reads from right to left: its first strong character says so."""
    kinds = (unicodedata.bidirectional(char) for char in text)
    return next((kind != "L" for kind in kinds if kind in ("L", "R", "AL")), False)


def levels(text: str, rtl: bool) -> list[int]:
    """The embedding level of each character of one paragraph: even reads rightward, odd leftward.

    The Unicode bidirectional algorithm without explicit embeddings and bracket pairs. `rtl` is the paragraph's direction.
    """
    base = int(rtl)
    kinds = _weak([unicodedata.bidirectional(char) or "L" for char in text], "R" if rtl else "L")
    sides = ["L" if kind == "L" else "R" if kind in ("R", "EN", "AN") else "" for kind in kinds]
    found, at = [0] * len(kinds), 0
    while at < len(kinds):
        end = at + 1
        if sides[at]:
            rises = {"L": base, "R": 1 - base, "EN": 2 - base, "AN": 2 - base}
            found[at] = base + rises[kinds[at]]
        else:
            while end < len(kinds) and not sides[end]:
                end += 1
            before = sides[at - 1] if at else "RL"[not rtl]
            after = sides[end] if end < len(kinds) else "RL"[not rtl]
            side = before if before == after else "RL"[not rtl]
            found[at:end] = [base + (side == "RL"[rtl])] * (end - at)
        at = end
    for index in range(len(text) - 1, -1, -1):  # rule L1: a line's last spaces stay at its end
        if not text[index].isspace():
            break
        found[index] = base
    return found


def _weak(kinds: list[str], side: str) -> list[str]:
    """Rules W1 to W7: what marks and numbers count as, given the letters before them."""
    strong, before = side, side
    for index, kind in enumerate(kinds):
        if kind in ("NSM", "BN"):
            kind = before
        after = kinds[index + 1] if index + 1 < len(kinds) else ""
        if kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            kind = "AN"
        elif kind in ("ES", "CS") and before in ("EN", "AN") and after in ("EN", "AN") and (kind == "CS" or before == "EN"):
            kind = before
        elif kind == "ET" and "EN" in (before, after) and strong != "AL":
            kind = "EN"
        kinds[index] = before = kind
    strong = side
    for index, kind in enumerate(kinds):
        if kind in ("L", "R", "AL"):
            strong = kinds[index] = "L" if kind == "L" else "R"
        elif kind == "EN" and strong == "L":
            kinds[index] = "L"
        elif kind not in ("EN", "AN"):
            kinds[index] = "ON"
    return kinds


def visual(pieces: list[tuple[int, Piece]]) -> list[Piece]:
    """Pieces with their levels, in reading order, put in the order in which they stand from left to right."""
    order = list(pieces)
    for level in range(max((level for level, _ in order), default=0), 0, -1):
        start = 0
        while start < len(order):
            end = start
            while end < len(order) and order[end][0] >= level:
                end += 1
            order[start:end] = reversed(order[start:end])
            start = end + 1
    return [piece for _, piece in order]


# ---- lines

_NO_START = frozenset(
    "、。，．・：；？！゛゜ヽヾゝゞ々ー’”）〕］｝〉》」』】〙〗〟…‥‼⁇⁈⁉%％℃,.:;?!)]}ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"
)
_NO_END = frozenset("‘“（〔［｛〈《「『【〘〖〝([{￥＄$¥")


def units(text: str) -> list[tuple[str, bool]]:
    """A paragraph in parts between which a line may break, each with whether a space follows it.

    Words; single Chinese and Japanese characters, with the marks that must not start or end a line; parts after a hyphen.
    """
    found: list[tuple[str, bool]] = []
    part = ""
    for cluster in clusters(text):
        if cluster.isspace() and cluster not in ("\u00a0", "\u202f", "\u2007"):
            if part:
                found.append((part, True))
            elif found:
                found[-1] = (found[-1][0], True)
            part = ""
            continue
        if part and _may_break(part[-1], cluster):
            found.append((part, False))
            part = ""
        part += cluster
    return [*found, (part, False)] if part else found


def _may_break(last: str, cluster: str) -> bool:
    if last in _NO_END or cluster[0] in _NO_START:
        return False
    if last in "-\u2013\u2014\u200b":
        return cluster[0].isalpha()
    wide = ("\u2e80" <= last <= "\u9fff" or "\uff00" <= last <= "\uff65" or script_of(last) is CJK) and last < "\uac00"
    begins = script_of(cluster) is CJK and not "\uac00" <= cluster[0] <= "\ud7a3"
    return wide or begins
