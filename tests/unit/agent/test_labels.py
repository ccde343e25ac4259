"""What a pod's host link says, read again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.node_agent.domain.attachments import Attachment
from services.node_agent.domain.labels import BYTES_MAX, Label, label_of, read_label
from shared.ids import AttachmentKey, EniId, Generation, Identity, PodName, PodUid
from tests.unit.agent.test_book import ATTACHMENT

CONTAINER = "0f3a" * 16
UID = PodUid("5d1f2c3b-0000-4000-8000-0123456789ab")
PATH = "/var/run/netns/cni-1c2d3e4f-0000-4000-8000-0123456789ab"
names = st.text(min_size=1, max_size=80)


def attachment(pod: PodName | None = None, container: str = CONTAINER) -> Attachment:
    return replace(
        ATTACHMENT,
        key=AttachmentKey("berth", container, "eth0"),
        eni=EniId("eni-7k2m9x4q"),
        pod=pod,
        pod_uid=UID,
        netns_path=PATH,
    )


def read(of: Attachment) -> Label:
    label = read_label(label_of(of))
    assert label is not None
    return label


def test_all_of_a_pod_as_containerd_names_it_fits() -> None:
    pod = PodName("kube-system", "kube-state-metrics-7d4f8b9c5d-x2x9z")

    assert read(attachment(pod)) == Label(
        key=AttachmentKey("berth", CONTAINER, "eth0"),
        eni=EniId("eni-7k2m9x4q"),
        generation=None,
        netns_path=PATH,
        pod=pod,
        pod_uid=UID,
    )


def test_a_fixed_leases_generation_and_slot_are_told() -> None:
    slot = Identity("shop", "ReplicaSet:web-5d9c7#3", "berth")
    leased = replace(attachment(), generation=Generation(1 << 40 | 7), identity=slot)

    label = read(leased)

    assert (label.generation, label.identity) == (Generation(1 << 40 | 7), slot)


def test_a_name_without_room_is_left_out_and_not_cut() -> None:
    label = read(attachment(PodName("n" * 63, "p" * 253)))

    assert label.pod is None
    assert label.pod_uid == UID
    assert label.netns_path == PATH


def test_nothing_is_said_where_not_even_the_key_fits() -> None:
    assert label_of(attachment(container="c" * 250)) == ""


@settings(max_examples=50)
@given(container=names, network=names, path=names, namespace=names, name=names, uid=names)
def test_what_is_read_is_what_was_written_or_is_left_out(
    container: str, network: str, path: str, namespace: str, name: str, uid: str
) -> None:
    pod = PodName(namespace.replace("/", "-"), name)
    told = replace(
        attachment(pod),
        key=AttachmentKey(network, container, "eth0"),
        netns_path=path,
        pod_uid=PodUid(uid),
    )

    text = label_of(told)

    assert len(text.encode()) <= BYTES_MAX
    label = read_label(text)
    if text:
        assert label is not None
        assert label.key == told.key
        assert label.netns_path in (path, "")
        assert label.pod in (pod, None)
        assert label.pod_uid in (PodUid(uid), None)
    else:
        assert label is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uplink to rack 7",
        "berth2 n=berth i=eth0 c=c1 g=0 e=eni-1",
        "berth1 n=berth i=eth0 g=0 e=eni-1",
        "berth1 n=berth i=eth0 c= g=0 e=eni-1",
        "berth1 n=berth i=eth0 c=c1 g=-7 e=eni-1",
        "berth1",
    ],
)
def test_what_is_not_a_label_of_ours_says_nothing(text: str) -> None:
    assert read_label(text) is None


@settings(max_examples=50)
@given(st.text(max_size=99))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    read_label(text)
    read_label(f"berth1 {text}")
