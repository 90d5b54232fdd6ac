"""Print a constraints file that pins every floor of pyproject.toml: ``name>=1.2`` becomes ``name==1.2.*``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

FLOOR = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)$")


def main() -> None:
    """Constraints for the dependencies and the extra ``test``."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        floor = FLOOR.match(requirement)
        if floor is not None:
            print("{}=={}.*".format(*floor.groups()))


if __name__ == "__main__":
    main()
