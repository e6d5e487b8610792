"""Releases: some tests need a kernel, or an answer, that newer or older libraries do not have."""

from types import ModuleType

from packaging.specifiers import SpecifierSet
from packaging.version import Version


def installed(library: ModuleType, releases: str) -> bool:
    """Return whether a library that is imported is of these releases, such as ``>=1.32``.

    A pre-release counts as the release that it leads to.
    """
    return Version(Version(library.__version__).base_version) in SpecifierSet(releases)
