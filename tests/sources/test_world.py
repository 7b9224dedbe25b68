"""What only shows when files stand side by side: objects declared twice, addresses shared, namespaces implied."""

import pytest

from vallum.model.errors import InputErrors
from vallum.model.snapshot import Batch, Gone, Put, key_of
from vallum.sources.manifest import read_manifest
from vallum.sources.world import World, assemble, events, snapshot


def pod(name: str, more: str = "") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n{more}\n---\n"


def world(*texts: str) -> World:
    return assemble([read_manifest(f"{index}.yaml", text.encode()) for index, text in enumerate(texts)], "r")


def refused(*texts: str) -> list[str]:
    with pytest.raises(InputErrors) as raised:
        world(*texts)
    return str(raised.value).splitlines()


IP = "status: {podIP: 10.44.1.5, phase: %s}"


def test_a_finished_pod_has_given_its_address_back() -> None:
    assert len(world(pod("a", IP % "Succeeded"), pod("b", IP % "Running")).objects) == 3


def test_pods_on_the_network_of_the_host_share_the_address_of_the_node() -> None:
    host = "spec: {hostNetwork: true}\n"
    assert len(world(pod("a", host + IP % "Running"), pod("b", host + IP % "Running")).objects) == 3


def test_two_running_pods_with_one_address_are_refused() -> None:
    (line,) = refused(pod("a", IP % "Running"), pod("b", IP % "Pending"))
    assert line.startswith("1.yaml:4:17: 10.44.1.5 is the address of shop/a already, at 0.yaml:4:17")


def test_the_same_address_written_in_two_ways_is_one() -> None:
    (line,) = refused(pod("a", "status: {podIP: 'fd00::5'}"), pod("b", "status: {podIP: 'fd00:0::0005'}"))
    assert line.startswith("1.yaml:4:17: fd00::5 is the address of shop/a")


def test_a_service_and_a_pod_may_have_one_name_and_two_services_may_not() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n"
    assert len(world(pod("a"), service).documents) == 2
    assert refused(service, service) == [
        "1.yaml:1:1: Service shop/a was declared before, at 0.yaml:1:1; remove or rename one"
    ]


def test_errors_of_all_files_are_told_together() -> None:
    lines = refused(pod("A"), pod("a"), pod("a"), "[")
    assert [line.split(":")[0] for line in lines] == ["0.yaml", "3.yaml", "2.yaml"]


def test_events_walk_any_world_into_any_other() -> None:
    worlds = [world(), world(pod("a")), world(pod("a", IP % "Running"), pod("b")), world(pod("c"))]
    for old in worlds:
        for new in worlds:
            things = {key_of(thing): thing for thing in old.objects}
            batch = events(snapshot(old), new)
            for event in batch.events:
                match event:
                    case Put(thing):
                        assert things.get(key_of(thing)) != thing
                        things[key_of(thing)] = thing
                    case Gone(key):
                        del things[key]
            assert things == {key_of(thing): thing for thing in new.objects}
            assert isinstance(batch, Batch)
