"""One schedule played: did anything run twice, and after the last fault, does all run that can? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sim.failover.happenings import heal_all
from sim.failover.schedules import Schedule
from sim.failover.story import Story

CALM_S = 60.0  # after the last fault all that was not stopped runs within that; in the farms of chaos a machine boots in 5 s
LOOK_S = 2.0
OPERATOR_S = 30.0  # what was stopped, or had failed, an operator starts; it runs within that


@dataclass(frozen=True, slots=True)
class Outcome:
    """`faults`: what must never be; `missing`: what does not run at the end, and why."""

    faults: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return bool(self.faults or self.missing)

    @property
    def kind(self) -> str:
        return "fault" if self.faults else "missing" if self.missing else ""

    def __str__(self) -> str:
        return "; ".join((*self.faults, *self.missing)) or "all is well"


def play(wanted: Schedule) -> Outcome:
    return storm(stand(wanted.plan), wanted.steps)


def stand(plan: tuple[str, ...]) -> Story:
    """A farm that stands; no fault has come yet."""
    story = Story(silent=True)
    for line in plan:
        story.run(line, [])
    for host in story.begin().hosts.values():
        host.machine.pace.boot_s = 5.0
    story.run("ready 12", [])
    return story


def storm(story: Story, steps: tuple[str, ...]) -> Outcome:
    """The steps, and a calm end, on a farm that stands."""
    world = story.begin()
    for line in steps:
        story.run(line, [])
        if world.faults:
            return Outcome(tuple(world.faults), ())
    missing = calm(story)
    return Outcome(tuple(world.faults), missing)


def calm(story: Story) -> tuple[str, ...]:
    """Every fault ends; what does not run then, and why."""
    world = story.begin()
    heal_all(world)
    end = world.now + CALM_S
    for line in ("vmctl ha arm", "vmctl ha confirm", *(f"vmctl host maintenance {host} off" for host in world.hosts)):
        world.wait(0.5)
        while not world.acting() and world.now < end:  # until then it would be refused, and he is told so
            world.wait(0.5)
        story.run(line, [])
    missing = _until_all_run(story, CALM_S)
    excused = {name for name in missing if story.excused(name)}
    if set(missing) - excused:
        return tuple(f"{name} does not run: {story.state(name)}" for name in missing if name not in excused)
    for _ in range(3):
        if missing and not world.faults:
            world.wait(10.0)  # a person does not try again at once
            story.run(f"vmctl vm start {' '.join(missing)}", [])
            missing = _until_all_run(story, OPERATOR_S)
    return tuple(f"{name} does not run, though an operator starts it: {story.state(name)}" for name in missing)


def _until_all_run(story: Story, limit_s: float) -> list[str]:
    world = story.begin()
    end = world.now + limit_s
    missing = world.all_run()
    while missing and world.now < end and not world.faults:
        for host in world.hosts.values():  # fenced since an operator said that the silent ones are gone: he switches it on
            if not host.machine.on:
                host.machine.power_on()
        if all(story.excused(name) for name in missing) and world.acting():
            break
        world.wait(LOOK_S)
        missing = world.all_run()
    return missing
