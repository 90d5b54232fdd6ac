"""Errors, one class a cause: every room raises these, the command line turns them into exit codes.

``InputError`` and its children mean that what the user gave cannot be used (exit code 2); ``RunError`` and its
children mean that gpuseg could not do its work (exit code 1). Messages are one clear sentence that names the value,
what is allowed and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """What the user gave cannot be used; the message says what, where, how many, and the remedy."""


class NotFiniteError(InputError):
    """NaN or infinity where the declared policy is ``error``."""


class RangeError(InputError):
    """A value is outside the range in which the arithmetic contract holds."""


class TooFewRowsError(InputError):
    """Fewer rows, or fewer distinct rows, than the method needs."""


class SchemaError(InputError):
    """A table does not fit its declared roles; ``problems`` lists every one found, with counts."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        # args carry both parts so that the error survives pickling between Dask workers.
        super().__init__(where, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.where}: {self.problems[0]}"
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"{self.where}: {len(self.problems)} problems\n{listed}"


class SourceError(InputError):
    """A file or collection cannot be read: missing, truncated, of mixed schemas, or empty."""


class RunError(RuntimeError):
    """gpuseg could not do its work although the input is fine."""


class ContractError(RunError):
    """Two partial states cannot be merged, or a stored state was made under another contract."""


class EngineUnavailableError(RunError):
    """The engine that was asked for cannot run on this machine."""


class DeviceMemoryError(RunError):
    """The memory of a device is used up; engines try again with smaller tiles before they let this through."""


class MemoryPlanError(RunError):
    """The memory plan says that the work cannot fit; nothing was started."""


class OutputError(RunError):
    """Results cannot be written: no permission, no space, or the folder exists."""
