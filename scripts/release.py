"""Check what is released: `nox -s release` builds it into dist/, and calls this script.

python scripts/release.py check dist                  what is in every wheel and source distribution
python scripts/release.py same FOLDER dist            both builds have the same files, byte by byte
python scripts/release.py sums dist                   write dist/SHA256SUMS
python scripts/release.py urls https://host/project   write [project.urls] into every distribution's pyproject.toml
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parents[1]
URLS = {
    "Homepage": "",
    "Source": "",
    "Documentation": "/tree/main/docs",
    "Changelog": "/blob/main/CHANGELOG.md",
    "Issues": "/issues",
}
"""The names of a project's addresses, and their paths below that of the repository."""
BESIDE = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
"""What a source distribution has beside its `src`."""
OF_A_WHEEL = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
"""What is in the folder of metadata of a wheel."""


@dataclass(frozen=True)
class Project:
    """What a distribution says of itself, and the files that the repository has of it."""

    name: str
    version: str
    sources: frozenset[str]

    @property
    def stem(self) -> str:
        """The beginning of the names of its files."""
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def package(self) -> str:
        """The package that it brings."""
        return self.name.replace("-", "_").removesuffix("_core")


def project(folder: Path) -> Project:
    """Read a distribution's folder; only files that git has belong to it."""
    stated = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = subprocess.run(["git", "ls-files", "src"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    sources = frozenset(path.removeprefix("src/") for path in listed.stdout.split("\n") if path)
    return Project(name=stated["name"], version=stated["version"], sources=sources)


def folders() -> list[Path]:
    """Return the folders of all distributions."""
    return sorted(
        path.parent for path in [*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    )


def faults_of_wheel(files: Mapping[str, bytes], of: Project) -> list[str]:
    """Return what is wrong with a wheel, given as the content of each file."""
    info = f"{of.stem}.dist-info/"
    metadata = {path.removeprefix(info) for path in files if path.startswith(info)}
    found = frozenset(path for path in files if not path.startswith(info))
    faults = _differences(found, of.sources)
    faults += [f"{path} is outside of {of.package}/" for path in sorted(found) if not path.startswith(f"{of.package}/")]
    faults += [f"no {name}" for name in sorted({"METADATA", "licenses/LICENSE"} - metadata)]
    faults += [f"{info}{name} does not belong there" for name in sorted(metadata - OF_A_WHEEL)]
    if f"{of.package}/py.typed" not in files:
        faults.append(f"no {of.package}/py.typed")
    return faults + _faults_of_metadata(files.get(f"{info}METADATA", b""), of)


def faults_of_source(files: Mapping[str, bytes], of: Project) -> list[str]:
    """Return what is wrong with a source distribution, given as the content of each file."""
    top = f"{of.stem}/"
    outside = sorted(path for path in files if not path.startswith(top))
    inside = {path.removeprefix(top) for path in files if path.startswith(top)}
    sources = frozenset(path.removeprefix("src/") for path in inside if path.startswith("src/"))
    beside = {path for path in inside if not path.startswith("src/")}
    faults = [f"{path} is outside of {top}" for path in outside]
    faults += _differences(sources, of.sources)
    faults += [f"no {name}" for name in sorted(BESIDE - {".gitignore"} - beside)]
    faults += [f"{name} does not belong there" for name in sorted(beside - BESIDE)]
    return faults + _faults_of_metadata(files.get(f"{top}PKG-INFO", b""), of)


def _differences(found: frozenset[str], expected: frozenset[str]) -> list[str]:
    stray = [f"{path} is not in the repository" for path in sorted(found - expected)]
    return stray + [f"{path} is missing" for path in sorted(expected - found)]


def _faults_of_metadata(text: bytes, of: Project) -> list[str]:
    stated = Parser().parsestr(text.decode("utf-8"))
    expected = {"Name": of.name, "Version": of.version, "License-Expression": "Apache-2.0"}
    faults = [f"{key} is {stated[key]!r}, not {value!r}" for key, value in expected.items() if stated[key] != value]
    faults += [f"the metadata has no {key}" for key in ("Summary", "Requires-Python") if not stated[key]]
    readme = stated.get_payload()
    for link in re.findall(r"\]\((?!https?://|#)([^)]*)\)", readme if isinstance(readme, str) else ""):
        faults.append(f"the README links to {link}, which a package index does not have")
    return faults


def read(path: Path) -> dict[str, bytes]:
    """Return the content of each file of a wheel or of a source distribution."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        opened = ((member.name, archive.extractfile(member)) for member in archive.getmembers())
        return {name: file.read() for name, file in opened if file is not None}


def check(dist: Path) -> list[str]:
    """Return what is wrong with the distributions in a folder: each project has a wheel and a source distribution."""
    faults, known = [], {"SHA256SUMS", "sbom.cdx.json", ".gitignore"}
    for of in map(project, folders()):
        for name, look in ((f"{of.stem}-py3-none-any.whl", faults_of_wheel), (f"{of.stem}.tar.gz", faults_of_source)):
            known.add(name)
            path = dist / name
            faults += [f"{name}: {fault}" for fault in (look(read(path), of) if path.exists() else ["is missing"])]
    return faults + [f"{path.name} is a stray file" for path in sorted(dist.iterdir()) if path.name not in known]


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each distribution in a folder."""
    built = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


def same(first: Path, second: Path) -> list[str]:
    """Return in which files two builds differ."""
    a, b = digests(first), digests(second)
    return [f"{name}: the two builds differ" for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def without_folders(text: str) -> str:
    """Return an SBOM in which files of this machine are named without their folders; their digests stand beside."""
    return re.sub(r'"file://[^"]*/([^"/]+)"', r'"\1"', text)


def with_urls(text: str, address: str) -> str:
    """Return a pyproject.toml with the project's addresses, in the place of those that it had."""
    table = "".join(f'{name} = "{address.rstrip("/")}{path}"\n' for name, path in URLS.items())
    without = re.sub(r"\[project\.urls\]\n(?:[^\[\n].*\n)*\n?", "", text)
    return re.sub(r"(?m)^\[project\.entry-points|^\[tool\.", f"[project.urls]\n{table}\n\\g<0>", without, count=1)


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    command, *rest = arguments
    faults: list[str] = []
    if command == "check":
        faults = check(Path(rest[0]))
    elif command == "same":
        faults = same(Path(rest[0]), Path(rest[1]))
    elif command == "sums":
        lines = [f"{digest}  {name}\n" for name, digest in digests(Path(rest[0])).items()]
        (Path(rest[0]) / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    elif command == "sbom":
        path = Path(rest[0]) / "sbom.cdx.json"
        path.write_text(without_folders(path.read_text(encoding="utf-8")), encoding="utf-8")
    elif command == "urls":
        for folder in folders():
            path = folder / "pyproject.toml"
            path.write_text(with_urls(path.read_text(encoding="utf-8"), rest[0]), encoding="utf-8")
    else:
        faults = [f"{command} is no command of this script"]
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main(sys.argv[1:])
