"""SEAL parses no bytes from outside: it is given objects that hefed itself has framed, around residues that are in
range.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hefed
from hefed.crypto import packing, seal
from hefed.crypto.contribution import RunningSum
from hefed.crypto.errors import MalformedError
from hefed.crypto.label import SignedUse
from hefed.crypto.parameters import COMPACT
from tests.fuzz.mutate import of_bytes
from tests.fuzz.world import made

HOME = Path(str(hefed.__file__)).parent
TAKES_BYTES = {"_load", "_body", "_residues", "load", "sealapi"}
VALUES = 200


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(HOME.rglob("*.py")):
        yield str(path.relative_to(HOME)), ast.parse(path.read_text())


def test_only_one_module_speaks_to_seal_and_nobody_reaches_past_it() -> None:
    speaks, reaches = set(), set()
    for name, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names) if any(one.name.startswith("tenseal") for one in names):
                    speaks.add(name)
                case ast.ImportFrom(module=str(module)) if module.startswith("tenseal"):
                    speaks.add(name)
                case ast.ImportFrom(module="hefed.crypto.seal", names=names):
                    reaches |= {one.name for one in names}
                case ast.Attribute(value=ast.Name(id="seal") | ast.Attribute(attr="_seal"), attr=attribute):
                    reaches.add(attribute)
    assert speaks == {"crypto/seal.py"}
    assert reaches >= {"ciphertext", "Masker", "Adder"}
    assert not reaches & TAKES_BYTES


def test_what_is_loaded_is_framed_here_and_what_is_unframed_was_saved_here() -> None:
    tree = dict(modules())["crypto/seal.py"]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    loaded = [ast.unparse(call.args[2]) for call in calls if call.func.id == "_load"]  # type: ignore[attr-defined]
    assert sorted(loaded) == ["context.ciphertext_head", "context.key_head", "context.plaintext_head"]
    unframed = [ast.unparse(call.args[0]).partition("(")[0] for call in calls if call.func.id == "_body"]  # type: ignore[attr-defined]
    assert unframed == ["_save", "_save"]
    methods = [
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert methods.count("load") == 1  # that of `_load`


@pytest.fixture(scope="module")
def right() -> bytes:
    prime = COMPACT.primes[0]
    return packing.pack(COMPACT, np.random.default_rng(2).integers(0, prime, (1, VALUES), np.uint64))


def test_whatever_a_contribution_holds_seal_gets_nothing_or_one_form(right: bytes) -> None:
    use = SignedUse(made("study"), made("cohort"), COMPACT, 3, VALUES, made("label"))
    given_to_seal: list[tuple[bytes, tuple[object, ...]]] = []
    real = seal._load

    def watched(context: seal.Context, kind: object, head: bytes, *polynomials: seal.Residues) -> object:
        given_to_seal.append((head, tuple((one.shape, str(one.dtype)) for one in polynomials)))
        return real(context, kind, head, *polynomials)

    def added(data: bytes) -> bool:
        running = RunningSum(COMPACT, use, "tenseal")
        given_to_seal.clear()
        try:
            running.add(data)
        except MalformedError:
            return False
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "_load", watched)
        assert added(right)
        forms = set(given_to_seal)
        assert len(forms) == 1
        outcomes = set()

        @settings(max_examples=150, deadline=None, database=None)
        @given(st.integers(0, 2**64).map(lambda seed: of_bytes(right, Random(seed), [right])) | st.binary(max_size=300))  # noqa: S311
        def fuzz(data: bytes) -> None:
            taken = added(data)
            outcomes.add(taken)
            assert set(given_to_seal) == (forms if taken else set())

        fuzz()
    assert outcomes == {True, False}
