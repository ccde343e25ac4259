"""The cluster's record as it is stored: whole after a round trip, read by older and newer."""

from __future__ import annotations

import json

import pytest

from shared.clusters import CLUSTER_VERSION, SubnetState
from shared.errors import Unavailable
from shared.store.cluster_records import decode_cluster, encode_cluster
from tests.support.clusters import enabled_cluster, subnet


def test_a_record_is_the_same_after_a_round_trip() -> None:
    cluster = enabled_cluster(
        "subnet-a", subnet("subnet-b", SubnetState.DRAINING, reclaims=True)
    )

    assert decode_cluster(encode_cluster(cluster)) == cluster


def test_what_an_older_writer_did_not_know_has_its_default() -> None:
    document = json.loads(encode_cluster(enabled_cluster("subnet-a")))
    for added_later in ("reclaims_under_pressure", "state"):
        del document["subnets"][0][added_later]
    del document["operation"]["notes"]

    assert decode_cluster(json.dumps(document)) == enabled_cluster("subnet-a")


def test_what_a_newer_writer_added_is_left_aside() -> None:
    document = json.loads(encode_cluster(enabled_cluster("subnet-a")))
    document["added"] = document["subnets"][0]["added"] = "later"

    assert decode_cluster(json.dumps(document)) == enabled_cluster("subnet-a")


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"revision": "many"}'])
def test_what_is_no_record_is_not_guessed_at(body: str) -> None:
    with pytest.raises(Unavailable, match="of unknown shape"):
        decode_cluster(body)


def test_a_version_that_is_not_known_here_is_refused() -> None:
    document = json.loads(encode_cluster(enabled_cluster("subnet-a")))
    document["version"] = CLUSTER_VERSION + 1

    with pytest.raises(Unavailable, match=r"version 2 is not known here.*update this service"):
        decode_cluster(json.dumps(document))
