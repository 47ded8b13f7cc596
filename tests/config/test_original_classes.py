"""The table of what a site's class may override in the original and not here."""

import pytest

from gateway.config.original_classes import REPLACED, replacements
from gateway.config.registry import builtin_classes


def test_the_gateways_own_classes_define_nothing_of_it() -> None:
    for cls in builtin_classes().values():
        assert replacements(cls) == []


@pytest.mark.parametrize(("section", "name"), [(section, name) for section in REPLACED for name in REPLACED[section]])
def test_every_name_is_found_in_a_subclass_and_says_what_to_do(section: str, name: str) -> None:
    parent = builtin_classes()[section]
    ours = type("Ours", (parent,), {name: None})
    assert replacements(ours) == [(ours, name, REPLACED[section][name])]
    assert len(REPLACED[section][name]) > 20
    below = type("Below", (ours,), {})
    assert replacements(below) == [(ours, name, REPLACED[section][name])]


def test_whatever_the_batch_system() -> None:
    for parent in ("UnsafeLocalBackend", "LocalBackend", "SlurmBackend", "PBSBackend"):
        for name in ("start_cluster", "do_start_worker", "get_submit_cmd_env_stdin"):
            ours = type("Ours", (builtin_classes()[parent],), {name: None})
            assert [found[1] for found in replacements(ours)] == [name]


def test_the_nearest_of_several() -> None:
    parent = type("Parent", (builtin_classes()["SlurmBackend"],), {"get_env": None, "helper": None})
    child = type("Child", (parent,), {"get_env": None, "do_setup": None})
    assert [(owner.__name__, name) for owner, name, _ in replacements(child)] == [
        ("Child", "get_env"),
        ("Child", "do_setup"),
    ]


def test_methods_that_are_called_here_are_no_mistake() -> None:
    names = ("setup", "cleanup", "authenticate", "pre_response", "helper")
    assert replacements(type("Ours", (builtin_classes()["Authenticator"],), dict.fromkeys(names))) == []
    assert replacements(type("Ours", (builtin_classes()["SlurmBackend"],), {"default_host": "x"})) == []
