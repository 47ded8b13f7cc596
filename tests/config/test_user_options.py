"""What users may set on their clusters."""

import json
from typing import Any

import pytest

from gateway.config.option_fields import Bool, Field, Float, Integer, Mapping, Select, String
from gateway.config.user_options import Choice, FrozenAttrDict, Options, WrongOptions
from gateway.errors import InvalidRequest
from gateway.models import User

ALICE = User("alice")

OPTIONS = Options(
    String("environment", default="base", label="Conda Environment"),
    Bool("gpu", target="use_gpu"),
    Integer("cores", default=1, min=1, max=4, target="worker_cores"),
    Float("memory", default=2, min=1, max=8),
    Select("size", ["small", ("large", {"worker_cores": 8})]),
    Mapping("variables"),
)
DEFAULTS = {"environment": "base", "gpu": False, "cores": 1, "memory": 2.0, "size": "small", "variables": {}}


def test_the_specification_is_what_the_client_knows() -> None:
    specification = OPTIONS.specification()
    assert json.loads(json.dumps(specification)) == specification
    assert specification == [
        {"field": "environment", "label": "Conda Environment", "default": "base", "spec": {"type": "string"}},
        {"field": "gpu", "label": "gpu", "default": False, "spec": {"type": "bool"}},
        {"field": "cores", "label": "cores", "default": 1, "spec": {"type": "int", "min": 1, "max": 4}},
        {"field": "memory", "label": "memory", "default": 2.0, "spec": {"type": "float", "min": 1.0, "max": 8.0}},
        {
            "field": "size",
            "label": "size",
            "default": "small",
            "spec": {"type": "select", "options": ["small", "large"]},
        },
        {"field": "variables", "label": "variables", "default": {}, "spec": {"type": "mapping"}},
    ]


def test_the_published_client_reads_the_specification() -> None:
    client = pytest.importorskip("dask_gateway.options")
    assert dict(client.Options._from_spec(OPTIONS.specification())) == DEFAULTS


def test_what_is_not_sent_has_its_default() -> None:
    assert OPTIONS.parse({}) == DEFAULTS
    assert OPTIONS.parse({"cores": 4, "memory": 3}) == DEFAULTS | {"cores": 4, "memory": 3.0}
    assert OPTIONS.parse({})["variables"] is not OPTIONS.parse({})["variables"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"cores": 5}, "cores must be at most 4, got 5"),
        ({"cores": 0}, "cores must be at least 1, got 0"),
        ({"cores": True}, "cores must be an integer, got True"),
        ({"cores": 1.0}, "cores must be an integer, got 1.0"),
        ({"memory": "2"}, "memory must be a number, got '2'"),
        ({"gpu": 1}, "gpu must be True or False, got 1"),
        ({"environment": None}, "environment must be text, got None"),
        ({"size": "huge"}, "size must be one of 'small', 'large', got 'huge'"),
        ({"size": 3}, "size must be text, got 3"),
        ({"variables": []}, "variables must be a dictionary, got []"),
        (
            {"core": 1, "cores": 9},
            "there is no option 'core' (there are: cores, environment, gpu, memory, size, variables); "
            "cores must be at most 4, got 9",
        ),
    ],
)
def test_all_that_is_wrong_is_said(request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OPTIONS.parse(request_)
    assert str(caught.value) == f"Wrong options: {reason}"


def nested(levels: int) -> dict[str, Any]:
    """That many containers within each other, the dictionary itself included."""
    value: Any = [1]
    for _ in range(levels - 2):
        value = [value]
    return {"a": value}


def test_a_mapping_may_be_nested_so_deep() -> None:
    assert OPTIONS.parse({"variables": nested(32)})["variables"] == nested(32)
    for levels in (33, 254, 340, 1000, 100_000):
        with pytest.raises(InvalidRequest, match="variables must not be nested more than 32 levels deep, got "):
            OPTIONS.parse({"variables": nested(levels)})
    with pytest.raises(InvalidRequest, match="cores must be an integer, got something nested too deeply"):
        OPTIONS.parse({"cores": nested(100_000)})


@pytest.mark.parametrize("request_", [None, [], "x", 3])
def test_options_are_an_object(request_: object) -> None:
    with pytest.raises(InvalidRequest, match="must be an object"):
        OPTIONS.parse(request_)


def test_no_options_take_nothing() -> None:
    assert Options().parse({}) == {}
    with pytest.raises(InvalidRequest, match="there are: none"):
        Options().parse({"x": 1})


def test_without_a_handler_targets_are_the_configuration() -> None:
    assert OPTIONS.configuration(OPTIONS.parse({"size": "large", "gpu": True}), ALICE) == {
        "environment": "base",
        "use_gpu": True,
        "worker_cores": 1,
        "memory": 2.0,
        "size": {"worker_cores": 8},
        "variables": {},
    }


def test_handlers_take_the_choice_and_maybe_the_user() -> None:
    def one(options: Choice) -> dict[str, Any]:
        return {"scheduler_setup": f"activate {options.environment}"}

    def two(options: Choice, user: User) -> dict[str, Any]:
        return {"owner": user.name, **options}

    def rest(*arguments: Any) -> dict[str, Any]:
        return {"count": len(arguments)}

    fields = [String("environment", "base")]
    parsed = {"environment": "x"}
    assert Options(*fields, handler=one).configuration(parsed, ALICE) == {"scheduler_setup": "activate x"}
    assert Options(*fields, handler=two).configuration(parsed, ALICE) == {"owner": "alice", "environment": "x"}
    assert Options(*fields, handler=rest).configuration(parsed, ALICE) == {"count": 2}


def test_a_handler_is_not_async() -> None:
    async def handler(options: Choice) -> dict[str, Any]:
        return {}

    with pytest.raises(TypeError, match="must not be async"):
        Options(handler=handler).configuration({}, ALICE)


def test_a_handler_returns_a_mapping() -> None:
    with pytest.raises(TypeError, match="must return a dictionary, got None"):
        Options(handler=lambda options: None).configuration({}, ALICE)  # type: ignore[arg-type, return-value]


def test_the_names_of_the_original_work() -> None:
    options = Options(Integer("cores", 2))
    assert options.get_specification() == options.specification()
    assert options.parse_options({}) == {"cores": 2}
    assert options.get_configuration({"cores": 3}, ALICE) == {"cores": 3}


def test_a_choice_cannot_be_changed() -> None:
    choice = Choice({"a": 1, "items": 2})
    assert (choice.a, choice["a"], len(choice), sorted(choice), choice.get("b")) == (1, 1, 2, ["a", "items"], None)
    assert dict(choice.items()) == {"a": 1, "items": 2}
    assert repr(choice) == "Choice({'a': 1, 'items': 2})"
    with pytest.raises(AttributeError, match="there is no option 'b'"):
        _ = choice.b
    with pytest.raises(AttributeError, match="cannot be changed"):
        choice.a = 2


def test_a_field_of_the_sites_own() -> None:
    class Even(Integer):
        def validate(self, x: object) -> int:
            if super().validate(x) % 2:
                raise TypeError(f"{self.field} must be even")
            return int(str(x))

        def transform(self, x: int) -> int:
            return x // 2

    options = Options(Even("pairs", 4))
    assert options.configuration(options.parse({"pairs": 6}), ALICE) == {"pairs": 3}
    with pytest.raises(InvalidRequest, match="pairs must be even"):
        options.parse({"pairs": 3})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: String("a b"), "must be a Python identifier, got 'a b'"),
        (lambda: String("a", target="b-c"), "must be a Python identifier, got 'b-c'"),
        (lambda: String("a", default=3), "a must be text, got 3"),
        (lambda: Integer("a", default=3, max=2), "a must be at most 2, got 3"),
        (lambda: Integer("a", min="x"), "a bound of a must be an integer, got 'x'"),
        (lambda: Select("a", []), "a needs a list of choices that is not empty"),
        (lambda: Select("a", "abc"), "a needs a list of choices that is not empty"),
        (lambda: Select("a", [3]), "the choices of a must be texts"),
        (lambda: Select("a", ["b"], default="c"), "a must be one of 'b', got 'c'"),
        (lambda: Options(3), "Options takes fields"),
        (lambda: Options(String("a"), Bool("a")), "two fields of the options have one name, got a, a"),
    ],
)
def test_mistakes_of_the_site(make: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


def test_select_has_a_default_of_its_own() -> None:
    assert Select("a", ["b", "c"], default="c", label="A", target="t").json_spec()["default"] == "c"


def _handler(options: Choice) -> dict[str, Any]:
    raise NotImplementedError


def test_what_options_look_like() -> None:
    assert repr(Options()) == "Options()"
    assert repr(Options(Bool("a"), handler=_handler)) == "Options(Bool('a'), handler=_handler)"
    assert isinstance(Bool("a"), Field)


# The original's behaviour, which sites' own code relies on


@pytest.mark.parametrize(
    ("field", "wrong_type", "wrong_value"),
    [
        (String("a"), (1, None, b"x"), ()),
        (Bool("a"), (1, "true", None), ()),
        (Integer("a", default=15, min=10, max=20), ("1", 1.5, None), (9, 21)),
        (Float("a", default=15, min=10, max=20), ("1", None, []), (9.9, 21)),
        (Select("a", ["apple", ("orange", 1)]), (1, None), ("grape", "")),
        (Mapping("a"), (1, "x", []), ()),
    ],
)
def test_fields_refuse_with_the_originals_classes(field: Field, wrong_type: Any, wrong_value: Any) -> None:
    for value in wrong_type:
        with pytest.raises(TypeError, match="a must be"):
            field.validate(value)
    for value in wrong_value:
        with pytest.raises(ValueError, match="a must be") as caught:
            field.validate(value)
        assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize("choices", [1, None, [1, 2], [None]])
def test_choices_that_are_none_are_a_type_error(choices: Any) -> None:
    with pytest.raises(TypeError):
        Select("a", choices)
    with pytest.raises(ValueError):
        Select("a", [])
    with pytest.raises(TypeError):
        Options("a")  # type: ignore[arg-type]


def test_a_default_stays_as_written_and_is_copied_when_it_is_asked_for() -> None:
    default = {"some": {"nested": "default"}}
    field = Mapping("a", default=default)
    assert field.default is default
    given = field.get_default()
    assert given == default
    given["some"]["nested"] = "changed"
    assert default == {"some": {"nested": "default"}}
    assert Options(Float("a", 2)).parse_options({}) == {"a": 2.0}


def test_requests_are_refused_with_the_originals_classes_and_with_ours() -> None:
    for request_ in (None, [], {"extra": 1, "more": 2}, {"cores": "x"}, {"cores": 9}):
        for kind in (TypeError, ValueError, InvalidRequest, WrongOptions):
            with pytest.raises(kind):
                OPTIONS.parse_options(request_)


def test_what_is_not_there_has_its_default_in_every_step() -> None:
    options = Options(
        Integer("count", 1, target="number"), Float("size", 2.5, min=2, max=4), Select("kind", [("a", 5), "b"])
    )
    assert options.transform_options({"count": 2}) == {"number": 2, "size": 2.5, "kind": 5}
    assert options.get_configuration({"count": 2}, ALICE) == {"number": 2, "size": 2.5, "kind": 5}


def test_a_handler_may_be_set_later() -> None:
    options = Options(Integer("count", 1))
    assert options.handler is None
    options.handler = lambda choice: {"kind": type(choice) is FrozenAttrDict}
    assert options.get_configuration({}, ALICE) == {"kind": True}
    assert options.handler(Choice({}), ALICE) == {"kind": True}  # whatever it takes, it is called with both
    options.handler = lambda choice, user: {"owner": user.name}
    assert options.get_configuration({}, ALICE) == {"owner": "alice"}
    options.handler = None
    assert options.get_configuration({}, ALICE) == {"count": 1}


@pytest.mark.parametrize(
    "handler", [3, lambda: {}, lambda options, user, more: {}, lambda options, *, user: {}], ids=range(4)
)
def test_a_handler_takes_the_options_and_maybe_the_user(handler: Any) -> None:
    with pytest.raises(TypeError, match="the handler of the cluster options must"):
        Options(handler=handler)


def test_names_of_a_choice_are_completed() -> None:
    names = dir(FrozenAttrDict({"valid": 1, "not valid": 2, "for": 3}))
    assert "valid" in names
    assert "not valid" not in names
    assert "for" not in names
    with pytest.raises(TypeError):
        Choice({})["a"] = 1  # type: ignore[index]


def test_a_field_written_for_the_original() -> None:
    class Email(Field):
        def validate(self, x: object) -> Any:
            if not isinstance(x, str) or "@" not in x:
                raise ValueError(f"{self.field} must be an address")
            return x

        def json_type_spec(self) -> dict[str, Any]:
            return {"type": "string"}

    options = Options(Email("contact", "a@b", "mail", "Contact"))
    assert options.get_specification() == [
        {"field": "contact", "label": "Contact", "default": "a@b", "spec": {"type": "string"}}
    ]
    assert options.get_configuration(options.parse_options({"contact": "c@d"}), ALICE) == {"mail": "c@d"}
    with pytest.raises(WrongOptions, match="contact must be an address"):
        options.parse_options({"contact": "c"})
