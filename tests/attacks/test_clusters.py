"""Users who ask for as much, of as many clusters, as they can."""

from pathlib import Path

import orjson
import trio

from tests.attacks.attacked import CLUSTERS, JSON, Answer, Attacked, open_attacked

OPTIONS = """
from gateway.options import Mapping, Options, String
c.Backend.cluster_options = Options(String("text"), Mapping("map"), handler=lambda options: {})
"""


async def ask(gateway: Attacked, user: str, **options: object) -> Answer:
    body = orjson.dumps({"cluster_options": options})
    return await gateway.ask("POST", CLUSTERS, user=user, headers=[JSON], body=body)


async def test_options_are_small(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, OPTIONS) as gateway:
        for options in (
            {"text": "x" * 70_000},
            {"text": "\u00e4" * 20_000},  # six bytes each in the database
            {"map": {"a": "x" * 70_000}},
            {"map": {str(number): [] for number in range(10_000)}},
            {"map": {"x" * 70_000: 1}},
            {"text": "x" * 40_000, "map": {"a": "x" * 40_000}},
        ):
            answer = await ask(gateway, "mallory", **options)
            assert (answer.status, "a cluster may have 65536" in answer.json["error"]) == (422, True)
        assert (await ask(gateway, "alice", text="x" * 60_000)).status == 201  # the probe


async def test_lists_are_short(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, OPTIONS) as gateway:
        answers = [await ask(gateway, "mallory", text="x" * 65_000) for _ in range(80)]
        assert {answer.status for answer in answers} == {201, 422}
        assert "The options of your clusters" in answers[-1].json["error"]
        clusters = await gateway.ask("GET", CLUSTERS, user="mallory")
        assert len(clusters.body) < 5 * 1024 * 1024  # the whole list
        assert (await ask(gateway, "alice", text="x" * 60_000)).status == 201  # the probe


async def test_clusters_are_counted_until_they_are_forgotten(tmp_path: Path) -> None:
    limits = ("c.DBBackendBase.clusters_per_user = 5", "c.DBBackendBase.max_clusters = 9")
    async with open_attacked(tmp_path, *limits) as gateway:
        answers: list[Answer] = []

        async def attack() -> None:
            answers.append(await ask(gateway, "mallory"))

        async with trio.open_nursery() as nursery:  # all at once
            for _ in range(20):
                nursery.start_soon(attack)
        assert sorted(answer.status for answer in answers) == [201] * 5 + [422] * 15
        for answer in answers:
            if answer.status == 201:
                await gateway.ask("DELETE", f"{CLUSTERS}{answer.json['name']}", user="mallory")
        refused = await ask(gateway, "mallory")
        assert (refused.status, "clusters_per_user" in refused.json["error"]) == (422, True)
        for _ in range(3):
            assert (await ask(gateway, "alice")).status == 201  # the probe
        refused = await ask(gateway, "bob")
        assert (refused.status, "max_clusters" in refused.json["error"]) == (422, True)
