"""What stops a process before or beside the protocol, in a sentence for the person who runs it."""


class NodeError(Exception):
    """Something in this machine's own set-up: a file, a port, a key, a disk."""


class GoneError(Exception):
    """What was about to leave is not kept any more."""


class StudyFailedError(Exception):
    """A study that ended without a result; the words are those of whoever ended it, made fit for a terminal."""

    def __init__(self, words: str, *, refused: bool) -> None:
        super().__init__("".join(sign if sign.isprintable() else "?" for sign in words))
        self.refused = refused
        """Whether a region refused its part (bad input), as against a study that could not be finished."""


class NotTakenError(StudyFailedError):
    """A study that the aggregator did not take, so that no region heard of it."""
