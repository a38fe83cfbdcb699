"""What the people of a region decided about a study: a signed file, which the region's process finds.

`hefed approve` and `hefed refuse` write it into `HOME/decisions`, the process reads it. It names one study by its hash,
which fixes everything in it, so it holds for no other. Relies on the home's identity: what somebody else put into the
folder counts for nothing.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hefed.node.errors import NodeError
from hefed.node.files import COMMANDS, lock_folder, make_private_folder, read_owned, write_private
from hefed.node.identity import Identity
from hefed.protocol import codec
from hefed.protocol.errors import EncodingError
from hefed.protocol.messages import MAX_WORDS, Digest
from hefed.protocol.roster import is_signed

FOLDER = "decisions"
PATIENCE = 10.0
"""Seconds to wait for another command that decides."""


class DecisionError(NodeError):
    """A file among the decisions that cannot be one of this home."""


Answer = Literal["approved", "refused"]


class Decision(BaseModel):
    """An answer to one study. `table` stands for the table as the person who approved saw it counted, or is None;
    `words` reach the analyst of a study that is refused; `at` is seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    study: Digest
    answer: Answer
    words: Annotated[str, Field(max_length=MAX_WORDS)] = ""
    table: Digest | None = None
    at: float

    def statement(self) -> tuple[str, bytes]:
        """What is signed: a label of its own, and all fields."""
        return "decision", codec.encode(self.model_dump())


@dataclass(frozen=True)
class Decisions:
    """The decisions in a home. A refusal counts for more than an approval: it withdraws it."""

    home: Path
    identity: Identity

    def path(self, study: bytes, answer: Answer) -> Path:
        """Where an answer to a study lies."""
        return self.home / FOLDER / f"{study.hex()}.{answer}"

    def write(self, decision: Decision) -> None:
        """Signs and writes an answer. Raises NodeError when the same was given before, or an approval comes after a
        refusal.
        """
        if os.geteuid() != self.home.stat().st_uid:
            raise NodeError(
                f"{self.home} belongs to another user, whose node could not read the decision; decide as that user: "
                "sudo -u USER hefed ..."
            )
        make_private_folder(self.home / FOLDER)
        lock = lock_folder(self.home, PATIENCE, COMMANDS)
        try:
            self._write(decision)
        except FileExistsError:
            raise NodeError(f"this study is {decision.answer} already") from None
        finally:
            os.close(lock)

    def _write(self, decision: Decision) -> None:
        if decision.answer == "approved" and self.path(decision.study, "refused").exists():
            raise NodeError("this study is refused already, which cannot be taken back; have it submitted again")
        signature = self.identity.sign_statement(*decision.statement())
        data = codec.encode({"decision": decision.model_dump(), "signature": signature})
        write_private(self.path(decision.study, decision.answer), data)

    def find(self, study: bytes) -> Decision | None:
        """What was decided about a study, if anything. Raises DecisionError for a file that this home did not sign."""
        return self._read(study, "refused") or self._read(study, "approved")

    def is_approved(self, study: bytes) -> bool:
        """Whether people approved a study and did not take that back. Raises as `find`."""
        decision = self.find(study)
        return decision is not None and decision.answer == "approved"

    def _read(self, study: bytes, answer: Answer) -> Decision | None:
        path = self.path(study, answer)
        try:
            if not path.exists():
                return None
            data = read_owned(path)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise DecisionError(f"{path} cannot be read: {reason}; give it to the user of the node") from error
        except NodeError as error:
            raise DecisionError(str(error)) from error
        try:
            match codec.decode(data):
                case {"decision": dict(plain), "signature": bytes(signature), **rest} if not rest:
                    decision = Decision.model_validate(plain)
                    signed = is_signed(self.identity.signer.public, signature, *decision.statement())
                    if signed and (decision.study, decision.answer) == (study, answer):
                        return decision
        except (EncodingError, ValidationError):
            pass  # said below, as for a signature that does not hold
        raise DecisionError(f"{path} is not a decision that this home signed; remove it and decide again")
