"""A mutation run over kernels/: small faults, one at a time, each of which a quick test has to notice.

    python -m tests.emulator.mutants [--json] [--sample N] [--file NAME] [--jobs N]

A mutant is one line of a kernel file changed by one operator. Which ones are drawn depends on the text of the line
only, so an edit elsewhere changes none of them. A mutant is killed by the quick test of its file
(tests/emulator/quick.py) in the plain build in three orders of threads, by the check build, or by the static test for
lost bits; one that g++ refuses does not count, and the next is drawn. Each runs in a process of its own, so that it may
crash or hang. Exit code 0 if at least 95 % are killed. Survivors are explained in tests/emulator/SURVIVORS.md.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gpuseg.engines import launch
from gpuseg.engines.cpu.pool import available_cpus
from tests.emulator import quick, sources
from tests.emulator.build import BuildError, unavailable

SAMPLE = 84
KILLED_SHARE = 0.95
CPU_SECONDS = 60  # of a mutant; the slowest quick test takes a quarter of it

_SURVIVED, _KILLED, _REFUSED = 0, 1, 3


@dataclass(frozen=True)
class Site:
    """One line changed by one operator."""

    file: str
    line: int
    operator: str
    before: str
    after: str


@dataclass(frozen=True)
class Mutant(Site):
    """A site, and what became of it."""

    killed: bool


@dataclass(frozen=True)
class Operator:
    """Replaces each place that ``pattern`` matches, in lines that ``within`` matches."""

    name: str
    pattern: str
    new: str | Callable[[re.Match[str]], str]
    within: str = ""

    def changed(self, line: str) -> Iterator[str]:
        if not re.search(self.within, line):
            return
        for found in re.finditer(self.pattern, line):
            new = self.new(found) if callable(self.new) else found.expand(self.new)
            yield line[: found.start()] + new + line[found.end() :]


def _plain(found: re.Match[str]) -> str:
    new = {"Add": "old + value", "Or": "old | value", "Min": "min(old, value)", "Max": "max(old, value)"}[
        found[1]
    ]
    return f"([](auto* at, auto value) {{ auto old = *at; *at = (decltype(old))({new}); return old; }})("


def _one_more(found: re.Match[str]) -> str:
    return {"0": "1", "0.0f": "1.0f", "0.0": "1.0"}[found[0]]


_FOR = r"\bfor \("
_TERM = r"(?:[\w.]+(?:\(\))?|\([^()]+\))"
OPERATORS = (
    Operator("barrier dropped", r"__sync(?:threads|warp)\([^)]*\);", "{}"),
    Operator("atomic to plain", r"\batomic(Add|Or|Min|Max)\(", _plain),
    Operator("< to <=", r" < (?!0 \?)(?=[\w(])", " <= "),  # x < 0 ? -x : x is the magnitude of 0 either way
    Operator("start + 1", r"(?<=\bfor \()((?:i64|i32|u32) \w+ = )([^;]+);", r"\1(\2) + 1;"),
    Operator(
        "stride + 1", r"\+= ((?:\(i64\))?[\w.]+(?:\(\))?(?: [*/] [\w.]+(?:\(\))?)?)(?=\))", r"+= \1 + 1", _FOR
    ),
    Operator("wrong mask", r"\bFULL_WARP\b", "(FULL_WARP >> 1)", r"\bFULL_WARP,"),
    Operator("wrong offset", r"\boffset = WARP / 2\b", "offset = WARP / 4"),
    Operator("wrong offset", r"\boffset > 0\b", "offset > 1"),
    Operator("wrong offset", r"(?<=_sync\(FULL_WARP, )([^,]+), (\w+)\)", r"\1, \2 + 1)"),
    Operator("initial value", r"(?<== )0(?:\.0f?)?(?=[;,])", _one_more, r"^(?!.*\bfor \().*"),
    Operator("initial value", r"\bwide_zero\(\)(?=;|,|})", "Wide{0, 1}"),
    Operator("initial value", r"\b0x7f800000u\b|\b0x7ff0000000000000ll\b", "0", r" = "),
    Operator("bound dropped", r"(?<=\bif \()(?:[^();]|\([^()]*\))+(?=\) (?:continue|return))", "false"),
    Operator("bound dropped", r"(?<=\()[\w+ ]+ < \w+ && ", ""),
    Operator("bound dropped", r" && [\w +]+ < \w+\b", ""),
    Operator("bound dropped", r"(?<=[=(] )\w+ < \w+(?= \? )", "true"),
    Operator(
        "index order",
        rf"((?:\(i64\))?)({_TERM}) \* ({_TERM}) \+ ({_TERM})(?![\w(])",
        r"\1\4 * \3 + \2",
        r"\[|\bat = |\+ ",
    ),
    Operator("int64 to int32", r"\bi64 (?=\w+ = )", "i32 "),
    Operator(
        "int64 to int32", r"\(i64\)(?!(?:gridDim|blockIdx)\.y)", "(i32)"
    ),  # a grid has 65,535 blocks along y
)
_NO_CODE = re.compile(r"^\s*(?:#|template __global__|static_assert|\")|\\$")


def sites(name: str) -> list[Site]:
    """All mutants of a file, in its order; comments and explicit instantiations have none."""
    found: dict[tuple[int, str], Site] = {}
    for number, line in enumerate(launch.read_kernel_file(name).splitlines(), start=1):
        code = line.split("//")[0].rstrip()
        if not code.strip() or _NO_CODE.search(code):
            continue
        for operator in OPERATORS:
            for new in operator.changed(code):
                if new != code:
                    site = Site(name, number, operator.name, code.strip(), new.strip())
                    found.setdefault((number, site.after), site)
    return list(found.values())


def drawn(names: Sequence[str]) -> Iterator[Site]:
    """Mutants in the order in which they are taken: a file after the other, in each an operator after the other."""
    turns = [_by_operator(sites(name)) for name in names]
    while turns:
        turns = [turn for turn in turns if turn]
        yield from (turn.pop(0) for turn in turns)


def _by_operator(of_file: list[Site]) -> list[Site]:
    """Each operator's mutants shuffled by the text that they change, then one of each operator in turn."""
    groups: dict[str, list[Site]] = {}
    for site in sorted(of_file, key=_number):
        groups.setdefault(site.operator, []).append(site)
    ordered = sorted(groups.values(), key=lambda group: _number(group[0]))
    longest = max(map(len, ordered), default=0)
    return [group[turn] for turn in range(longest) for group in ordered if turn < len(group)]


def _number(site: Site) -> str:
    key = f"{site.file}\0{site.operator}\0{site.before}\0{site.after}"
    return hashlib.sha256(key.encode()).hexdigest()


def run(names: Sequence[str], count: int, jobs: int) -> list[Mutant]:
    """The first ``count`` mutants that compile, as drawn."""
    for name in names:  # compiles what does not change, once, and shows that the tests pass
        judge(name)
    candidates, done = drawn(names), []
    while len(done) < count:
        batch = [site for site, _ in zip(candidates, range(count - len(done)), strict=False)]
        if not batch:
            break
        ends = _ends(batch, jobs)
        done += [
            Mutant(**asdict(site), killed=end != _SURVIVED)
            for site, end in zip(batch, ends, strict=True)
            if end != _REFUSED
        ]
    return done


def judge(name: str) -> None:
    """Raise what the tests of a file raise; the sooner the better, so the fast build comes first."""
    for how, order in (("plain", None), ("check", "random")):
        for check in quick.CHECKS[name]:
            check(quick.maker(how, order))
    if found := quick.narrowings(name):
        raise AssertionError(f"64 bits become 32 without a cast: {', '.join(found)}")


def _ends(batch: Sequence[Site], jobs: int) -> list[int]:
    """Exit codes of the mutants, ``jobs`` at a time; a signal is a negative one."""
    ends: dict[int, int] = {}
    running: dict[int, int] = {}
    with tempfile.TemporaryDirectory(prefix="gpuseg-mutants-") as folder:
        for index, site in enumerate(batch):
            if len(running) >= jobs:
                _await(running, ends, batch)
            running[_started(site, Path(folder) / str(index))] = index
        while running:
            _await(running, ends, batch)
    return [ends[index] for index in range(len(batch))]


def _await(running: dict[int, int], ends: dict[int, int], batch: Sequence[Site]) -> None:
    pid, status = os.wait()
    index = running.pop(pid)
    ends[index] = os.waitstatus_to_exitcode(status)
    word = {_SURVIVED: "SURVIVED", _REFUSED: "refused "}.get(ends[index], "killed  ")
    print(
        f"{word} {batch[index].file}:{batch[index].line}: {batch[index].operator}",
        file=sys.stderr,
        flush=True,
    )


def _started(site: Site, cache: Path) -> int:
    """A process that judges a mutant; its builds go into ``cache``."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no thread of ours is running
        pid = os.fork()
    if pid == 0:
        os._exit(_judged(site, cache))
    return pid


def _judged(site: Site, cache: Path) -> int:
    try:
        _silence()
        os.environ["GPUSEG_EMULATOR_CACHE"] = str(cache)
        _mutate(site)
        judge(site.file)
    except BuildError:
        return _REFUSED
    except BaseException:  # noqa: BLE001 (pytest's own failures are no Exceptions)
        return _KILLED
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    return _SURVIVED


def _silence() -> None:
    """Let it crash, or hang, without a word."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _mutate(site: Site) -> None:
    """Everything that reads the file from now on reads the mutant."""
    original = launch.read_kernel_file

    def read(name: str) -> str:
        text = original(name)
        if name != site.file:
            return text
        lines = text.splitlines()
        lines[site.line - 1] = site.after
        return "\n".join(lines) + "\n"

    launch.read_kernel_file = read
    sources.read_kernel_file = read
    launch.kernel_source.cache_clear()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator.mutants", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--json", action="store_true", help="print the list of mutants as JSON and nothing else"
    )
    parser.add_argument(
        "--sample", type=int, default=SAMPLE, metavar="N", help=f"how many mutants (default {SAMPLE})"
    )
    jobs = available_cpus()
    parser.add_argument(
        "--jobs", type=int, default=jobs, metavar="N", help=f"how many at a time (default {jobs})"
    )
    parser.add_argument(
        "--file", action="append", choices=quick.files(), help="only of this file; may be repeated"
    )
    chosen = parser.parse_args(arguments)
    reason = unavailable()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    mutants = run(chosen.file or quick.files(), chosen.sample, chosen.jobs)
    killed = sum(mutant.killed for mutant in mutants)
    if chosen.json:
        print(json.dumps([asdict(mutant) for mutant in mutants], indent=1))
    else:
        for mutant in mutants:
            print(
                f"{'killed  ' if mutant.killed else 'SURVIVED'} {mutant.file}:{mutant.line}: {mutant.operator}"
            )
            print(f"    {mutant.before}\n    {mutant.after}")
        print(f"{killed} of {len(mutants)} killed")
    return 0 if mutants and killed >= KILLED_SHARE * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
