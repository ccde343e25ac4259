"""ENIs live through their states, refuse what their state forbids, and respect every quota."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from services.vpc_simulator.model.effects import RemoveEni, SetEni
from services.vpc_simulator.model.eni_operations import NewAddress
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import EniState, IllegalStep, eni_step
from tests.support.small_cloud import SmallCloud


@pytest.fixture
def small() -> SmallCloud:
    return SmallCloud()


def refusal(call: Callable[[], object]) -> Code:
    with pytest.raises(ApiFailure) as caught:
        call()
    return caught.value.code


def address(text: str, *, primary: bool = False) -> NewAddress:
    return NewAddress(address=IPv4Address(text), is_primary=primary)


def test_an_eni_lives_from_pending_to_gone(small: SmallCloud) -> None:
    eni, created = small.create()
    seen = [(eni.state, eni.attachment is not None)]
    small.settle(created)
    seen.append((eni.state, eni.attachment is not None))
    attaching = small.attach(eni)
    seen.append((eni.state, eni.attachment is not None))
    small.settle(attaching)
    seen.append((eni.state, eni.attachment is not None))
    detaching = small.detach(eni)
    seen.append((eni.state, eni.attachment is not None))
    small.settle(detaching)
    seen.append((eni.state, eni.attachment is not None))
    deleting = small.delete(eni)
    seen.append((eni.state, eni.attachment is not None))
    small.settle(deleting)

    assert seen == [
        (EniState.PENDING, False),
        (EniState.AVAILABLE, False),
        (EniState.ATTACHING, True),
        (EniState.AVAILABLE, True),
        (EniState.DETACHING, True),
        (EniState.AVAILABLE, False),
        (EniState.DELETING, False),
    ]
    assert eni.id not in small.cloud.enis


def test_a_step_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(IllegalStep):
        eni_step(EniState.PENDING, EniState.ATTACHING)


def test_a_deleted_eni_gives_its_addresses_back(small: SmallCloud) -> None:
    subnet = small.cloud.subnet("subnet-a")
    free = subnet.available
    eni, created = small.create(secondary_count=3)
    small.settle(created)
    assert subnet.available == free - 4

    small.settle(small.delete(eni))

    assert subnet.available == free


@pytest.mark.parametrize("verb", ["attach", "detach", "delete"])
def test_an_eni_under_change_refuses_another(small: SmallCloud, verb: str) -> None:
    eni = small.attached()
    if verb != "detach":
        small.settle(small.detach(eni))
    running = small.assign(eni, 1)
    calls: dict[str, Callable[[], object]] = {
        "attach": lambda: small.attach(eni),
        "detach": lambda: small.detach(eni),
        "delete": lambda: small.delete(eni),
    }

    assert refusal(calls[verb]) is Code.INVALID_STATE

    small.settle(running)
    calls[verb]()


def test_a_subnet_gives_neither_its_first_two_nor_its_last_address(small: SmallCloud) -> None:
    eni, _ = small.create("subnet-small", secondary_count=4)

    assert [str(each) for each in eni.addresses] == [f"10.0.2.{last}" for last in range(2, 7)]
    assert refusal(lambda: small.create("subnet-small")) is Code.SUBNET_INSUFFICIENT


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("10.0.9.9", Code.RANGE),
        ("10.0.1.0", Code.RESERVED),
        ("10.0.1.1", Code.RESERVED),
        ("10.0.1.255", Code.RESERVED),
        ("10.0.1.2", Code.RESOURCE_IN_USE),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(
    small: SmallCloud, wanted: str, code: Code
) -> None:
    assert refusal(lambda: small.create(addresses=[address(wanted)])) is code
    assert small.cloud.secondary_enis(small.cloud.vpc.id) == 0


def test_the_primary_address_is_the_one_that_was_named_so(small: SmallCloud) -> None:
    eni, _ = small.create(addresses=[address("10.0.1.50"), address("10.0.1.60", primary=True)])

    assert eni.primary_address == IPv4Address("10.0.1.60")
    assert len(eni.addresses) == 2


def test_a_foreign_address_is_never_given(small: SmallCloud) -> None:
    taken = IPv4Address("10.0.2.4")
    small.cloud.take_foreign(
        "subnet-small", taken, kind="CLB", now=small.cloud.subnet("subnet-a").created_at
    )

    eni, _ = small.create("subnet-small", secondary_count=3)

    assert taken not in eni.addresses
    assert small.cloud.subnet("subnet-small").available == 0


def test_an_instance_takes_no_more_enis_than_its_quota(small: SmallCloud) -> None:
    small.attached()
    second, created = small.create()
    small.settle(created)

    assert refusal(lambda: small.attach(second)) is Code.LIMIT_EXCEEDED


def test_an_eni_with_more_addresses_than_the_instance_allows_stays_off(
    small: SmallCloud,
) -> None:
    eni, created = small.create(secondary_count=6)
    small.settle(created)

    assert refusal(lambda: small.attach(eni)) is Code.LIMIT_EXCEEDED


def test_a_vpc_has_no_more_enis_than_its_quota(small: SmallCloud) -> None:
    for _ in range(4):
        small.create()

    assert refusal(small.create) is Code.ENI_LIMIT_EXCEEDED


def test_an_eni_goes_only_to_an_instance_of_its_zone(small: SmallCloud) -> None:
    eni, created = small.create()
    small.settle(created)

    assert refusal(lambda: small.attach(eni, "ins-far")) is Code.ZONE_MISMATCH


def test_an_attached_eni_is_neither_attached_again_nor_deleted(small: SmallCloud) -> None:
    eni = small.attached()

    assert refusal(lambda: small.attach(eni, "ins-two")) is Code.ALREADY_ATTACHED
    assert refusal(lambda: small.delete(eni)) is Code.RESOURCE_IN_USE


def test_an_extended_attachment_is_refused(small: SmallCloud) -> None:
    eni, created = small.create()
    small.settle(created)

    assert refusal(lambda: small.attach(eni, attach_type=1)) is Code.INSTANCE_FAMILY


def test_the_lowest_free_device_index_is_used(small: SmallCloud) -> None:
    first = small.attached()
    assert first.attachment is not None
    assert first.attachment.device_index == 1

    small.settle(small.detach(first))
    second = small.attached()

    assert second.attachment is not None
    assert second.attachment.device_index == 1


def _primary(small: SmallCloud) -> Eni:
    return small.cloud.enis[small.cloud.instance("ins-one").enis[0]]


def test_a_primary_eni_cannot_be_detached(small: SmallCloud) -> None:
    assert refusal(lambda: small.detach(_primary(small))) is Code.UNSUPPORTED


def test_a_failed_attachment_leaves_the_eni_as_it_was(small: SmallCloud) -> None:
    eni, created = small.create()
    small.settle(created)

    small.fail(small.attach(eni))

    assert (eni.state, eni.attachment, eni.running_task) == (EniState.AVAILABLE, None, None)
    assert list(small.cloud.instance("ins-one").enis) == [0]


def test_a_failed_creation_leaves_nothing(small: SmallCloud) -> None:
    free = small.cloud.subnet("subnet-a").available
    eni, created = small.create(secondary_count=2)

    small.fail(created)

    assert eni.id not in small.cloud.enis
    assert small.cloud.subnet("subnet-a").available == free


def test_a_failed_deletion_leaves_the_eni_usable(small: SmallCloud) -> None:
    eni, created = small.create()
    small.settle(created)

    small.fail(small.delete(eni))
    small.settle(small.attach(eni))

    assert eni.attachment is not None


def test_a_terminated_instance_keeps_no_eni(small: SmallCloud) -> None:
    eni = small.attached("ins-one")
    primary = _primary(small)
    terminating = small.terminate("ins-one")

    effects = small.cloud.effects(terminating)
    small.cloud.complete(terminating, now=eni.created_at)

    assert primary.id not in small.cloud.enis
    assert (eni.state, eni.attachment) == (EniState.AVAILABLE, None)
    assert RemoveEni(primary.id) in effects


def test_a_stopped_instance_keeps_its_enis_but_not_their_links(small: SmallCloud) -> None:
    eni = small.attached("ins-one")
    small.settle(small.stop("ins-one"))

    assigning = small.assign(eni, 1)
    [effect] = small.cloud.effects(assigning)
    assert isinstance(effect, SetEni)
    assert effect.port.instance is None
    assert eni.attachment is not None

    small.settle(assigning)
    starting = small.start("ins-one")
    placed = [each for each in small.cloud.effects(starting) if isinstance(each, SetEni)]
    assert {each.port.instance for each in placed} == {"ins-one"}
