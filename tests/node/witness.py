"""A study that is watched from inside: every secret is taken from the parties' folders while they run.

What the parties destroy at the end is known here, so that a test can search for it, and open with it what they stored.
"""

import gc
import os
import signal
from base64 import b64encode
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import connect

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from zmq.utils import z85

from hefed.crypto.keys import ContributorKey
from hefed.crypto.label import Label
from hefed.node.analyst import Submission
from hefed.node.parties import AGGREGATOR, Parties
from hefed.node.simulate import run as simulate
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster
from hefed.report.progress import Progress, Standing
from hefed.report.table import console
from hefed.study import Study
from tests.consent import taking_part
from tests.node.runs import Stored, record, sent, wait_for

ROUND = 4
"""The round in which everybody is stopped and looked at: all keys are dealt and in use by then."""

Floats = npt.NDArray[np.float64]


class KnownSecrets:
    """Implements `hefed.protocol.ports.Vault` with what a region had."""

    def __init__(self, known: dict[str, bytes]) -> None:
        self.known = known

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        return self.known[name]


@dataclass
class Witness:
    """What was seen during a run, and what follows from it."""

    folder: Path
    study: Study
    roster: Roster
    submission: Submission
    vaults: dict[str, dict[str, bytes]]
    """The secrets of each region's study, by name."""
    identities: dict[str, dict[str, bytes]]
    """The secrets of each party's identity."""
    study_keys: dict[str, bytes]
    found: dict[str, set[str]]
    """Which secrets the search found while the parties ran, and in which files."""
    labels: dict[int, Label] = field(default_factory=dict)
    updates: dict[str, dict[int, Floats]] = field(default_factory=dict)
    """Each region's cleartext vector of each round."""
    board: Board = field(init=False)

    def secrets(self) -> dict[str, bytes]:
        """Every secret of every party, by a name for people; compound ones in their parts too."""
        everything: dict[str, bytes] = {"analyst, result key": self.submission._key._secret}
        for name, key in self.study_keys.items():
            everything[f"{name}, study key"] = key
        for name, identity in self.identities.items():
            everything |= {f"{name}, {what} key": secret for what, secret in identity.items()}
        for name, vault in self.vaults.items():
            everything |= {f"{name}, {what}": secret for what, secret in vault.items()}
            key = self.contributor_key(name)
            everything[f"{name}, noise secret"] = key.noise_secret.reveal()
            everything |= {f"{name}, seed {subset}": seed.reveal() for subset, seed in key._seeds.items()}
        return everything

    def contributor_key(self, name: str) -> ContributorKey:
        """What a region encrypted with."""
        return ContributorKey.from_bytes(self.vaults[name]["contributor key"])

    def messages(self, kind: str) -> list[tuple[m.Message, tuple[bytes, ...]]]:
        """What the aggregator stored of a kind."""
        return [
            (m.read_message(stored.envelope, self.roster), stored.attachments)
            for stored in record(self.folder / "parties" / AGGREGATOR)
            if stored.kind == kind
        ]

    def replay(self) -> None:
        """Goes through each region's record with its own secrets, and notes labels and cleartext vectors."""
        for name in self.study.contributors:
            stored = record(self.folder / "parties" / name)
            own = sent(self.folder / "parties" / name)
            self.updates[name] = {}
            member = self._member(name, own)
            for entry in stored:
                message = m.read_message(entry.envelope, self.roster)
                if isinstance(message.content, m.Sum):
                    assert member.reader is not None
                    label = member.reader.label()
                    self.labels[label.round] = label
                    if label.round > 0:
                        assert member._work is not None
                        self.updates[name][label.round] = member._work.contribution()  # type: ignore[attr-defined]
                member.receive(entry.envelope, entry.attachments)
            # Its own closing is the last that a region must have stored; the others' may come when it is being stopped.
            assert "closing" in own
            assert [r.number for r in member.board.rounds if r.sum] == [0, *self.updates[name]]
            self.board = member.board

    def _member(self, name: str, own: dict[str, Stored]) -> Member:
        def recall(key: str) -> Outgoing | None:
            mine = own.get(key)
            return Outgoing(key, m.read_message(mine.envelope, self.roster), mine.attachments) if mine else None

        return Member(
            name=name,
            signer=m.Signer(self.identities[name]["signing"]),
            roster=self.roster,
            study=self.submission.study,
            vault=KnownSecrets(self.vaults[name]),
            recall=recall,
            prepare=taking_part(name, self.study.tables[name], KnownSecrets(self.vaults[name])),
        )


class _Stop(Progress):
    """Stops every party once the study has come to ROUND, looks into their folders, and lets them go on."""

    def __init__(self, study: Study, out: Path) -> None:
        super().__init__(console(stderr=True))
        self._study, self._out = study, out
        self.parties: Parties
        self.witness: Witness | None = None

    def show(self, standing: Standing) -> None:
        if self.witness is None and standing.round == ROUND:
            numbers = [process.pid for process in self.parties.processes.values()]
            _signal(numbers, signal.SIGSTOP)
            try:
                self.witness = self._look()
            finally:
                _signal(numbers, signal.SIGCONT)

    def _look(self) -> Witness:
        folder = self._out / "parties"
        regions = self._study.members
        identities = {
            name: codec.decode((folder / name / "identity.key").read_bytes()) for name in (AGGREGATOR, *regions)
        }
        study_keys = {}
        for name in regions:
            (path,) = (folder / name / "study-keys").iterdir()
            study_keys[name] = path.read_bytes()
        (submission,) = [one for one in gc.get_objects() if type(one) is Submission and one.study.hex() == path.stem]
        witness = Witness(
            folder=self._out,
            study=self._study,
            roster=self.parties.roster,
            submission=submission,
            vaults={name: _open_vault(folder / name, study_keys[name]) for name in regions},
            identities=identities | {"analyst": {"transport": self.parties.analyst.transport_secret}},
            study_keys=study_keys,
            found={},
        )
        witness.found = search(self._out, witness.secrets())
        return witness


def _signal(numbers: Iterable[int], which: int) -> None:
    for number in numbers:
        os.kill(number, which)
    if which == signal.SIGSTOP:
        for number in numbers:
            wait_for(lambda number=number: " T " in Path(f"/proc/{number}/stat").read_text())


def _open_vault(folder: Path, key: bytes) -> dict[str, bytes]:
    cipher = ChaCha20Poly1305(key)
    with closing(connect(f"file:{folder / 'state.sqlite'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT study, name, sealed FROM secret").fetchall()
    return {name: cipher.decrypt(sealed[:12], sealed[12:], study + name.encode()) for study, name, sealed in rows}


def watched_run(study: Study, out: Path) -> Witness:
    """Runs a study as `hefed simulate` does, and returns what there was to see."""
    progress = _Stop(study, out)
    simulate(study, out, progress, ready=lambda parties: setattr(progress, "parties", parties))
    assert progress.witness is not None
    progress.witness.replay()
    return progress.witness


# --- Searching -------------------------------------------------------------------------------------


def _forms(secret: bytes) -> set[bytes]:
    """How a secret would stand in a file: as it is, also in part, or as text."""
    forms = {secret[:16], secret[-16:], secret.hex().encode()[:32], b64encode(secret)[:20]}
    return forms | ({z85.encode(secret)} if len(secret) % 4 == 0 else set())


def search(folder: Path, wanted: dict[str, bytes]) -> dict[str, set[str]]:
    """Every file below a folder that has one of the secrets in it, by the secret's name."""
    found: dict[str, set[str]] = {}
    forms = {name: _forms(secret) for name, secret in wanted.items()}
    for path in filter(Path.is_file, folder.rglob("*")):
        data = path.read_bytes()
        for name in wanted:
            if any(form in data for form in forms[name]):
                found.setdefault(name, set()).add(str(path.relative_to(folder)))
    return found


def distinctive(values: Floats) -> Floats:
    """The values that can be told by their bytes: they use the low bits of a float64, unlike counts and zeros."""
    low = values.view(np.uint64) & np.uint64(0xFFFF)
    return np.unique(values[low != 0])


def search_floats(folder: Path, values: Floats) -> dict[float, set[str]]:
    """Every file below a folder that has one of the numbers in it: as float64 in either order of bytes, or as text."""
    found: dict[float, set[str]] = {}
    words = np.concatenate([values.view(np.uint64), values.byteswap().view(np.uint64)])
    meaning = dict(zip(words.tolist(), np.tile(values, 2).tolist(), strict=True))
    for path in filter(Path.is_file, folder.rglob("*")):
        data = path.read_bytes()
        for shift in range(min(8, len(data))):
            windows = np.frombuffer(data, np.uint64, (len(data) - shift) // 8, shift)
            for word in windows[np.isin(windows, words)].tolist():
                found.setdefault(meaning[word], set()).add(str(path.relative_to(folder)))
        for value in values.tolist():
            if repr(value).encode() in data:
                found.setdefault(value, set()).add(str(path.relative_to(folder)))
    return found
