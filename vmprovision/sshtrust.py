"""How hosts come to know each other's ssh keys, for `xl migrate`: what their clients say and do, and the manager's rule.

Texts only. Public keys alone are passed on; docs/design/0061 says who vouches for them.
"""

from __future__ import annotations

from vmprovision.model import Inventory

KEY = "AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/]{48}"  # 4 + 11 + 4 + 32 bytes in base64, of which the kind's name is the beginning
PROGRAMS = f"""\
# how hosts come to know each other's ssh keys (hosts.ini in the manager's triggers.d)
[[ssh-keys]]
argv = /usr/sbin/vmherd-ssh, keys
[[ssh-known]]
argv = /usr/sbin/vmherd-ssh, known
[[ssh-trust]]
argv = /usr/sbin/vmherd-ssh, trust, {{host}}, {{keys}}
[[[patterns]]]
host = '[A-Za-z0-9][A-Za-z0-9-]{{0,62}}'
keys = '{KEY}:{KEY}'
[[ssh-forget]]
argv = /usr/sbin/vmherd-ssh, forget, {{host}}
[[[patterns]]]
host = '[A-Za-z0-9][A-Za-z0-9-]{{0,62}}'
"""
PROPERTIES = "".join(
    f"[{name}]\ncommand = exec\nparameters = {program},\nticks = {ticks}\npush = on_change\n"
    for name, program, ticks in (("ssh_keys", "ssh-keys", 60), ("ssh_known", "ssh-known", 10))
)
TRIGGER = """\
# Written by vmprovision, for the manager's triggers.d: each host of provision.ini is told the ssh keys of the others, so that
# domains can move between them. Who is in this list speaks for itself, with the key that an operator has accepted.
[hosts_know_each_other]
each = clients
expr = {{
    client.name in {names} and any(
        f"{{name}}:{{manager.clients[name].ssh_keys['text']}}" not in client.ssh_known["text"].split()
        for name in {names}
        if name != client.name and known(manager.clients[name].ssh_keys) and manager.clients[name].ssh_keys["code"] == 0
    )
}}
cmd = {{
    for name in {names}:
        keys = manager.clients[name].ssh_keys
        if name != client.name and known(keys) and keys["code"] == 0:
            if f"{{name}}:{{keys['text']}}" not in client.ssh_known["text"].split():
                sender.send_execute("exec", {{"program": "ssh-trust", "host": name, "keys": keys["text"]}})
}}
on_update_check = yes
ticks = 60
cooldown = 15
severity = info
"""


def triggers(inventory: Inventory) -> str:
    """A file for the manager's triggers.d. `names`: nobody else is believed, whatever groups it says it is in."""
    return TRIGGER.format(names=tuple(inventory.hosts)) if len(inventory.hosts) > 1 else ""
