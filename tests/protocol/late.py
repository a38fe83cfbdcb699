"""What arrives only after the sum that it was for."""

from collections import defaultdict

from hefed.protocol.ports import Outgoing
from hefed.study import Study
from tests.protocol.federation import Federation

FIRST = {"university": "answer 1 1", "kronoberg": "check 1"}


def after_the_sum(study: Study) -> tuple[Federation, dict[str, list[Outgoing]]]:
    """A federation after the sum of round 1, and what did not arrive in time for it, by sender: university's answer,
    and of kronoberg the check value, the answer, and the contribution to round 2, which all others wait for.
    """
    federation, held = Federation(study), defaultdict[str, list[Outgoing]](list)

    def before(name: str, outgoing: Outgoing) -> Outgoing | None:
        if FIRST.get(name) != outgoing.key and name not in held:
            return outgoing
        held[name].append(outgoing)
        return None

    federation.before_accept = before
    federation.run()
    for _ in range(2):  # until others are asked instead, and until nobody waits for the check value
        federation.now += study.limits.wait + 1
        federation.run([])
    federation.before_accept = lambda name, outgoing: outgoing
    record = federation.board.rounds[1]
    assert record.sum is not None
    assert record.sum.absent == ["kronoberg"]
    assert sorted(record.answers) == ["halland", "orebro"]
    assert {name: [one.key for one in late] for name, late in held.items()} == {
        "kronoberg": ["check 1", "answer 1 1", "contribution 2"],
        "university": ["answer 1 1"],
    }
    return federation, held
