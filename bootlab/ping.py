"""One ICMP echo request (RFC 792) from the lab's network, and whether it is answered."""

from __future__ import annotations

import os
import socket
import struct
import time

REQUEST, REPLY = 8, 0
IP_HEADER_BYTES = 20
NUMBER = os.getpid() & 0x7FFF
WAIT_S = 3.0


def answers(address: str) -> bool:
    """Raises OSError where the network cannot send at all."""
    checksum = 0xFFFF - ((REQUEST << 8) + NUMBER + 1)  # of a packet without data; the sum cannot overflow 16 bits
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
        line.sendto(struct.pack("!BBHHH", REQUEST, 0, checksum, NUMBER, 1), (address, 0))
        end = time.monotonic() + WAIT_S
        while (left := end - time.monotonic()) > 0:
            line.settimeout(left)
            try:
                data, (sender, _) = line.recvfrom(1024)
            except TimeoutError:
                break
            kind, _, _, number, _ = struct.unpack_from("!BBHHH", data, IP_HEADER_BYTES)
            if (sender, kind, number) == (address, REPLY, NUMBER):
                return True
    return False
