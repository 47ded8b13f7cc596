"""What is said of a database: lines for people, and the same for programs."""

from collections.abc import Iterator
from typing import Any

from attrs import asdict

from gateway.store.inspection import Findings
from gateway.store.keys import Keys
from gateway.store.schema import SCHEMA_VERSION, Preparation


def findings_lines(name: str, keys: Keys, findings: Findings) -> Iterator[str]:
    """What was found in a database."""
    yield f"Database: {name}"
    if findings.schema is not None:
        yield f"Schema:   {_schema(findings)}"
        yield f"Keys:     {_keys(keys, findings)}"
    if findings.schema == SCHEMA_VERSION:
        yield f"Contents: {contents(findings)}"
    for step in findings.steps:
        yield f"An upgrade brings schema {step}"
    for problem in findings.problems:
        yield f"Problem: {problem}"
    if not findings.problems:
        yield "No problems"


def findings_object(name: str, keys: Keys, findings: Findings) -> dict[str, Any]:
    """The same for programs."""
    about = {"database": name, "keys": len(keys.values), "keys_from": keys.source, "newest_schema": SCHEMA_VERSION}
    return {**about, **asdict(findings)}


def contents(findings: Findings) -> str:
    """How much there is of what."""
    others = f"other records (personal tokens, ended sessions): {findings.documents}"
    return f"clusters: {findings.clusters}, their submissions: {findings.submissions}, {others}"


def _schema(findings: Findings) -> str:
    if findings.schema == SCHEMA_VERSION:
        return f"{findings.schema}, which is this version's"
    return (
        f"{findings.schema}; this version's is {SCHEMA_VERSION}, to which the gateway upgrades it at its next start,"
        " or `dask-gateway-server db upgrade` while no gateway runs"
    )


def _keys(keys: Keys, findings: Findings) -> str:
    count = len(keys.values)
    if not findings.of_first_key:
        return f"{count} from {keys.source}; the next start encrypts and seals everything anew with the first"
    if count > 1:
        return f"{count} from {keys.source}, of which the first alone is needed"
    return f"1 from {keys.source}"


def preparation_lines(name: str, done: Preparation) -> Iterator[str]:
    """What had to be done to bring a database up to date."""
    if done.made:
        yield f"The database {name} has tables now, of schema {SCHEMA_VERSION}."
    elif done.upgraded_from is None:
        yield f"The database {name} has schema {SCHEMA_VERSION}: there is nothing to upgrade."
    else:
        yield f"The database {name} is upgraded from schema {done.upgraded_from} to {SCHEMA_VERSION}."
        if done.copy is not None:
            yield f"As it was before, it is kept in {done.copy}: remove that when you do not want to go back any more."
    if done.renewed:
        yield "Everything is encrypted and sealed anew with the first key."


def preparation_object(name: str, done: Preparation) -> dict[str, Any]:
    """The same for programs."""
    copy = None if done.copy is None else str(done.copy)
    return {"database": name, "schema": SCHEMA_VERSION, **asdict(done), "copy": copy}
