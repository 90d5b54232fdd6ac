"""Who does it where: collections to partitions, pure tasks, local threads or a Dask client, trees of merges.

The only room that imports ``dask.distributed``; the rooms above hand it tables and functions of one partition.
"""

from gpuseg.graph.cuda_workers import cuda_workers

__all__ = ["cuda_workers"]
