"""One spelling for what an answer can say in several: LaTeX, Unicode, plain text and markdown.

Nothing here looks at the meaning; everything is a pass over at most ``MAX_LENGTH`` characters.
"""

from __future__ import annotations

import re

MAX_LENGTH = 512
MAX_LAYERS = 12
"""Layers of delimiters, boxes and emphasis that are taken off."""

_COMMANDS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac", "nicefrac"), "\\frac"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "\\le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "\\ge"),
    **dict.fromkeys(("ne", "not="), "\\neq"),
    **dict.fromkeys(("mbox", "textnormal", "textbf", "textit", "textrm", "texttt", "textsf", "emph"), "\\text"),
    **dict.fromkeys(("mathrm", "mathbf", "mathsf", "mathit", "bold", "boldsymbol", "operatorname"), "\\text"),
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    **dict.fromkeys(("quad", "qquad", "enspace", "thinspace", "displaystyle", "textstyle", "limits"), " "),
    **dict.fromkeys(("left", "right", "bigl", "bigr", "Bigl", "Bigr", "big", "Big", "bigg", "Bigg"), ""),
    **dict.fromkeys(("varnothing", "empty"), "\\emptyset"),
    **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("langle", "lparen"), "("),
    **dict.fromkeys(("rangle", "rparen"), ")"),
    **dict.fromkeys(("vert", "lvert", "rvert", "mid"), "|"),
    **dict.fromkeys(("ldots", "cdots", "dotsc"), "\\dots"),
    **dict.fromkeys(("land", "wedge"), "\\text{ and }"),
    **dict.fromkeys(("lor", "vee"), "\\text{ or }"),
    "lt": "<", "gt": ">", "div": "/", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]",
    "deg": "\\degree", "varphi": "\\phi", "varepsilon": "\\epsilon", "dollar": "\\$", "percent": "\\%",
}  # fmt: skip
_CHARACTERS = {
    **dict.fromkeys("\u2212\u2010\u2011", "-"),
    **dict.fromkeys("\u00d7\u00b7\u22c5\u2217", "*"),
    **dict.fromkeys("\u2264\u2a7d\u2266", "\\le "),
    **dict.fromkeys("\u2265\u2a7e\u2267", "\\ge "),
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("\u00b0\u00ba", "\\degree "),
    **dict.fromkeys("\u2248\u2243\u2245", "\\approx "),
    **dict.fromkeys("\u2018\u2019\u2032", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", "\\,"),
    **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", ""),
    "\uff1c": "<", "\uff1e": ">", "\uff1d": "=",
    "\u2260": "\\neq ", "\u221e": "\\infty ", "\u03c0": "\\pi ", "\u221a": "\\sqrt ", "\u222a": "\\cup ",
    "\u2229": "\\cap ", "\u2208": "\\in ", "\u2205": "\\emptyset ", "\u00b1": "\\pm ", "\u03b8": "\\theta ",
    "\u211d": "\\mathbb{R}", "\u2026": "\\dots ", "\uff0c": ",", "\u2220": "\\angle ", "\u03b1": "\\alpha ",
    "\u03b2": "\\beta ", "\u03bb": "\\lambda ", "\u03bc": "\\mu ", "\u03c6": "\\phi ", "\u03c9": "\\omega ",
    "\u27e8": "(", "\u27e9": ")", "\u3002": ".",
}  # fmt: skip
_RAISED = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_PARTS = {
    "\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3", "\u2155": "1/5",
    "\u2156": "2/5", "\u2157": "3/5", "\u2158": "4/5", "\u2159": "1/6", "\u215a": "5/6", "\u215b": "1/8",
    "\u215c": "3/8", "\u215d": "5/8", "\u215e": "7/8",
}  # fmt: skip
_TRANSLATED = str.maketrans(
    _CHARACTERS | {sign: "\\frac{{{}}}{{{}}}".format(*part.split("/")) for sign, part in _PARTS.items()}
)
_TAG = re.compile(r"</?(?:b|strong|i|em|u|p|span)>", re.IGNORECASE)
_SPOKEN_FRACTION = re.compile(r"(-?\d{1,20}) over (\d{1,20})")
_RAISED_RUN = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_COMMAND = re.compile(r"\\(not\s?=|[A-Za-z]+)")
_SIGNS = (
    ("<=", "\\le "), ("=<", "\\le "), (">=", "\\ge "), ("!=", "\\neq "), ("==", "="), ("{,}", ","), ("\\!", ""),
    ("~", " "), ("\\textdollar", "\\$"), ("\\(", ""), ("\\)", ""), ("\\[", ""), ("\\]", ""), ("\\text {", "\\text{"),
    ("\\'", "'"),
)  # fmt: skip
_DIGIT_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:\\[,;:]\d{3})+(?!\d)")
_SQUEEZED = re.compile(r"(?<=\d)(?:,|\{,\})\s?\\!\s?(?=\d{3}(?!\d))")
_THIN = re.compile(r"\\[,;:]")
_DEGREE = re.compile(r"\^\s?(?:\{\s?\\(?:circ|degree)\s?\}|\\(?:circ|degree)(?![a-z]))")
# A dash between two numbers is a range: only one that nothing stands before is a minus.
_DASH = re.compile("(^|[(\\[{,=<>^*/+:;]\\s?|\\$\\s?|(?:and|or) )[\u2012-\u2015]\\s?(?=[\\w.\\\\(])")
_ROOT = re.compile("(?:\u221a|(?<![A-Za-z\\\\])sqrt)\\s?(\\d+(?:\\.\\d+)?)")
_SPACE = re.compile(r"\\[,;: ]|\\phantom\s?(?:\{[^{}]*\}|-(?=\d))|\\[hv]space\{[^{}]*\}")
_OVER = re.compile(r"\{([^{}]{1,80})\\over(?![a-z])([^{}]{1,80})\}")
# As pandoc has it: no space inside the dollars, no digit behind them. "$5 and $6" are prices.
_INLINE = re.compile(r"(?<![\\$])\$(?![\s$])((?:[^$\n]|(?<=\\)\$){1,300}?)(?<![\s\\])\$(?![\d$])")
_EMPHASIS = re.compile(r"(?<![\w*)\]}])(\*\*|__)(?=\S)(.{1,400}?)(?<=\S)\1(?![\w*(\[{])")
_PAIRS = (
    ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("__", "__"), ("*", "*"), ("`", "`"),
    ('"', '"'), ("'", "'"), ("\u201c", "\u201d"),
)  # fmt: skip
_LOOSE = re.compile(r"(?<![\w},.])\s+|\s+(?![\w\\,.])")
_WHOLE = re.compile(r"\\(?:f?boxed|fbox|text|mathrm|mathbf|textbf|mbox|displaystyle)\s?\{")
_LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct|right)\s+)?answer\s*(?:is|:|=)\s*:?\s*|=\s*"
    r"|(?:option|choice)\s+(?=\(?[A-J]\b)|(?:\\approx|\\simeq|\\sim)\s*|(?:approximately|approx\.?|about|roughly|exactly)\s+",
    re.IGNORECASE,
)


class UnreadableError(ValueError):
    """The text is too long, too deep or no expression."""


def cleaned(text: str) -> str:
    """An answer without delimiters, emphasis and boxes around it, in one spelling.

    Raises:
        UnreadableError: more than ``MAX_LENGTH`` characters.
    """
    if len(text) > MAX_LENGTH:
        raise UnreadableError(f"an answer has at most {MAX_LENGTH} characters, got {len(text)}")
    text = _unwrapped(_TAG.sub("", text))
    text = _EMPHASIS.sub(r"\2", _INLINE.sub(r" \1 ", text))
    text = _RAISED_RUN.sub(lambda found: "^{" + found[0].translate(_RAISED) + "}", _ROOT.sub(r"\\sqrt{\1}", text))
    text = _DASH.sub(r"\1-", text).translate(_TRANSLATED)
    text = _SQUEEZED.sub("", text).replace("\\\\", "\\newrow ")
    text = _COMMAND.sub(_command, text)
    for spelling, ours in _SIGNS:
        text = text.replace(spelling, ours)
    text = _DEGREE.sub(r"\\degree ", text)
    text = _DIGIT_GROUPS.sub(lambda found: _THIN.sub("", found[0]), text)
    text = _SPACE.sub(" ", text)
    if len(text) > 2 * MAX_LENGTH:
        raise UnreadableError("an answer of signs that are long in LaTeX")
    for _ in range(3):
        text = _OVER.sub(r"{\\frac{\1}{\2}}", text)
    return _unwrapped(_SPOKEN_FRACTION.sub(r"\1/\2", " ".join(text.split())))


def tight(text: str) -> str:
    """A cleaned answer without the spaces that separate nothing; those at points, commas, words and numbers stay."""
    return _LOOSE.sub("", text)


def _command(found: re.Match[str]) -> str:
    name = found[1].replace(" ", "")
    spelt = _COMMANDS.get(name)
    if spelt is None:
        return found[0]
    # What follows must not grow together with a command: \leqslant3, \cdot2.
    return spelt + " " if spelt.startswith("\\") and spelt[-1].isalpha() and spelt != "\\text" else spelt


def _unwrapped(text: str) -> str:
    """A text without what stands around it and says nothing: delimiters, emphasis, boxes, lead-ins, full stops."""
    for _ in range(MAX_LAYERS):
        before = text
        text = text.strip()
        if not text.endswith(("\\.", "\\,", "\\;", "\\:")):
            text = text.rstrip(".,;:?").rstrip() if not text.endswith("...") else text
        text = text.rstrip("\\ ") if text.endswith("\\ ") else text
        for opening, closing in _PAIRS:
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                inside = text[len(opening) : -len(closing)]
                if opening not in (bare := inside.replace("\\$", "")) and closing not in bare:
                    text = inside.strip()
        if (whole := _WHOLE.match(text)) and text.endswith("}") and _closes_last(text, whole.end()):
            text = text[whole.end() : -1].strip()
        text = text[lead.end() :] if (lead := _LEAD.match(text)) else text
        if text == before:
            break
    return text


def _closes_last(text: str, start: int) -> bool:
    """Whether the last character closes the brace that was opened just before ``start``."""
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place == len(text) - 1
    return False
