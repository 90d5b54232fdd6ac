"""The memory plan of a fit (core): what is held, what is read again, and the peak, from metadata alone.

Pure arithmetic over what :mod:`gpuseg.cluster.planning` finds out about a table and a machine. DESIGN section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuseg.core.memory import bound_bytes, label_bytes, sums_bytes
from gpuseg.core.seeding import SAMPLE_ROWS, draft_rows

_FLOAT32 = 4
_CANDIDATE = 4
_RESULT = 4
"""A label of the result, int32; the narrower ones of each tile lie beside it while they are joined."""
_SAMPLE_COPIES = 5
"""Tiles' shares of the sample, two being merged, what sorts them, and the outcome."""
_SAMPLE_OF_ONE = 2
"""The share of the only tile, and that in order."""
_DRAFT_COPIES = 2
"""The draft as it is picked from the sample, and that as a block."""
_SAMPLE_WHO = 24
"""Draw, identity and weight of a sampled row."""
_DECODING = 2
"""Columns that are decoded: their compressed pages, and their values before they are copied."""
_WHO = 16
"""Identity and draw of each row of a tile."""

Size = tuple[int, str]


@dataclass(frozen=True)
class TableSize:
    """What is known of a table before it is read.

    Parameters
    ----------
    kind : str
        "memory", "dask" or "parquet".
    n_rows, tile_rows : int or None
        Rows of the table and of its largest partition; None where only reading tells.
    n_tiles : int
        Partitions.
    n_features : int
        Columns that are features.
    single : bool
        Whether they are float32; otherwise they are read as float64.
    beside : int
        Bytes of a row's weight and key.
    at_a_time : int
        Columns of a file that are decoded together.
    is_block : bool
        Of a table in memory: whether it is feature-major float32 already, so that no copy is made.
    """

    kind: str
    n_rows: int | None
    tile_rows: int | None
    n_tiles: int
    n_features: int
    single: bool
    beside: int = 0
    at_a_time: int = 1
    is_block: bool = False

    @property
    def source(self) -> int:
        """Bytes of a row as it is read."""
        return self.n_features * (_FLOAT32 if self.single else 2 * _FLOAT32)

    @property
    def reading(self) -> int:
        """Bytes of a row while it is read, or computed by Dask."""
        if self.kind == "dask":
            return self.source + self.block
        return self.source + self.source * _DECODING * min(self.at_a_time, self.n_features) // self.n_features

    @property
    def block(self) -> int:
        """Bytes of a row in the feature-major float32 block."""
        return 0 if self.is_block else self.n_features * _FLOAT32


@dataclass(frozen=True)
class Work:
    """What a fit does with a table.

    Parameters
    ----------
    clusters : tuple of int
        k of each model that is fitted at once.
    samples : bool
        Whether a sample of rows is gathered to seed from.
    rounds : int
        Rounds of k-means|| at most, 0 without.
    max_iter : int
        Passes at most.
    labels : bool
        Whether labels come back to this process.
    """

    clusters: tuple[int, ...]
    samples: bool
    rounds: int
    max_iter: int
    labels: bool

    def states(self, n_features: int) -> int:
        """Bytes of a row's label and bounds, all models."""
        return sum(label_bytes(k) + bound_bytes(n_features, k) for k in self.clusters)

    def reads_once(self, *, single: bool) -> int:
        """Reads beside those of the iterations: to prepare, to seed, to close."""
        preparing = 2 if single else 3
        seeding = int(self.samples) + (self.rounds + 2 if self.rounds else 0)
        return preparing + seeding + 1


@dataclass(frozen=True)
class Place:
    """Where a fit runs.

    Parameters
    ----------
    workers : int
        Worker processes; 0 for the threads of this process.
    threads : int
        Tiles that a process works on at a time.
    available : int
        Bytes that the process with the least may take.
    room : int
        Bytes that all processes together may hold between passes.
    holds_source : bool
        Whether rows stay as they were read beside their block: a Dask collection on workers.
    """

    workers: int
    threads: int
    available: int
    room: int
    holds_source: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """What a fit holds, how often it reads, and what it needs at its peak.

    ``str`` of it is the table that ``--dry-run`` prints. Bytes are those that grow with the table: allocators of Python
    and Arrow keep some 30 MiB more. A pass that moves empty clusters, or centres a float32 feature that lies far from
    zero, reads once more. Where ``n_rows`` is None (a Dask collection that has not been
    counted) only a tile can be planned for, and as much is held as there turns out to be room for.

    Parameters
    ----------
    table : TableSize
        The table.
    work : Work
        The fit.
    place : Place
        The processes.
    persist : bool
        Whether the prepared rows stay in memory between passes, all of them.
    room : int
        Bytes of rows that do: where not all fit, those that do are held and the others read again.
    reason : str
        Why.
    """

    table: TableSize
    work: Work
    place: Place
    persist: bool
    room: int
    reason: str

    @property
    def needed(self) -> int | None:
        """Bytes that holding every row between passes takes, in all processes; None where rows are not counted."""
        n = self.table.n_rows
        return None if n is None else n * max(self._row_while_preparing, self._row_in_passes)

    @property
    def _row_prepared(self) -> int:
        source = self.table.source if self.place.holds_source else 0
        return self.table.block + self.table.beside + source

    @property
    def _row_in_passes(self) -> int:
        return self._row_prepared + self.work.states(self.table.n_features)

    @property
    def _row_while_preparing(self) -> int:
        """Rows stay as they were read until their block is made; of float32 files the rows are the block."""
        if self.table.kind == "memory" or self.place.holds_source:
            return self._row_prepared
        copies = self.table.block if self.table.kind == "dask" and self.table.single else 0
        return self.table.source + copies + self.table.beside

    def _held(self, row: int) -> int:
        n = self.table.n_rows
        return 0 if n is None else min(self.room, n * row)

    @property
    def holds_source(self) -> bool:
        """Whether workers keep the rows of a Dask collection as they were made."""
        return self.persist or self.place.holds_source

    @property
    def held(self) -> int:
        """Bytes held between passes, in all processes; 0 where rows are not counted."""
        return self._held(self._row_in_passes)

    @property
    def held_share(self) -> float | None:
        """Share of the rows that is not read again; None where rows are not counted."""
        n = self.table.n_rows
        return None if n is None else min(1.0, self.room / max(1, n * self._row_in_passes))

    @property
    def tile(self) -> int:
        """Bytes of the tiles that one process works on at a time, beside what it holds."""
        rows, table = self.table.tile_rows, self.table
        if table.kind == "memory" or rows is None:
            return 0
        # Rows in float32 are the block; others are copied to it, and let go before they are labelled.
        copying = table.block + (0 if table.single else table.source)
        return (
            rows
            * (
                max(table.reading, copying, table.block + self.work.states(self.table.n_features))
                + table.beside
                + _WHO
            )
            * self.place.threads
        )

    @property
    def sample(self) -> int:
        """Bytes that gathering the seeding sample takes here."""
        if not self.work.samples:
            return 0
        rows = SAMPLE_ROWS if self.table.n_rows is None else min(SAMPLE_ROWS, self.table.n_rows)
        gathered = rows * (_SAMPLE_OF_ONE if self.table.n_tiles == 1 else _SAMPLE_COPIES)
        drafts = (draft_rows(k) for k in self.work.clusters)
        drafted = rows + _DRAFT_COPIES * max((draft for draft in drafts if draft < rows), default=0)
        return max(gathered, drafted) * (self.table.n_features * _FLOAT32 + _SAMPLE_WHO)

    @property
    def labels(self) -> int:
        """Bytes of the labels that come back."""
        n = self.table.n_rows if self.work.labels else 0
        several = self.table.n_tiles > 1
        each = sum(_RESULT + several * label_bytes(k) for k in self.work.clusters)
        return 0 if n is None else n * each

    @property
    def sums(self) -> int:
        """Bytes of the exact sums of a process."""
        weighted = self.table.beside > 0
        return sums_bytes(self.table.n_features, self.work.clusters, self.place.threads, weighted=weighted)

    @property
    def peak(self) -> int:
        """Bytes beyond its beginning that this process has at most, by the stage that has most."""
        if self.place.workers:
            return max(self.sample, self.labels) + self.sums
        seeding = _CANDIDATE if self.work.rounds else 0
        stages = (
            self._held(self._row_while_preparing),
            self._held(self._row_prepared + seeding) + self.sample,
            self._held(self._row_in_passes) + self.labels,
        )
        return max(stages) + self.tile + self.sums

    @property
    def worker_peak(self) -> int:
        """The same of a worker, if rows are spread evenly; 0 without workers."""
        if not self.place.workers:
            return 0
        held = max(self._held(self._row_while_preparing), self._held(self._row_in_passes))
        return -(-held // self.place.workers) + self.tile + self.sums

    @property
    def reads(self) -> tuple[int, int]:
        """Reads of the source: those that are made in any case, and those of each iteration."""
        if self.table.kind == "memory":
            return 0, 0
        return (1, 0) if self.holds_source else (self.work.reads_once(single=self.table.single), 1)

    @property
    def fits(self) -> bool:
        """Whether the process with the least memory has enough."""
        return max(self.worker_peak if self.place.workers else self.peak, 0) <= self.place.available

    def largest(self) -> tuple[str, int]:
        """Which part needs most, "rows", "tile", "sample" or "labels", and its bytes."""
        parts = {"rows": self.held, "tile": self.tile, "sample": self.sample, "labels": self.labels}
        return max(parts.items(), key=lambda part: part[1])

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(plan: MemoryPlan) -> list[str]:
    table, work, place = plan.table, plan.work, plan.place
    ks = ", ".join(map(str, work.clusters))
    rows = "an unknown number of" if table.n_rows is None else f"{table.n_rows:,}"
    most = "" if table.tile_rows is None else f" of at most {table.tile_rows:,} rows"
    where = f"{place.workers} Dask workers" if place.workers else "this process"
    kind = "float32" if table.single else "read as float64"
    tiles = f"{table.n_tiles:,} tile{'s' * (table.n_tiles > 1)}{most}"
    head = f"Memory plan: {rows} rows x {table.n_features} features ({kind}) in {tiles}, k = {ks}, in {where}"
    parts = [
        ("block, float32, feature-major", table.block),
        ("weights and keys", table.beside),
        ("labels and bounds", work.states(table.n_features)),
        ("rows as they were read", table.source if place.holds_source else 0),
    ]
    body = [f"  {name:<34}{_of_rows(row, table.n_rows):>24}" for name, row in parts if row]
    sizes = [
        ("held between passes", plan.held), ("tiles being read", plan.tile), ("seeding sample", plan.sample),
        ("labels of the result", plan.labels), ("peak here", plan.peak), ("peak of a worker", plan.worker_peak),
    ]  # fmt: skip
    if table.n_rows is None:
        sizes[0] = ("held between passes, at most", plan.room)
    body += [
        f"  {name:<34}{said(size):>24}" for number, (name, size) in enumerate(sizes) if size or not number
    ]
    return [head, *body, f"  persist: {plan.reason}", f"  reads: {_reads(plan)}", f"  {_verdict(plan)}"]


def _of_rows(row: int, n_rows: int | None) -> str:
    total = "" if n_rows is None else f", {said(row * n_rows)}"
    return f"{row} B a row{total}"


def _reads(plan: MemoryPlan) -> str:
    once, each = plan.reads
    if plan.table.kind == "memory":
        return "the rows are in memory"
    if not each:
        return "once"
    most = f"{once} and one an iteration, at most {once + plan.work.max_iter:,}"
    share = plan.held_share
    if not share:
        return most
    return f"{most}; {share:.0%} of the rows are held and read once"


def _verdict(plan: MemoryPlan) -> str:
    least = "the smallest worker" if plan.place.workers else "this process"
    has = f"{said(plan.place.available)} that {least} may take"
    return f"fits into the {has}" if plan.fits else f"does not fit into the {has}"


def said(n_bytes: int) -> str:
    """Bytes in the largest binary unit of which there is one, as people read them.

    Examples
    --------
    >>> said(3 << 20), said(12), said(1 << 62)
    ('3.0 MiB', '12 B', 'unlimited memory')
    """
    if n_bytes >= 1 << 60:
        return "unlimited memory"
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if n_bytes >= 1 << power:
            return f"{n_bytes / (1 << power):.1f} {unit}"
    return f"{n_bytes} B"
