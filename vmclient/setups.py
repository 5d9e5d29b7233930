"""What the worker processes of a configuration are told, and how many there are. Pure: starts none."""

from __future__ import annotations

from dataclasses import replace

from common.config import batches, hypervisors
from common.config.model import ClientConfig
from vmclient.frames import Setup
from vmclient.outcomes import Limits

READER_DATA_BYTES = 1024 * 1024 * 1024  # RLIMIT_DATA of a reader's process
READERS = Limits(most=4, warm=1)
RUNNER_SPARE = 2  # workers beyond `parallel`: of those being killed


def runner_limits(parallel: int) -> Limits:
    return Limits(most=parallel + RUNNER_SPARE, warm=0, grow_after_s=0.0, idle_s=60.0, keep_strays=True)


def setup_of(config: ClientConfig, data_bytes: int) -> Setup:
    """What the workers of this configuration are told."""
    folder = str(config.paths.plugins) if config.paths.plugins else ""
    one = config.hypervisor
    plugins = list(config.plugins)
    plugins += [hypervisors.PLUGIN] if one.engine != "none" else []
    plugins += [batches.PLUGIN] if config.batch.engine != "none" else []
    one = replace(one, saves=one.saves or config.paths.state / "saves")
    modules = tuple(dict.fromkeys(plugins))
    return Setup(config.name, modules, folder, {}, config.programs, config.services, one, config.batch, data_bytes)
