"""The same bits from other instructions: kernels compiled for processors without AVX-512, AVX2 or fma."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from gpuseg.core import fingerprint
from tests.golden import make

CHILD = """
import numpy as np
from gpuseg.core import fingerprint
from tests.engines.test_cpu_processors import silhouettes
from tests.golden import make
print(fingerprint.of_record([make.made("assign"), make.made("seeding")]), silhouettes())
"""


def silhouettes() -> str:
    """Fingerprint of both silhouettes of the golden rows."""
    import numpy as np

    from gpuseg.core.silhouette import ClusterShape
    from gpuseg.engines.base import ClusteredRows
    from gpuseg.engines.cpu.engine import CpuEngine
    from tests.golden.families import _data

    block = np.ascontiguousarray(_data.rows().T)
    sums, values = np.zeros((_data.N, 2), np.int64), np.empty(_data.N)
    engine = CpuEngine(1)
    engine.silhouette_sums(block, ClusteredRows(block, np.array([0, 37, _data.N])), 30, sums)
    labels, counts = np.arange(_data.N, dtype=np.uint8) % 2, np.array([45, 45])
    shape = ClusterShape(_data.rows()[:2], np.array([0.5, 0.25]), counts)
    engine.square_silhouettes(block, [labels], [shape], [values])
    nearest = np.empty(_data.N)
    engine.square_silhouettes(block, [labels], [shape], [nearest], labelling=True)
    return fingerprint.of_parts(list(map(fingerprint.of_array, [sums, values, labels, nearest])))


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="names x86-64 processors")
@pytest.mark.parametrize(
    "processor",
    [
        "generic",  # SSE2 only: fma becomes a call of C's fmaf, lane by lane
        pytest.param("haswell", marks=pytest.mark.full),  # AVX2 and fma, sixteen lanes in two registers
        pytest.param("nehalem", marks=pytest.mark.full),
    ],
)
def test_other_instructions_give_the_same_bits(processor):
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    recorded = fingerprint.of_record([make.recorded("assign"), make.recorded("seeding")])
    assert done.stdout.split() == [recorded, silhouettes()]
