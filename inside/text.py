"""Text for readers: suggestions for misspelt names, natural order, durations, values."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date

ISOLATE = "\u2068", "\u2069"  # Unicode's first strong isolate and its end: what stands between does not reorder the rest
_LITERAL, _PLACE = re.compile("\u2068([^\u2068\u2069]*)\u2069"), "\ue000"  # a private sign, which names cannot hold


def did_you_mean(word: str, legal: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Text for an error message: the valid names nearest to `word`, or all of them if none is near."""
    named = {str(name).lower(): str(name) for name in legal}
    near = difflib.get_close_matches(str(word)[:200].lower(), named, n=3, cutoff=cutoff)
    if near:
        return f"did you mean {' or '.join(repr(named[name]) for name in near)}?"
    return f"choose from {', '.join(list(named.values())[:40])}."


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxlong, _BRIEF.maxother = 4, 120, 60, 120
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = 20


def brief(value: object) -> str:
    """The repr of a value for a message, shortened where it is long, deep or huge."""
    try:
        return _shortened(_BRIEF.repr(value), 300)
    except ValueError:  # Python does not print whole numbers of more than 4300 digits
        return "a value with a number of thousands of digits"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most * 2 // 3]} … {text[-most // 3:]}"


def errors_of(check: Callable[..., object], *arguments: object, **options: object) -> list[str]:
    """[the sentence] of the ValueError that a check raises, or those of `raise_all`; [] where it raises none."""
    try:
        check(*arguments, **options)
    except ValueError as error:
        told = str(error)
        return told.split("\n- ")[1:] if re.match(r"\d+ things are wrong:\n- ", told) else [told]
    return []


def raise_all(problems: Iterable[str], most: int = 20) -> None:
    """Raise one ValueError that tells all problems, each once and shortened where it is very long; none: nothing."""
    found = [_shortened(problem, 1500) for problem in dict.fromkeys(problems)]
    if len(found) == 1:
        raise ValueError(found[0])
    if found:
        more = [f"and {len(found) - most:,} more"] if len(found) > most else []
        raise ValueError("\n- ".join([f"{len(found)} things are wrong:", *found[:most], *more]))


def natural_sort(names: Iterable[str]) -> list[str]:
    """Sorted as a reader would sort: class 2 before class 10, regardless of case and machine."""
    return sorted(names, key=lambda name: ([(part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold())
                                            for part in re.split(r"(\d+)", name) if part], name))


def format_duration(seconds: float) -> str:
    """Seconds in readable form: 48 s, 3 min 05 s, 2 h 10 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def literal(name: object) -> str:
    """A name from outside, of a class or a file, for a sentence: to be shown as it is, whatever signs it holds.

    A name of letters and digits stays as it is. Any other is put between Unicode's isolates, which readers do not see: what
    is right-to-left does not reorder the sentence, and `set_aside` tells it from markup. Signs that cannot be seen,
    such as line breaks, are written as escapes (\\n).
    """
    seen = visible(str(name))
    harmless = re.fullmatch(r"[^\W\d_]([\w .,/-]*[^\W_])?|\d+", seen) and not any(
        unicodedata.bidirectional(sign) in ("R", "AL") for sign in seen)
    return seen if harmless else ISOLATE[0] + seen + ISOLATE[1]


def visible(text: str, keep: str = "") -> str:
    """Text whose control, format and private characters, but those of `keep`, are escapes; emoji keep their joiners."""
    unseen = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")}
    unseen -= {"\u200c", "\u200d", *keep}
    return text.translate({ord(sign): sign.encode("unicode_escape").decode() for sign in unseen})


def for_terminal(text: str) -> str:
    """Lines for a terminal, which no name in them can colour, clear or overwrite; the marks of `literal` are left out."""
    return visible(text.translate(dict.fromkeys(map(ord, ISOLATE))), keep="\n\t")


def set_aside(text: str) -> tuple[str, list[str]]:
    """Text with a sign for each name that `literal` has marked, and these names; `put_back` has them return."""
    return _LITERAL.sub(_PLACE, text.replace(_PLACE, "")), _LITERAL.findall(text)


def put_back(text: str, names: Sequence[str]) -> str:
    """Text in which each name is back in its place, in the form that is given here."""
    given = iter(names)
    return re.sub(_PLACE, lambda _: next(given), text)


def slug(name: str) -> str:
    """A name as part of a file name and an anchor; different names give different ones."""
    plain = re.sub(r"[^\w.-]", "_", name)[:80]
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode(errors='surrogatepass')):08x}"


def plain_text(markdown: str) -> str:
    """A sentence without Markdown's marks of emphasis and code (**x**, *x*, `x`), for alternative texts; names stay."""
    text, names = set_aside(markdown)
    for marked in (r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])", r"`([^`]+)`"):
        text = re.sub(marked, r"\1", text, flags=re.DOTALL)
    return put_back(text, [ISOLATE[0] + name + ISOLATE[1] for name in names])


def without_passwords(text: str) -> str:
    """Text in which the passwords of addresses such as postgresql://user:password@host?password=password are left out."""
    text = re.sub(r"(://[^:/@\s]+):[^@\s]+@", r"\1:…@", text)
    return re.sub(r"([?&]passw(?:or)?d=)[^&\s'\"]+", r"\1…", text, flags=re.IGNORECASE)


def written_day(day: date) -> str:
    """A date in words: 3 November 2026."""
    return f"{day.day} {day:%B %Y}"  # %-d is not known to Windows


def format_bytes(size: float) -> str:
    """Bytes in readable form: 3 MB, 1.4 GB, 2.0 TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e6:.0f} MB"


def format_number(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with so many decimals: a real minus sign, but none before 0, with `sign` a plus; – for NaN."""
    if math.isnan(value):
        return "–"
    return f"{round(float(value), digits) + 0.0:{'+' * sign},.{digits}f}".replace("-", "−")


def format_significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits: 5,150, 59.5, 0.00123 and, below 0.001, 1.37·10⁻⁶; – for NaN."""
    if not math.isfinite(value) or value == 0:
        return format_number(value, 0)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if -3 <= int(exponent) < 15:
        return format_number(float(f"{mantissa}e{exponent}"), max(0, digits - 1 - int(exponent)))
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_share(share: float, digits: int = 3, whole: float = 1) -> str:
    """A share or score from 0 to `whole`: as `format_number`, with as many more decimals as `round_share` leaves it."""
    return format_number(share, _decimals(share, digits, whole))


def round_share(share: float, digits: int = 3) -> float:
    """A share as `format_share` shows it: with so many decimals, more where it would else be 0 or 1 without being it."""
    return round(float(share), _decimals(share, digits, 1))


def _decimals(share: float, digits: int, whole: float) -> int:
    value, ends = abs(float(share)), (0, whole)
    while digits < 12 and round(value, digits) in ends and round(value, 12) not in ends:  # beyond 12: rounding errors
        digits += 1
    return digits


def percent(share: float, digits: int = 1) -> str:
    """A share in percent with so many decimals, and as many more as it takes to distinguish it from 0 and from 100."""
    return f"{format_share(100 * share, digits, 100)}%"


def points(share: float) -> str:
    """A difference of shares in percentage points with one decimal, more if needed to tell it from 0; "0" for none."""
    for digits in range(1, 7):
        text = f"{100 * share:.{digits}f}"
        if float(text):
            return text.replace("-", "−")
    return "0"


def change_in_points(old: float, new: float) -> float:
    """new − old in percentage points, of the two shares as `percent` shows them: a difference that readers can check."""
    first, last = (round(100 * float(share), _decimals(100 * share, 1, 100)) for share in (old, new))
    return last - first


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names as a list in a sentence: a, b and c; the first `most` of them and the number of the others."""
    names = list(names) if len(names) <= most else [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_value(value: object) -> str:
    """The value of an option in readable form: 0.00031 with two digits, lists without spaces after their commas."""
    if isinstance(value, float):
        return f"{value:.2g}"
    return str(value).replace(", ", ",")
