"""Licenses, dependencies and tracked files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

LARGEST_FILE = 50_000_000
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".webp", ".avif", ".heic", ".mpo", ".bmp", ".tif", ".tiff"}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """List the tracked files that exist."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_no_tracked_file_is_too_large_to_host(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > LARGEST_FILE] == []


def test_no_photo_is_tracked(tracked: list[Path]) -> None:
    # The license of the data set does not allow redistribution. Our own drawings are PNG or SVG.
    assert [path for path in tracked if path.suffix.lower() in PHOTO_SUFFIXES] == []


def test_only_ci_names_the_folder_of_the_photos(tracked: list[Path]) -> None:
    ci = ROOT / ".ci" / "run"
    folder = re.search(r"cd (\.\./\w+)/", ci.read_text(encoding="utf-8"))
    assert folder
    others = [path for path in tracked if path != ci and folder[1].encode() in path.read_bytes()]
    assert others == []


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def requirements(extra: str) -> list[Requirement]:
    """Return the requirements of an extra ("" for none), with those of nested extras."""
    declared = project()
    found = []
    for line in declared["optional-dependencies"][extra] if extra else declared["dependencies"]:
        requirement = Requirement(line)
        if requirement.name == declared["name"]:
            for nested in requirement.extras:
                found += requirements(nested)
        else:
            found.append(requirement)
    return found


def pins(path: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pinned = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in pinned)
    return {
        requirement.name: str(requirement.specifier).removeprefix("==") for requirement in pinned
    }


@pytest.mark.parametrize("extra", ["", *project()["optional-dependencies"]])
def test_the_compiled_requirements_satisfy_pyproject(extra: str) -> None:
    pinned = pins(ROOT / f"requirements{extra and '-' + extra}.txt")
    declared = requirements("") + (requirements(extra) if extra else [])
    assert [
        str(requirement)
        for requirement in declared
        if not requirement.specifier.contains(pinned.get(requirement.name, "0"))
    ] == []


def test_all_compiled_requirements_share_their_versions() -> None:
    smallest, largest = (pins(ROOT / f"requirements{name}.txt") for name in ("", "-dev"))
    for path in ROOT.glob("requirements*.txt"):
        assert smallest.items() <= pins(path).items() <= largest.items(), path


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    for requirement in [*requirements(""), *requirements("dev")]:
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, requirement


@pytest.mark.slow
def test_building_a_wheel_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "model").mkdir()
    shutil.copy(ROOT / "model" / "__init__.py", tmp_path / "model")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "make serve" in result.stderr
    assert not (tmp_path / "dist").exists()


def test_the_gpu_image_requires_the_cuda_of_its_packages() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (required,) = re.findall(r'NVIDIA_REQUIRE_CUDA="cuda>=([\d.]+)"', dockerfile)
    toolkit = pins(ROOT / "requirements-cuda.txt")["cuda-toolkit"]
    assert toolkit.startswith(f"{required}.")
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    assert f"CUDA {required} " in page


@pytest.mark.slow
def test_the_documented_compute_capabilities_are_those_of_pytorch() -> None:
    import torch

    compiled = set(re.findall(r"code=sm_(\d+)", torch.__config__.show()))
    if not compiled:
        pytest.skip("needs PyTorch with CUDA")
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"has kernels for ([\d., and]+)\.", page)
    documented = {number.replace(".", "") for number in re.findall(r"\d+\.\d", sentence)}
    assert documented == compiled


def test_the_licenses_of_code_and_pretrained_weights_are_included() -> None:
    assert project()["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    notice = (ROOT / "NOTICE").read_text()
    for needed in ("TensorFlow Authors", "Apache License, Version 2.0", "What was changed"):
        assert needed in notice
    text = re.search(r"LICENSES/\S+\.txt", notice)
    assert text
    assert "Version 2.0, January 2004" in (ROOT / text[0]).read_text()
    named = set(re.findall(r"LICENSES/\S+\.txt", notice))
    assert named == {f"LICENSES/{path.name}" for path in (ROOT / "LICENSES").iterdir()}
