"""What a region keeps of what the aggregator sends: nothing beside a message that has no place, or after a refusal."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hefed.crypto.buffer import Buffer
from hefed.node.link import Received
from hefed.node.region import RegionNode
from hefed.protocol import messages as m
from tests.node.test_hostile_aggregator import Setting, reads, setting
from tests.node.test_region import Line, on_a_line, said, say, turn
from tests.protocol.conftest import study_file
from tests.protocol.federation import Federation
from tests.protocol.test_board import up_to

__all__ = ["setting"]


def test_a_region_that_refuses_keeps_nothing_of_what_comes_after(setting: Setting) -> None:
    """Also while the aggregator lets its refusal not through."""
    node = on_a_line(setting, setting.folder / "halland", {})
    link, made = setting.link, setting.submission()
    assert isinstance(link, Line)
    link.full = True
    say(setting, made.study, "approved")
    setting.invite(node, made)
    for number, data in enumerate((bytes(10**6), b"", bytes(10**6)), 1):
        bound = (data,) if data else ()
        message = setting.identities["aggregator"].signer.sign(
            m.Sum(round=0, absent=[]), federation="test", study=made.study, sender="aggregator",
            previous=m.ZERO_HASH, attachments=bound,
        )  # fmt: skip
        header = {"type": "entry", "study": made.study, "number": number}
        node._handle(Received(header, (message.envelope, *bound)))
        node._settle_all()
    assert [entry.kind for entry in setting.store.entries(made.study)] == ["invitation"]
    link.full = False
    turn(node)
    approval, refusal = said(setting)
    assert approval.body.kind == "approval"
    assert refusal.content == m.Refusal(words="the aggregator sent beside a 'sum' of aggregator what is not its own")


def _belongs(node: RegionNode, running: Any, message: m.Message, *frames: Buffer) -> bool:
    return node._belong(running, message, frames)


def test_beside_a_message_is_kept_what_is_waited_for_as_it_was_signed(setting: Setting, tmp_path: Path) -> None:
    finished = Federation(study_file(tmp_path / "small.toml"))
    finished.run()
    for kind in ("answer", "sum"):
        board, message = up_to(finished, kind, number=1)
        bound = next(entry.attachments for entry in finished.log if entry.message.digest == message.digest)
        node, running = setting.node(reads), SimpleNamespace(board=board, waits=False)

        belong = partial(_belongs, node, running, message)
        assert belong(*bound)
        altered = bytes([bound[0][0] ^ 1]) + bytes(bound[0][1:])
        assert [belong(altered), belong(*bound, b""), belong(bytes(bound[0]) + b"\0")] == [False] * 3
        running.waits = True
        assert not belong(*bound)
        running.waits, node._name = False, "university"  # a keyholder who does not read
        assert not belong(*bound)
        node._name = "halland"
        board.post(message)
        assert not belong(*bound)
        setting.store.close()
