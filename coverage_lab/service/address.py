"""What counts as one caller where connections and wrong keys are counted."""

from __future__ import annotations

import ipaddress


def network(address: str) -> str:
    """What counts as one address: IPv6 hands out whole /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found.ipv4_mapped or found) if found.version == 6 else str(found)
