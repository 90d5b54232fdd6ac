"""Check a wheel against the checkout: every room, template and kernel is in it, and nothing beside gpuseg."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SKIPPED = {"__pycache__"}


def expected() -> set[str]:
    """Paths that the wheel must hold, kernels under their installed name."""
    rooms = {
        path for path in (ROOT / "gpuseg").rglob("*") if path.is_file() and not SKIPPED & set(path.parts)
    }
    kernels = {path for path in (ROOT / "kernels").iterdir() if path.suffix in {".py", ".cu", ".cuh", ".md"}}
    return {str(path.relative_to(ROOT)) for path in rooms} | {
        f"gpuseg/{path.relative_to(ROOT)}" for path in kernels
    }


def main(wheel: str) -> int:
    """Print what is missing from the wheel or foreign in it; 0 when nothing is."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing, foreign = expected() - names, names - expected()
    for name in sorted(missing):
        print(f"missing from the wheel: {name}")
    for name in sorted(foreign):
        print(f"foreign in the wheel: {name}")
    kernels = sum(name.startswith("gpuseg/kernels/") for name in names)
    print(f"{Path(wheel).name}: {len(names)} files, {kernels} of them kernels")
    return 1 if missing or foreign else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
