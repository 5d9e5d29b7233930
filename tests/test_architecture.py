"""Who may import whom, and which modules stay pure (DESIGN section 3)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("common", "vmmanager", "vmclient", "vmctl", "plugins", "demo", "sim", "vmprovision")
IMPURE = {"threading", "queue", "socket", "subprocess", "time", "random", "os", "logging", "signal", "selectors", "sqlite3"}
PURE = (
    "common/core.py",
    "common/protocol.py",
    "common/envelope.py",
    "common/msgpack_size.py",
    "common/paths.py",
    "common/ratelimit.py",
    "common/plugin.py",
    "common/parameters.py",
    "common/batch.py",
    "common/config/batches.py",
    "common/config/blocks.py",
    "common/config/build.py",
    "common/config/checks.py",
    "common/config/code.py",
    "common/config/differences.py",
    "common/config/environment_keys.py",
    "common/config/environments.py",
    "common/config/hypervisors.py",
    "common/config/keys.py",
    "common/config/model.py",
    "common/config/python2.py",
    "common/config/shown.py",
    "common/config/source.py",
    "common/config/tree.py",
    "common/config/values.py",
    "common/config/vms.py",
    "common/definition.py",
    "common/hypervisor.py",
    "common/storagebeat.py",
    "common/words.py",
    "common/images/manifest.py",
    "common/render/libvirt.py",
    "common/render/xl.py",
    "common/bus/contract.py",
    "common/bus/fragments.py",
    "common/bus/intake.py",
    "common/bus/names.py",
    "common/bus/views.py",
    "common/bus/spread/codec.py",
    "common/bus/spread/constants.py",
    "common/bus/spread/stream.py",
    "common/bus/vmbus/config.py",
    "common/bus/vmbus/hub.py",
    "common/bus/vmbus/pressure.py",
    "common/bus/vmbus/wire.py",
    "vmmanager/environments/answers.py",
    "vmmanager/environments/book.py",
    "vmmanager/environments/breakers.py",
    "vmmanager/environments/demand.py",
    "vmmanager/environments/explain.py",
    "vmmanager/environments/expression.py",
    "vmmanager/environments/headnode.py",
    "vmmanager/environments/keeping.py",
    "vmmanager/environments/mix.py",
    "vmmanager/environments/orders.py",
    "vmmanager/environments/places.py",
    "vmmanager/environments/policies.py",
    "vmmanager/environments/quotas.py",
    "vmmanager/environments/requests.py",
    "vmmanager/environments/sights.py",
    "vmmanager/environments/situation.py",
    "vmmanager/environments/slots.py",
    "vmmanager/environments/steward.py",
    "vmmanager/environments/switching.py",
    "vmmanager/environments/waterfill.py",
    "vmmanager/events.py",
    "vmmanager/failover/answers.py",
    "vmmanager/failover/authority.py",
    "vmmanager/failover/capacity.py",
    "vmmanager/failover/claiming.py",
    "vmmanager/failover/claims.py",
    "vmmanager/failover/fences.py",
    "vmmanager/failover/fencing.py",
    "vmmanager/failover/hostleases.py",
    "vmmanager/failover/hosts.py",
    "vmmanager/failover/proof.py",
    "vmmanager/failover/protection.py",
    "vmmanager/failover/reign.py",
    "vmmanager/failover/restraint.py",
    "vmmanager/failover/sequence.py",
    "vmmanager/failover/timeline.py",
    "vmmanager/failover/watch.py",
    "vmmanager/acting.py",
    "vmmanager/asking.py",
    "vmmanager/context.py",
    "vmmanager/decisions.py",
    "vmmanager/followers.py",
    "vmmanager/history.py",
    "vmmanager/keybook.py",
    "vmmanager/leadership.py",
    "vmmanager/manager.py",
    "vmmanager/merging.py",
    "vmmanager/operations.py",
    "vmmanager/peers.py",
    "vmmanager/requests.py",
    "vmmanager/roll.py",
    "vmmanager/state.py",
    "vmmanager/triggers/agenda.py",
    "vmmanager/triggers/answers.py",
    "vmmanager/triggers/board.py",
    "vmmanager/triggers/code.py",
    "vmmanager/triggers/effects.py",
    "vmmanager/triggers/engine.py",
    "vmmanager/triggers/environments.py",
    "vmmanager/triggers/expression.py",
    "vmmanager/triggers/firing.py",
    "vmmanager/triggers/history.py",
    "vmmanager/triggers/holds.py",
    "vmmanager/triggers/pipeline.py",
    "vmmanager/triggers/rule.py",
    "vmmanager/triggers/silences.py",
    "vmmanager/triggers/states.py",
    "vmmanager/triggers/talk.py",
    "vmmanager/triggers/trial.py",
    "vmmanager/triggers/unknown.py",
    "vmmanager/triggers/views.py",
    "vmmanager/triggers/watch.py",
    "vmmanager/vms/evacuation.py",
    "vmmanager/vms/placement.py",
    "vmmanager/vms/protection.py",
    "vmmanager/vms/relations.py",
    "vmclient/events.py",
    "vmclient/guard_book.py",
    "vmclient/guard_core.py",
    "vmclient/guard_events.py",
    "vmclient/guard_storage.py",
    "vmclient/guardwords.py",
    "vmclient/lease.py",
    "vmclient/host.py",
    "vmclient/controls.py",
    "vmclient/convert.py",
    "vmclient/executions.py",
    "vmclient/fetches.py",
    "vmclient/properties.py",
    "vmclient/pushing.py",
    "vmclient/frames.py",
    "vmclient/hearing.py",
    "common/value.py",
    "plugins/batch_sim_queue.py",
    "plugins/batch_tally.py",
    "plugins/condor_output.py",
    "plugins/slurm_output.py",
    "plugins/xl_output.py",
    "vmctl/board.py",
    "sim/failover/bus.py",
    "sim/failover/clocks.py",
    "sim/failover/happenings.py",
    "sim/failover/hosts.py",
    "sim/failover/letters.py",
    "sim/failover/machine.py",
    "sim/failover/managers.py",
    "sim/failover/operator.py",
    "sim/failover/playing.py",
    "sim/failover/power.py",
    "sim/failover/process.py",
    "sim/failover/storage.py",
    "sim/failover/story.py",
    "sim/failover/timeline.py",
    "sim/failover/truth.py",
    "sim/failover/world.py",
    "sim/farm.py",
    "sim/figures.py",
    "sim/reference.py",
    "sim/scenario.py",
    "vmctl/failure.py",
    "vmctl/wording.py",
    "vmprovision/bootmenu.py",
    "vmprovision/built.py",
    "vmprovision/checks.py",
    "vmprovision/edits.py",
    "vmprovision/gateways.py",
    "vmprovision/keys.py",
    "vmprovision/layer.py",
    "vmprovision/model.py",
    "vmprovision/plan.py",
    "vmprovision/services.py",
)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


# The simulator runs the daemons' own cores: it may import their pure modules, and nothing else of them.
CORES = {path.removesuffix(".py").replace("/", ".") for path in PURE if path.startswith(("vmmanager/", "vmclient/"))}


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_common_is_imported_across_folders(folder: str) -> None:
    foreign = set(FOLDERS) - {folder, "common"}
    for path in sorted((ROOT / folder).rglob("*.py")):
        crossed = {name for name in imported(path) if name.split(".")[0] in foreign}
        if folder == "sim":
            crossed -= CORES
        assert not crossed, f"{path.relative_to(ROOT)} imports {sorted(crossed)}"


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_nothing_that_acts(module: str) -> None:
    crossed = {name for name in imported(ROOT / module) if name.split(".")[0] in IMPURE}
    assert not crossed, f"{module} imports {sorted(crossed)}"
