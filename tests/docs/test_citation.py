"""CITATION.cff agrees with pyproject.toml; its schema was checked with cffconvert when it was written."""

import pytest
import yaml

from tests.test_house import ROOT


def test_version_and_licence_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    required = {"cff-version", "message", "title", "authors"}  # of version 1.2.0
    assert required <= set(citation) and citation["cff-version"] == "1.2.0"
