"""Studies for the protocol's tests, and one finished federation that several tests only look at."""

from pathlib import Path

import pytest

from hefed.study import Study
from tests.protocol.federation import EXAMPLES, Federation


@pytest.fixture(scope="session")
def cox_study() -> Study:
    """The heart-failure study that the README shows."""
    return Study.load(EXAMPLES / "heart-failure" / "cox.toml")


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One covariate, three regions and a keyholder without data: few and small rounds."""
    return study_file(tmp_path_factory.mktemp("small") / "study.toml")


def study_file(
    path: Path, *, threshold: int = 2, university: bool = True, more: str = "", engine: str = "vectorised"
) -> Study:
    """A small logistic study on the example tables."""
    tables = EXAMPLES / "heart-failure"
    regions = "".join(
        f'[regions.{name}]\ndata = "{tables / name}.csv"\n' for name in ("halland", "orebro", "kronoberg")
    )
    path.write_text(
        f"""
        [study]
        id = "small"
        purpose = "A test"
        [model]
        kind = "logistic"
        outcome = "DEATH_EVENT"
        covariates = ["age"]
        [security]
        threshold = {threshold}
        min_contributors = 3
        engine = "{engine}"
        {more}
        {regions}
        {"[regions.university]" if university else ""}
        """
    )
    return Study.load(path)


@pytest.fixture(scope="session")
def finished(small_study: Study) -> Federation:
    """A federation that has finished the small study. Look, do not touch."""
    federation = Federation(small_study)
    federation.run()
    return federation
