"""The batch system that this client's own file names ([batch] of vmclient.ini). Loads no other one."""

from __future__ import annotations

from common.batch import Batch, BatchError
from common.plugin import Site
from plugins.batch_program import Programs


def open_batch(site: Site) -> Batch:
    """Keeps nothing between two calls. Raises BatchError."""
    config = site.batch
    if config.engine == "sim":
        from plugins.batch_sim import SimBatch

        assert config.farm is not None  # common/config/batches.py
        return SimBatch(site.client, config.farm, config.sim_queues)
    if config.engine == "none":
        raise BatchError(f"{site.client}: no batch system is configured (engine of [batch] is none)")
    return _real(config.engine, Programs(site.client, config.programs, config.run_with, config.environment))


def _real(engine: str, programs: Programs) -> Batch:
    if engine == "slurm":
        from plugins.batch_slurm import Slurm

        return Slurm(programs)
    if engine == "sge":
        from plugins.batch_sge import GridEngine

        return GridEngine(programs)
    if engine == "pbs":
        from plugins.batch_pbs import Pbs

        return Pbs(programs)
    from plugins.batch_htcondor import HTCondor

    return HTCondor(programs)
