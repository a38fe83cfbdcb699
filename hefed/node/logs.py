"""What a process says while it runs: one line a record on standard error, plain for people or JSON for a log server.

Relies on logging. A line must stay one line whatever stands in the words, as some are a stranger's; it must never hold
a secret or a patient. So an exception is shown by its kind and its places in the code, not by its words or values, the
words of other libraries are left out, since they may quote what they were given, and of `extra` only FIELDS are taken.
"""

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from json import dumps
from traceback import walk_tb
from types import TracebackType
from typing import Any, TextIO

FIELDS = ("study", "peer", "phase", "round", "bytes")
"""What a record may say apart from its words: log.info("...", extra={"study": digest, "peer": name})."""
MAX_WORDS = 4000
"""Letters of a record; what is longer is cut."""
MAX_VALUE = 128
"""Letters of one of FIELDS."""
MAX_PLACES = 20
"""Places of an exception: the innermost, where it was raised."""

LINES_PER_HOUR = 200
"""Lines that one other party can bring about; more are left out, so that it cannot fill the disk with them."""

_OURS = ("hefed", "__main__")
_log = logging.getLogger(__name__)


def configure(*, json: bool) -> None:
    """Sends the log of this process to standard error from now on, and with it warnings and what would end the process
    with a traceback. `json`: one object a line, with `time` (ISO 8601, UTC), `level`, `logger`, `words`, those of
    FIELDS that are known, and `exception` where there is one; otherwise time, level and words.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    logging.captureWarnings(True)


class BoundedLog:
    """The lines whose number or words are up to one other party: at most LINES_PER_HOUR in an hour."""

    def __init__(self, logger: logging.Logger, who: str) -> None:
        """`who` brings them about, as the last line before the silence says."""
        self._logger, self._who = logger, who
        self._lines, self._since = 0, time.monotonic()

    def log(self, level: int, words: str) -> None:
        """One line, or none when there were too many."""
        now = time.monotonic()
        if now - self._since > 3600:
            self._lines, self._since = 0, now
        self._lines += 1
        if self._lines < LINES_PER_HOUR:
            self._logger.log(level, "%s", words)
        elif self._lines == LINES_PER_HOUR:
            self._logger.error(
                "%s has brought about %d lines in an hour; further ones are left out", self._who, self._lines
            )


def one_line(words: str, limit: int = MAX_WORDS) -> str:
    """The words on one line, of at most `limit` letters; what cannot be printed is escaped, as `\\n` or `\\x1b`."""
    cut = words if len(words) <= limit else words[:limit] + "..."
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in cut)


def places(error: BaseException) -> str:
    """The kind of an exception and where it passed in the code, innermost first, and the same of what it came from.
    Of its words only those that are the system's own; others, and all values, could be a patient's.
    """
    return "; from ".join(f"{_kind(link)} at {_places(link.__traceback__) or 'no place'}" for link in _chain(error))


class PlainFormatter(logging.Formatter):
    """Time, level, words."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        error = _exception(record)
        trace = f" [{one_line(places(error))}]" if error else ""
        return f"{_time(record)} {record.levelname} {_words(record)}{trace}"


class JsonFormatter(logging.Formatter):
    """One JSON object, in ASCII, so that it is valid whatever the locale."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, str | int | float | bool | None] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": one_line(record.name, MAX_VALUE),
            "words": _words(record),
        }
        entry |= {name: _value(vars(record)[name]) for name in FIELDS if name in vars(record)}
        error = _exception(record)
        if error:
            entry["exception"] = one_line(places(error))
        return dumps(entry)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        """Logging itself would print the words, the values and a traceback."""
        with suppress(Exception):  # a full disk, a closed terminal: there is nowhere left to say it
            where = one_line(record.name, MAX_VALUE)
            self.stream.write(f"{_time(record)} ERROR a line of {where} could not be written\n")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(record: logging.LogRecord) -> str:
    if record.name == "py.warnings":
        return one_line("a warning" + _place_of_warning(record))
    if record.name.partition(".")[0] not in _OURS:
        return f"{one_line(record.name, MAX_VALUE)} has something to say, left out as it may quote data"
    return one_line(record.getMessage())


def _place_of_warning(record: logging.LogRecord) -> str:
    """Of `FILE:LINE: Kind: words...` the kind and the last parts of the place; the words may quote data."""
    place, _, rest = record.getMessage().partition(": ")
    kind = rest.partition(":")[0]
    return f", {kind}, at {'/'.join(place.split('/')[-2:])}" if kind.isidentifier() else ""


def _value(value: object) -> str | int | float | bool | None:
    """A field's value if it is a plain one; of anything else only its type."""
    match value:
        case None | bool():
            return value
        case float():
            return float(value) if math.isfinite(value) else str(value)  # JSON knows no others
        case int():
            return int(value) if value.bit_length() <= 64 else "int"
        case bytes():
            return value[: MAX_VALUE // 2].hex()
        case str():
            return one_line(value, MAX_VALUE)
    return type(value).__name__


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < MAX_PLACES:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _kind(error: BaseException) -> str:
    """With the words where these can only be the system's own: what is missing of an installation, why a file fails."""
    name = type(error).__qualname__
    if isinstance(error, ImportError):
        return f"{name} ({str(error)[:MAX_VALUE]})"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f"{name} ({os.strerror(error.errno).lower()})"
    return name


def _places(trace: TracebackType | None) -> str:
    frames = [
        f"{frame.f_globals.get('__name__', '?')}:{line} {frame.f_code.co_qualname}" for frame, line in walk_tb(trace)
    ]
    return " < ".join(frames[: -MAX_PLACES - 1 : -1])


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("stopped by an error of its own", exc_info=(kind, error.with_traceback(trace), trace))


def _log_uncaught_in_thread(arguments: Any) -> None:
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
