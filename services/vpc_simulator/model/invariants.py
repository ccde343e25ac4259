"""What must hold of the cloud at any moment, however it got there."""

from __future__ import annotations

from collections import Counter
from typing import Final

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eip_operations import eni_of
from services.vpc_simulator.model.eips import EipState
from services.vpc_simulator.model.eni_changes import Move
from services.vpc_simulator.model.states import AddressState, EniState

_LEADING: Final = (EipState.BINDING, EipState.BIND, EipState.UNBINDING)


def broken(cloud: Cloud) -> list[str]:
    """Every broken rule, in words; empty when all is well."""
    return [
        *_doubled_addresses(cloud),
        *_books_that_differ(cloud),
        *_unfinished(cloud),
        *_quotas(cloud),
        *_reservations(cloud),
        *_eips(cloud),
    ]


def _doubled_addresses(cloud: Cloud) -> list[str]:
    counts = Counter(address for eni in cloud.enis.values() for address in eni.addresses)
    return [f"{address} is on {count} ENIs" for address, count in counts.items() if count > 1]


def _books_that_differ(cloud: Cloud) -> list[str]:
    by_subnet = {
        (address, holder.eni)
        for subnet in cloud.subnets.values()
        for address, holder in subnet.holders.items()
        if holder.eni is not None
    }
    by_eni = {(address, eni.id) for eni in cloud.enis.values() for address in eni.addresses}
    by_instance = {
        (instance.id, index, eni)
        for instance in cloud.instances.values()
        for index, eni in instance.enis.items()
    }
    # An ENI that is moving has its slot at both ends.
    arriving = {
        (task.change.there.instance, task.change.there.device_index, task.change.eni.id)
        for task in cloud.tasks
        if isinstance(task.change, Move)
    }
    by_attachment = arriving | {
        (eni.attachment.instance, eni.attachment.device_index, eni.id)
        for eni in cloud.enis.values()
        if eni.attachment is not None
    }
    found = [f"{address} is in one book only ({eni})" for address, eni in by_subnet ^ by_eni]
    found += [f"{each} is attached in one book only" for each in by_instance ^ by_attachment]
    found += [
        f"{eni.id} has not exactly one primary address"
        for eni in cloud.enis.values()
        if sum(each.is_primary for each in eni.addresses.values()) != 1
    ]
    return found


def _unfinished(cloud: Cloud) -> list[str]:
    """What no task is changing is settled."""
    idle = [eni for eni in cloud.enis.values() if eni.running_task is None]
    found = [
        f"{eni.id} has no task and is {eni.state}"
        for eni in idle
        if eni.state is not EniState.AVAILABLE
    ]
    found += [
        f"{each.address} of {eni.id} has no task and is {each.state}"
        for eni in idle
        for each in eni.addresses.values()
        if each.state is not AddressState.AVAILABLE
    ]
    return found


def _reservations(cloud: Cloud) -> list[str]:
    """One reservation per address, in both books, and used by nobody but its owner."""
    by_subnet = {
        each.id: each for subnet in cloud.subnets.values() for each in subnet.reserved.values()
    }
    found = [
        f"{each} is reserved in one book only"
        for each in by_subnet.keys() ^ cloud.reservations.keys()
    ]
    for each in by_subnet.values():
        holder = cloud.subnets[each.subnet].holders.get(each.address)
        if holder is None:
            continue
        user = cloud.enis[holder.eni].account if holder.eni is not None else holder.kind
        if user != each.account:
            found.append(f"{each.address} is kept by {each.account} and used by {user}")
    return found


def _eips(cloud: Cloud) -> list[str]:
    """Each leads to an address that an ENI has, or nowhere, as its state says."""
    found = []
    leading = {e.private_address: e.id for e in cloud.eips.values() if e.private_address}
    if leading != cloud.eips_by_private:
        found.append("EIPs and the addresses they lead to differ")
    for eip in cloud.eips.values():
        if (eip.private_address is not None) != (eip.state in _LEADING):
            found.append(f"{eip.id} is {eip.state} and leads to {eip.private_address}")
        if eip.private_address is not None and eni_of(cloud, eip) is None:
            found.append(f"{eip.id} leads to {eip.private_address}, which no ENI has")
    return found


def _quotas(cloud: Cloud) -> list[str]:
    found = [
        f"{instance.id} has {len(instance.enis)} ENIs"
        for instance in cloud.instances.values()
        if len(instance.enis) > instance.quota.enis
    ]
    found += [
        f"{eni.id} has {len(eni.addresses)} addresses"
        for eni in cloud.enis.values()
        if eni.attachment is not None and len(eni.addresses) > cloud.addresses_max(eni)
    ]
    for vpc in (cloud.vpc.id, *cloud.other_vpcs):
        if cloud.secondary_enis(vpc) > cloud.limits.enis_per_vpc:
            found.append(f"{vpc} has {cloud.secondary_enis(vpc)} secondary ENIs")
    return found
